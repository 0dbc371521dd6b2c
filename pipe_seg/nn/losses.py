"""Losses per image, with padding ignored and images without a defect defined.

``y_true`` is `(batch, height, width, 1 or 2)` {0, 1}: the mask and, optionally, ``valid_mask``, 0 on pixels to ignore.
``y_pred`` is `(batch, height, width, 1)` float32 logits. ``call`` returns `(batch,)` float32. Overlap is undefined on
an image without a defect; there the region losses are binary cross-entropy, which is 0 if nothing is predicted.
"""

from typing import Any

import keras
from keras import ops

from pipe_seg import config

PIXELS = (1, 2)


def build(criterion: config.Criterion) -> "ImageLoss":
    """Returns the loss that ``criterion`` names."""
    arguments = criterion.model_dump(exclude={"name"})
    loss: ImageLoss = _LOSSES[criterion.name](**arguments)
    return loss


class ImageLoss(keras.losses.Loss):
    """A loss per image from mask, valid mask and logits, each `(batch, height, width)` float32."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss per image, `(batch,)` float32."""
        y_true = ops.cast(y_true, "float32")
        logits = ops.cast(y_pred, "float32")[..., 0]
        mask = y_true[..., 0]
        valid_mask = y_true[..., 1] if y_true.shape[-1] == 2 else ops.ones_like(mask)
        return self.per_image(mask, valid_mask, logits)

    def per_image(self, mask: Any, valid_mask: Any, logits: Any) -> Any:
        """Returns the loss per image, `(batch,)`; subclasses define it."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments of this loss."""
        return {**super().get_config(), **{name: getattr(self, name) for name in self.arguments}}

    arguments: tuple[str, ...] = ()


def _pixel_bce(mask: Any, logits: Any) -> Any:
    """Returns −y·ln p − (1 − y)·ln(1 − p) per pixel, computed from logits without overflow."""
    return ops.relu(logits) - logits * mask + ops.log1p(ops.exp(-ops.abs(logits)))


def _mean(values: Any, valid_mask: Any) -> Any:
    return ops.sum(values * valid_mask, PIXELS) / ops.maximum(ops.sum(valid_mask, PIXELS), 1.0)


def _bce(mask: Any, valid_mask: Any, logits: Any) -> Any:
    return _mean(_pixel_bce(mask, logits), valid_mask)


def _confusion(mask: Any, valid_mask: Any, logits: Any) -> tuple[Any, Any, Any]:
    """Returns the soft true positives, false positives and false negatives, `(batch,)`, in pixels."""
    predicted = ops.sigmoid(logits) * valid_mask
    mask = mask * valid_mask
    tp = ops.sum(predicted * mask, PIXELS)
    return tp, ops.sum(predicted, PIXELS) - tp, ops.sum(mask, PIXELS) - tp


def _or_bce(region: Any, mask: Any, valid_mask: Any, logits: Any) -> Any:
    has_defect = ops.sum(mask * valid_mask, PIXELS) > 0
    return ops.where(has_defect, region, _bce(mask, valid_mask, logits))


def _tversky(pixels: tuple[Any, Any, Any], fp_weight: float, fn_weight: float, smooth: float) -> Any:
    """Returns 1 − (TP + s)/(TP + a·FP + b·FN + s) (Salehi et al., arXiv 1706.05721)."""
    tp, fp, fn = _confusion(*pixels)
    denominator = tp + fp_weight * fp + fn_weight * fn + smooth
    return 1.0 - (tp + smooth) / ops.maximum(denominator, keras.config.epsilon())


@keras.saving.register_keras_serializable("pipe_seg.losses")
class BinaryCrossentropy(ImageLoss):
    """Mean cross-entropy over valid pixels."""

    def per_image(self, mask: Any, valid_mask: Any, logits: Any) -> Any:
        """Returns the loss per image, `(batch,)`."""
        return _bce(mask, valid_mask, logits)


@keras.saving.register_keras_serializable("pipe_seg.losses")
class WeightedBinaryCrossentropy(ImageLoss):
    """Mean cross-entropy over valid pixels, weighted by class (the original experiment's loss)."""

    arguments = ("background_weight", "defect_weight")

    def __init__(self, background_weight: float = 0.1, defect_weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.background_weight, self.defect_weight = background_weight, defect_weight

    def per_image(self, mask: Any, valid_mask: Any, logits: Any) -> Any:
        """Returns the loss per image, `(batch,)`."""
        weights = self.background_weight + (self.defect_weight - self.background_weight) * mask
        return _mean(_pixel_bce(mask, logits) * weights, valid_mask)


@keras.saving.register_keras_serializable("pipe_seg.losses")
class Focal(ImageLoss):
    """Mean of (1 − p_t)^γ · cross-entropy (Lin et al., arXiv 1708.02002); ``alpha`` weights defect pixels."""

    arguments = ("gamma", "alpha")

    def __init__(self, gamma: float = 2.0, alpha: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gamma, self.alpha = gamma, alpha

    def per_image(self, mask: Any, valid_mask: Any, logits: Any) -> Any:
        """Returns the loss per image, `(batch,)`."""
        p = ops.sigmoid(logits)
        error = mask + p - 2.0 * mask * p
        values = _pixel_bce(mask, logits) * ops.power(ops.maximum(error, 1e-12), self.gamma)
        if self.alpha is not None:
            values = values * (self.alpha * mask + (1.0 - self.alpha) * (1.0 - mask))
        return _mean(values, valid_mask)


@keras.saving.register_keras_serializable("pipe_seg.losses")
class Dice(ImageLoss):
    """1 − (2·TP + s)/(2·TP + FP + FN + s) of soft counts (Milletari et al., arXiv 1606.04797)."""

    arguments = ("smooth",)

    def __init__(self, smooth: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.smooth = smooth

    def per_image(self, mask: Any, valid_mask: Any, logits: Any) -> Any:
        """Returns the loss per image, `(batch,)`."""
        region = _tversky((mask, valid_mask, logits), 0.5, 0.5, self.smooth / 2)
        return _or_bce(region, mask, valid_mask, logits)


@keras.saving.register_keras_serializable("pipe_seg.losses")
class Jaccard(Dice):
    """1 − (TP + s)/(TP + FP + FN + s) of soft counts; s is ``smooth``, in px."""

    def per_image(self, mask: Any, valid_mask: Any, logits: Any) -> Any:
        """Returns the loss per image, `(batch,)`."""
        return _or_bce(_tversky((mask, valid_mask, logits), 1.0, 1.0, self.smooth), mask, valid_mask, logits)


@keras.saving.register_keras_serializable("pipe_seg.losses")
class Tversky(ImageLoss):
    """1 − (TP + s)/(TP + a·FP + b·FN + s) of soft counts; a is ``fp_weight``, b is ``fn_weight``."""

    arguments: tuple[str, ...] = ("fp_weight", "fn_weight", "smooth")

    def __init__(self, fp_weight: float = 0.3, fn_weight: float = 0.7, smooth: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fp_weight, self.fn_weight, self.smooth = fp_weight, fn_weight, smooth

    def per_image(self, mask: Any, valid_mask: Any, logits: Any) -> Any:
        """Returns the loss per image, `(batch,)`."""
        region = _tversky((mask, valid_mask, logits), self.fp_weight, self.fn_weight, self.smooth)
        return _or_bce(region, mask, valid_mask, logits)


@keras.saving.register_keras_serializable("pipe_seg.losses")
class FocalTversky(Tversky):
    """Tversky loss to the power γ (after Abraham & Khan, arXiv 1810.07842, whose γ is the inverse)."""

    arguments: tuple[str, ...] = (*Tversky.arguments, "gamma")

    def __init__(self, gamma: float = 0.75, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gamma = gamma

    def per_image(self, mask: Any, valid_mask: Any, logits: Any) -> Any:
        """Returns the loss per image, `(batch,)`."""
        region = _tversky((mask, valid_mask, logits), self.fp_weight, self.fn_weight, self.smooth)
        region = ops.power(ops.maximum(region, keras.config.epsilon()), self.gamma)
        return _or_bce(region, mask, valid_mask, logits)


@keras.saving.register_keras_serializable("pipe_seg.losses")
class Lovasz(ImageLoss):
    """Lovász hinge of the Jaccard index per image (Berman et al., arXiv 1705.08790)."""

    def per_image(self, mask: Any, valid_mask: Any, logits: Any) -> Any:
        """Returns the loss per image, `(batch,)`."""
        batch = ops.shape(mask)[0]
        mask, valid_mask, logits = (ops.reshape(x, (batch, -1)) for x in (mask * valid_mask, valid_mask, logits))
        errors = ops.where(valid_mask > 0, 1.0 - logits * (2.0 * mask - 1.0), -1e9)
        order = ops.argsort(-errors, axis=-1)
        errors = ops.take_along_axis(errors, order, axis=-1)
        mask = ops.take_along_axis(mask, order, axis=-1)
        total = ops.sum(mask, -1, keepdims=True)
        union = total + ops.cumsum(1.0 - mask, -1)
        jaccard = 1.0 - (total - ops.cumsum(mask, -1)) / ops.maximum(union, 1.0)
        steps = ops.concatenate([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], -1)
        return ops.sum(ops.relu(errors) * steps, -1)


@keras.saving.register_keras_serializable("pipe_seg.losses")
class BceDice(ImageLoss):
    """Weighted sum of cross-entropy and soft Dice loss."""

    arguments = ("bce_weight", "dice_weight", "smooth")

    def __init__(self, bce_weight: float = 1.0, dice_weight: float = 1.0, smooth: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bce_weight, self.dice_weight, self.smooth = bce_weight, dice_weight, smooth

    def per_image(self, mask: Any, valid_mask: Any, logits: Any) -> Any:
        """Returns the loss per image, `(batch,)`."""
        dice = _or_bce(_tversky((mask, valid_mask, logits), 0.5, 0.5, self.smooth / 2), mask, valid_mask, logits)
        return self.bce_weight * _bce(mask, valid_mask, logits) + self.dice_weight * dice


_LOSSES: dict[str, Any] = {
    "bce": BinaryCrossentropy,
    "weighted_bce": WeightedBinaryCrossentropy,
    "focal": Focal,
    "dice": Dice,
    "jaccard": Jaccard,
    "tversky": Tversky,
    "focal_tversky": FocalTversky,
    "lovasz": Lovasz,
    "bce_dice": BceDice,
}
