"""Scores a model on labelled frames; training and evaluation count pixels with the same functions."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from pipe_seg.annotations import raster
from pipe_seg.nn.scores import Counts, FrameScore
from pipe_seg.schema import Annotation, Box

Predict = Callable[[Any], Any]


def score_frames(predict: Predict, examples: Iterable[dict[str, Any]]) -> list[FrameScore]:
    """Returns one `FrameScore` per frame, at the frame's own resolution.

    Args:
        predict: Maps an encoded frame to probabilities `(height, width)` float32.
        examples: TFDS examples whose `image` is still encoded, as `data.examples.load` returns them.
    """
    return [score_frame(np.asarray(predict(example["image"])), example) for example in examples]


def score_frame(probability: np.ndarray, example: dict[str, Any]) -> FrameScore:
    """Returns the score of `(height, width)` float32 probabilities against the mask of `example`."""
    return FrameScore.of(
        probability,
        np.asarray(example["segmentation_mask"])[..., 0],
        text(example["file_name"]),
        text(example["group_id"]),
        tuple(int(label) for label in np.asarray(example["labels"])),
    )


def box_counts(boxes: Iterable[Box], mask: np.ndarray) -> Counts | None:
    """Returns the counts of filled boxes against a `(height, width)` {0, 1} mask; None without boxes."""
    unrefined = tuple(replace(box, refined=False) for box in boxes)
    if not unrefined:
        return None
    filled = raster.rasterise(Annotation(unrefined), *mask.shape)
    tp = int((filled & mask).sum())
    return Counts(tp, int(filled.sum()) - tp, int(mask.sum()) - tp)


def text(value: Any) -> str:
    """Returns a TFDS text feature as `str`."""
    return bytes(np.asarray(value).item()).decode("utf-8")
