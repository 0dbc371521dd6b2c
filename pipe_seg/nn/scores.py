"""Scores in numpy: from pixel counts to the figures of a report, with their intervals.

``tests/golden`` holds values computed by hand.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np

LEVELS = 1000
THRESHOLDS = (np.arange(LEVELS + 1) / LEVELS).astype(np.float32)
Empty = Literal["skip", "one", "zero"]


@dataclass(frozen=True)
class Counts:
    """Pixel counts of one image, or summed over several."""

    tp: int
    fp: int
    fn: int
    tn: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """Returns the sum of both counts."""
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def iou(self) -> float:
        """TP/(TP + FP + FN); NaN without true or predicted pixels."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def dice(self) -> float:
        """2·TP/(2·TP + FP + FN); NaN without true or predicted pixels."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def precision(self) -> float:
        """TP/(TP + FP); NaN without predicted pixels."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """TP/(TP + FN); NaN without true pixels."""
        return _ratio(self.tp, self.tp + self.fn)


@dataclass(frozen=True)
class FrameScore:
    """Pixel counts of one frame at all thresholds.

    ``positives`` and ``negatives``: `(1001,)` int64, how many defect and background pixels have a probability in
    [k/1000, (k+1)/1000); ``labels``: class ids in the truth.
    """

    file_name: str
    group_id: str
    labels: tuple[int, ...]
    positives: np.ndarray = field(repr=False, compare=False)
    negatives: np.ndarray = field(repr=False, compare=False)

    @classmethod
    def of(
        cls, probability: np.ndarray, mask: np.ndarray, file_name: str, group_id: str, labels: tuple[int, ...]
    ) -> "FrameScore":
        """Returns the counts of ``probability`` `(height, width)` float32 against ``mask`` {0, 1}, same shape."""
        level = level_of(probability)
        truth = mask.astype(bool)
        positives = np.bincount(level[truth], minlength=LEVELS + 1)
        negatives = np.bincount(level[~truth], minlength=LEVELS + 1)
        return cls(file_name, group_id, labels, positives, negatives)

    def counts(self, threshold: float) -> Counts:
        """Returns the counts of the mask p ≥ ``threshold``, a multiple of 0.001."""
        k = round(threshold * LEVELS)
        tp, fp = int(self.positives[k:].sum()), int(self.negatives[k:].sum())
        return Counts(tp, fp, int(self.positives.sum()) - tp, int(self.negatives.sum()) - fp)


def level_of(probability: np.ndarray) -> np.ndarray:
    """Returns per value the largest k with p ≥ float32(k/1000), exact: masks and curves agree."""
    level = np.clip((probability * LEVELS).astype(np.int32), 0, LEVELS)
    level -= probability < THRESHOLDS[level]
    above = np.minimum(level + 1, LEVELS)
    return np.asarray(np.where((above > level) & (probability >= THRESHOLDS[above]), above, level))


def image_mean(values: Sequence[float] | np.ndarray, empty: Empty = "skip") -> float:
    """Returns the mean over images; ``empty`` is how NaN, which marks an empty image, counts."""
    array = np.asarray(values, np.float64)
    array = array[~np.isnan(array)] if empty == "skip" else np.nan_to_num(array, nan=float(empty == "one"))
    return float(array.mean()) if array.size else float("nan")


def best_threshold(frames: Sequence[FrameScore]) -> float:
    """Returns the threshold with the highest image-mean IoU; the middle one of a plateau."""
    positives = np.stack([frame.positives for frame in frames])
    negatives = np.stack([frame.negatives for frame in frames])
    tp = positives[:, ::-1].cumsum(1)[:, ::-1]
    fp = negatives[:, ::-1].cumsum(1)[:, ::-1]
    union = positives.sum(1, keepdims=True) + fp
    iou = np.divide(tp, union, out=np.full(tp.shape, np.nan), where=union > 0)
    counted = ~np.isnan(iou)
    mean = np.where(counted, iou, 0).sum(0)[1:LEVELS] / np.maximum(counted.sum(0)[1:LEVELS], 1)
    best = np.flatnonzero(mean >= mean.max() - 1e-12)
    return float(best[len(best) // 2] + 1) / LEVELS


def threshold_of_recall(frames: Sequence[FrameScore], recall: float) -> float:
    """Returns the highest threshold, 0.001…0.999, with pooled pixel recall ≥ ``recall``; else 0.001."""
    _, recalls = precision_recall(frames)
    sufficient = np.flatnonzero(recalls[1:LEVELS] >= recall)
    return float(sufficient[-1] + 1 if len(sufficient) else 1) / LEVELS


def operating_point(frames: Sequence[FrameScore], threshold: float, empty: Empty = "skip") -> dict[str, float | None]:
    """Returns the scores at a threshold, pooled over frames except ``iou``; None where undefined.

    Keys: ``threshold``, ``recall``, ``precision``, ``false_positive_rate`` = FP/(FP + TN), ``iou`` (image mean).
    """
    counts = [frame.counts(threshold) for frame in frames]
    pooled = sum(counts[1:], counts[0])
    values = {
        "threshold": threshold,
        "recall": pooled.recall,
        "precision": pooled.precision,
        "false_positive_rate": _ratio(pooled.fp, pooled.fp + pooled.tn),
        "iou": image_mean([count.iou for count in counts], empty),
    }
    return {name: None if np.isnan(value) else float(value) for name, value in values.items()}


def bootstrap_interval(
    values: np.ndarray, groups: Sequence[str], draws: int, seed: int, statistic: Callable[[np.ndarray], float]
) -> tuple[float, float]:
    """Returns the 95 % percentile bootstrap interval of ``statistic``, resampling whole groups.

    Args:
        values: One row per frame.
        groups: The scene of each frame; frames of one scene are resampled together.
        draws: Number of resamples.
        seed: Seed of the resampling.
        statistic: Maps rows to one number.
    """
    rows = np.asarray(values, np.float64)
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(index == group) for group in range(len(names))]
    rng = np.random.default_rng(seed)
    estimates = []
    for _ in range(draws):
        sample = rng.integers(0, len(members), len(members))
        estimates.append(statistic(rows[np.concatenate([members[group] for group in sample])]))
    low, high = np.nanpercentile(estimates, [2.5, 97.5]) if np.isfinite(estimates).any() else (np.nan, np.nan)
    return float(low), float(high)


def boundary_iou(mask: np.ndarray, prediction: np.ndarray, depth_px: int) -> float:
    """Returns the IoU of the bands within ``depth_px`` of each edge (Cheng et al., CVPR 2021)."""
    true_band, predicted_band = _band(mask, depth_px), _band(prediction, depth_px)
    return _ratio(int((true_band & predicted_band).sum()), int((true_band | predicted_band).sum()))


def _band(mask: np.ndarray, depth_px: int) -> np.ndarray:
    padded = np.pad(mask.astype(np.uint8), 1)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=depth_px)[1:-1, 1:-1]
    return np.asarray(mask.astype(bool) & (eroded == 0))


def surface_dice(mask: np.ndarray, prediction: np.ndarray, tolerance_px: float) -> float:
    """Returns the share of both outlines within ``tolerance_px`` of the other (Nikolov et al., 2018).

    NaN when both are empty, 0 when one is. Outlines are those of marching squares: every block of 2 x 2 pixels that is
    neither full nor empty is an element, as long as the line through it.
    """
    if not mask.any() or not prediction.any():
        return float("nan") if not mask.any() and not prediction.any() else 0.0
    first, second = _outline(mask), _outline(prediction)
    to_first, to_second = _distance(first > 0), _distance(second > 0)
    near = first[to_second <= tolerance_px].sum() + second[to_first <= tolerance_px].sum()
    return float(near / (first.sum() + second.sum()))


def _outline(mask: np.ndarray) -> np.ndarray:
    """Returns the length of the outline in each 2 x 2 block, `(height + 1, width + 1)` float64."""
    padded = np.pad(mask.astype(np.int32), 1)
    code = padded[:-1, :-1] * 8 + padded[:-1, 1:] * 4 + padded[1:, :-1] * 2 + padded[1:, 1:]
    short, straight, crossed = np.sqrt(0.5), 1.0, np.sqrt(2.0)
    lengths = np.full(16, straight)
    lengths[[0, 15]] = 0.0
    lengths[[1, 2, 4, 8, 7, 11, 13, 14]] = short
    lengths[[6, 9]] = crossed
    return np.asarray(lengths[code])


def _distance(elements: np.ndarray) -> np.ndarray:
    background = np.where(elements, 0, 1).astype(np.uint8)
    return np.asarray(cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))


def precision_recall(frames: Sequence[FrameScore]) -> tuple[np.ndarray, np.ndarray]:
    """Returns pooled (precision, recall), `(1001,)` each, for thresholds 0, 0.001 … 1."""
    positives = np.sum([frame.positives for frame in frames], axis=0)
    negatives = np.sum([frame.negatives for frame in frames], axis=0)
    tp, fp = positives[::-1].cumsum()[::-1], negatives[::-1].cumsum()[::-1]
    precision = np.divide(tp, tp + fp, out=np.ones(tp.shape), where=tp + fp > 0)
    return precision, tp / max(int(positives.sum()), 1)


def average_precision(frames: Sequence[FrameScore]) -> float:
    """Returns the area under the pooled curve: the sum of precision times the step in recall."""
    precision, recall = precision_recall(frames)
    steps = recall - np.append(recall[1:], 0.0)
    return float((precision * steps).sum())


def calibration_error(probability: np.ndarray, truth: np.ndarray, bins: int = 15) -> float:
    """Returns the expected calibration error over equal bins: mean |confidence − frequency| by pixels."""
    confidence, frequency, share = reliability(probability, truth, bins)
    return float(sum(abs(p - y) * n for p, y, n in zip(confidence, frequency, share, strict=True)))


def reliability(
    probability: np.ndarray, truth: np.ndarray, bins: int = 15
) -> tuple[list[float], list[float], list[float]]:
    """Returns mean probability, frequency of truth and pixel share of each equal bin that has pixels."""
    index = np.minimum((probability * bins).astype(int), bins - 1)
    number = np.bincount(index, minlength=bins)
    confidence = np.bincount(index, probability, minlength=bins)
    frequency = np.bincount(index, truth.astype(np.float64), minlength=bins)
    filled = np.flatnonzero(number)
    parts = (confidence[filled] / number[filled], frequency[filled] / number[filled], number[filled] / number.sum())
    return tuple(part.tolist() for part in parts)


def _ratio(above: int, below: int) -> float:
    return above / below if below else float("nan")
