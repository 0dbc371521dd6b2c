"""Labelled frames against any model that can be asked: one way to count, for training and evaluation."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from pipe_seg.annotations import raster
from pipe_seg.nn.scores import Counts, FrameScore
from pipe_seg.schema import Annotation, Box

Ask = Callable[[Any], Any]


def score_frames(ask: Ask, examples: Iterable[dict[str, Any]]) -> list[FrameScore]:
    """Give one ``FrameScore`` a frame, at the frame's own resolution.

    Args:
        ask: encoded frame → probabilities (height, width) float32.
        examples: TFDS examples with ``image`` still encoded, as ``data.examples.load`` gives them.
    """
    return [score_frame(np.asarray(ask(example["image"])), example) for example in examples]


def score_frame(probability: np.ndarray, example: dict[str, Any]) -> FrameScore:
    """Count one frame's probabilities against its mask."""
    return FrameScore.of(
        probability,
        np.asarray(example["segmentation_mask"])[..., 0],
        text(example["file_name"]),
        text(example["group_id"]),
        tuple(int(label) for label in np.asarray(example["labels"])),
    )


def box_counts(boxes: Iterable[Box], mask: np.ndarray) -> Counts | None:
    """Count boxes, filled in, against ``mask`` (height, width) {0, 1}; None where there are none."""
    bare = tuple(replace(box, refined=False) for box in boxes)
    if not bare:
        return None
    filled = raster.rasterise(Annotation(bare), *mask.shape)
    tp = int((filled & mask).sum())
    return Counts(tp, int(filled.sum()) - tp, int(mask.sum()) - tp)


def text(value: Any) -> str:
    """Give a TFDS text feature as ``str``."""
    return bytes(np.asarray(value).item()).decode("utf-8")
