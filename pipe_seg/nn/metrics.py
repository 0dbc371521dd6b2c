"""Keras metrics from counts of pixels: counts first, scores last, so batches and replicas add up.

``y_true`` and ``y_pred`` are those of the losses: mask (and counted pixels), and logits. A pixel is
claimed where p ≥ threshold. The written rule for empty frames is ``empty="skip"``: an image with neither
a defect nor a claim does not enter an image mean; a claim on a clean frame and a missed defect score 0.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

PIXELS = (1, 2)


def image_counts(y_true: Any, y_pred: Any, threshold: float = 0.5) -> tuple[Any, Any, Any]:
    """Give (tp, fp, fn) for each image, (batch,) float32, exact up to 2^24 pixels an image."""
    y_true = ops.cast(y_true, "float32")
    mask = y_true[..., 0]
    counted = y_true[..., 1] if y_true.shape[-1] == 2 else ops.ones_like(mask)
    level = float(np.log(threshold / (1.0 - threshold)))
    claimed = ops.cast(ops.cast(y_pred, "float32")[..., 0] >= level, "float32") * counted
    mask = mask * counted
    tp = ops.sum(claimed * mask, PIXELS)
    return tp, ops.sum(claimed, PIXELS) - tp, ops.sum(mask, PIXELS) - tp


class _CountMetric(keras.metrics.Metric):
    """Keeps sums of counts or of per-image scores; float64 where the backend has it."""

    def __init__(self, name: str, threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.threshold = threshold
        self.above = self.add_variable((), "zeros", dtype="float64", name="above")
        self.below = self.add_variable((), "zeros", dtype="float64", name="below")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch; ``sample_weight`` is not used: padding goes into ``y_true``."""
        above, below = self.parts(*image_counts(y_true, y_pred, self.threshold))
        self.above.assign_add(ops.cast(above, self.above.dtype))
        self.below.assign_add(ops.cast(below, self.below.dtype))

    def parts(self, tp: Any, fp: Any, fn: Any) -> tuple[Any, Any]:
        raise NotImplementedError

    def result(self) -> Any:
        """Give the score so far, 0…1; 0 before anything was counted."""
        return ops.where(self.below > 0, self.above / ops.maximum(self.below, 1e-12), 0.0)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that rebuild this metric."""
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable("pipe_seg.metrics")
class IoU(_CountMetric):
    """Mean over images of TP/(TP + FP + FN); images with nothing true and nothing claimed are skipped."""

    def __init__(self, name: str = "iou", **kwargs: Any) -> None:
        """Name the metric and set its threshold."""
        super().__init__(name=name, **kwargs)

    def parts(self, tp: Any, fp: Any, fn: Any) -> tuple[Any, Any]:
        """Give (sum of scores, number of images that count)."""
        return _mean_parts(tp, tp + fp + fn)


@keras.saving.register_keras_serializable("pipe_seg.metrics")
class Dice(_CountMetric):
    """Mean over images of 2·TP/(2·TP + FP + FN), from counts, never from a mean IoU."""

    def __init__(self, name: str = "dice", **kwargs: Any) -> None:
        """Name the metric and set its threshold."""
        super().__init__(name=name, **kwargs)

    def parts(self, tp: Any, fp: Any, fn: Any) -> tuple[Any, Any]:
        """Give (sum of scores, number of images that count)."""
        return _mean_parts(2 * tp, 2 * tp + fp + fn)


@keras.saving.register_keras_serializable("pipe_seg.metrics")
class PooledIoU(_CountMetric):
    """TP/(TP + FP + FN) of counts summed over the set."""

    def __init__(self, name: str = "iou_pooled", **kwargs: Any) -> None:
        """Name the metric and set its threshold."""
        super().__init__(name=name, **kwargs)

    def parts(self, tp: Any, fp: Any, fn: Any) -> tuple[Any, Any]:
        """Give (TP, TP + FP + FN)."""
        return ops.sum(tp), ops.sum(tp + fp + fn)


@keras.saving.register_keras_serializable("pipe_seg.metrics")
class PooledDice(_CountMetric):
    """2·TP/(2·TP + FP + FN) of counts summed over the set."""

    def __init__(self, name: str = "dice_pooled", **kwargs: Any) -> None:
        """Name the metric and set its threshold."""
        super().__init__(name=name, **kwargs)

    def parts(self, tp: Any, fp: Any, fn: Any) -> tuple[Any, Any]:
        """Give (2·TP, 2·TP + FP + FN)."""
        return ops.sum(2 * tp), ops.sum(2 * tp + fp + fn)


def _mean_parts(above: Any, below: Any) -> tuple[Any, Any]:
    something = below > 0
    scores = ops.where(something, above / ops.maximum(below, 1.0), 0.0)
    return ops.sum(scores), ops.sum(ops.cast(something, "float32"))
