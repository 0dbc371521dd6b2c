"""The network as it will be exported, on the validation frames, after every epoch."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipe_seg import devices
from pipe_seg.components.trainer import tensorboard
from pipe_seg.components.trainer.workers import Workers
from pipe_seg.config import Config
from pipe_seg.inference.postprocessing import InferenceOptions
from pipe_seg.inference.scoring import score_frame, text
from pipe_seg.inference.signatures import Predictor
from pipe_seg.nn import folding
from pipe_seg.nn.scores import LEVELS, FrameScore, image_mean

SHOWN_FRAMES = 12
WATCHED_THRESHOLD = 0.5


@dataclass(frozen=True)
class Validated:
    """An epoch's validation: scores, pictures of the first frames, the frames without an answer."""

    frames: list[FrameScore]
    panels: list[np.ndarray]
    not_finite: list[str]

    @property
    def has_defect(self) -> bool:
        """Whether any frame has a defect; without one, no epoch is better than another."""
        return any(frame.positives.sum() > 0 for frame in self.frames)

    @cached_property
    def scores(self) -> dict[str, float | None]:
        """``iou``, ``dice`` and the pooled two at threshold 0.5; None where they are not defined."""
        counts = [frame.counts(WATCHED_THRESHOLD) for frame in self.frames]
        pooled = sum(counts[1:], counts[0])
        scores = {
            "iou": image_mean([count.iou for count in counts]),
            "dice": image_mean([count.dice for count in counts]),
            "iou_pooled": pooled.iou,
            "dice_pooled": pooled.dice,
        }
        return {key: None if math.isnan(value) else value for key, value in scores.items()}


class Validation:
    """Scores frames at their own resolution; several workers share them and all get every score."""

    def __init__(self, config: Config, average: Any, examples: list[dict[str, Any]], workers: Workers) -> None:
        """Take the network that is to be validated, ``average``, and the TFDS examples.

        Of what is done around it, threshold and component size are as configured; where ``auto`` chooses them after
        training, no predicted pixel is removed yet.
        """
        self._average = average
        self._folded = folding.fold(config.model, average, precision=devices.precision(config.export.precision))
        threshold, blob = config.evaluator.threshold, config.export.min_component_fraction
        threshold = WATCHED_THRESHOLD if threshold == "auto" else threshold
        self._predictor = Predictor(
            self._folded, InferenceOptions.of(config, threshold, 0.0 if blob == "auto" else blob)
        )
        self._examples = examples
        self._workers = workers

    def run(self, between: Callable[[], None]) -> Validated:
        """Score every frame; ``between`` is called after each of them."""
        folding.refill(self._folded, self._average)
        levels = np.zeros((len(self._examples), 2, LEVELS + 1))
        broken = np.zeros(len(self._examples))
        panels: list[np.ndarray] = []
        for index in self._workers.share(len(self._examples)):
            example = self._examples[index]
            probability = self._predictor.probability(example["image"]).numpy()
            broken[index] = not np.isfinite(probability).all()
            probability = np.nan_to_num(probability)
            frame = score_frame(probability, example)
            levels[index] = frame.positives, frame.negatives
            if len(panels) < SHOWN_FRAMES:
                panels.append(tensorboard.panel(example["image"], example["segmentation_mask"], probability))
            between()
        levels, broken = self._workers.sum(levels), self._workers.sum(broken)
        counted = [_score(example, level) for example, level in zip(self._examples, levels, strict=True)]
        not_finite = [frame.file_name for frame, bad in zip(counted, broken, strict=True) if bad]
        return Validated(counted, panels, not_finite)


def _score(example: dict[str, Any], levels: np.ndarray) -> FrameScore:
    positives, negatives = levels.astype(np.int64)
    labels = tuple(int(label) for label in example["labels"])
    return FrameScore(text(example["file_name"]), text(example["group_id"]), labels, positives, negatives)
