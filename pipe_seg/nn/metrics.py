"""Keras metrics from pixel counts: counts add up over batches and replicas, scores are computed last.

``y_true`` and ``y_pred`` are those of the losses: mask (and valid mask), and logits. A pixel is predicted positive
where p ≥ threshold. The rule for empty frames is ``empty="skip"``: an image with no defect and no predicted pixel
does not enter an image mean; a false positive on a clean frame and a missed defect score 0.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

PIXELS = (1, 2)


def image_counts(y_true: Any, y_pred: Any, threshold: float = 0.5) -> tuple[Any, Any, Any]:
    """Returns true positives, false positives and false negatives per image.

    Args:
        y_true: `(batch, height, width, 1 or 2)` {0, 1}: mask and, optionally, the mask of valid pixels.
        y_pred: `(batch, height, width, 1)` logits.
        threshold: Probability at and above which a pixel is predicted positive.

    Returns:
        Three `(batch,)` float32 tensors, in pixels, exact up to 2^24 px per image.
    """
    y_true = ops.cast(y_true, "float32")
    mask = y_true[..., 0]
    valid_mask = y_true[..., 1] if y_true.shape[-1] == 2 else ops.ones_like(mask)
    logit_threshold = float(np.log(threshold / (1.0 - threshold)))
    predicted = ops.cast(ops.cast(y_pred, "float32")[..., 0] >= logit_threshold, "float32") * valid_mask
    mask = mask * valid_mask
    tp = ops.sum(predicted * mask, PIXELS)
    return tp, ops.sum(predicted, PIXELS) - tp, ops.sum(mask, PIXELS) - tp


class _CountMetric(keras.metrics.Metric):
    """Sums of counts or of per-image scores; float64 where the backend has it."""

    def __init__(self, name: str, threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.threshold = threshold
        self.above = self.add_variable((), "zeros", dtype="float64", name="above")
        self.below = self.add_variable((), "zeros", dtype="float64", name="below")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch; ``sample_weight`` is ignored, padding is marked in ``y_true``."""
        above, below = self.parts(*image_counts(y_true, y_pred, self.threshold))
        self.above.assign_add(ops.cast(above, self.above.dtype))
        self.below.assign_add(ops.cast(below, self.below.dtype))

    def parts(self, tp: Any, fp: Any, fn: Any) -> tuple[Any, Any]:
        raise NotImplementedError

    def result(self) -> Any:
        """Returns the score so far, 0…1; 0 before the first count."""
        return ops.where(self.below > 0, self.above / ops.maximum(self.below, 1e-12), 0.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments of this metric."""
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable("pipe_seg.metrics")
class IoU(_CountMetric):
    """Mean over images of TP/(TP + FP + FN); images without true or predicted pixels are skipped."""

    def __init__(self, name: str = "iou", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def parts(self, tp: Any, fp: Any, fn: Any) -> tuple[Any, Any]:
        """Returns (sum of scores, number of images with a score)."""
        return _mean_parts(tp, tp + fp + fn)


@keras.saving.register_keras_serializable("pipe_seg.metrics")
class Dice(_CountMetric):
    """Mean over images of 2·TP/(2·TP + FP + FN), from counts, never from a mean IoU."""

    def __init__(self, name: str = "dice", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def parts(self, tp: Any, fp: Any, fn: Any) -> tuple[Any, Any]:
        """Returns (sum of scores, number of images with a score)."""
        return _mean_parts(2 * tp, 2 * tp + fp + fn)


@keras.saving.register_keras_serializable("pipe_seg.metrics")
class PooledIoU(_CountMetric):
    """TP/(TP + FP + FN) of counts summed over the set."""

    def __init__(self, name: str = "iou_pooled", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def parts(self, tp: Any, fp: Any, fn: Any) -> tuple[Any, Any]:
        """Returns (TP, TP + FP + FN)."""
        return ops.sum(tp), ops.sum(tp + fp + fn)


@keras.saving.register_keras_serializable("pipe_seg.metrics")
class PooledDice(_CountMetric):
    """2·TP/(2·TP + FP + FN) of counts summed over the set."""

    def __init__(self, name: str = "dice_pooled", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def parts(self, tp: Any, fp: Any, fn: Any) -> tuple[Any, Any]:
        """Returns (2·TP, 2·TP + FP + FN)."""
        return ops.sum(2 * tp), ops.sum(2 * tp + fp + fn)


def _mean_parts(above: Any, below: Any) -> tuple[Any, Any]:
    not_empty = below > 0
    scores = ops.where(not_empty, above / ops.maximum(below, 1.0), 0.0)
    return ops.sum(scores), ops.sum(ops.cast(not_empty, "float32"))
