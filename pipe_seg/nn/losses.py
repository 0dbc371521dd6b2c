"""Losses: one value per image, padding left out, empty masks defined.

Every loss takes ``y_true`` (batch, height, width, 1 or 2): the mask {0, 1} and, where there is a second
channel, 1 on pixels that count and 0 on padding; and ``y_pred`` (batch, height, width, 1) float32
logits. ``call`` gives (batch,) float32. On an image without a defect, overlap is not defined: there the
region losses are binary cross-entropy, which is 0 when nothing is claimed and pushes back when something is.
"""

from typing import Any

import keras
from keras import ops

from pipe_seg import config

PIXELS = (1, 2)


def build(criterion: config.Criterion) -> "ImageLoss":
    """Give the loss that ``criterion`` names."""
    arguments = criterion.model_dump(exclude={"name"})
    loss: ImageLoss = _LOSSES[criterion.name](**arguments)
    return loss


class ImageLoss(keras.losses.Loss):
    """One value per image from (mask, counted pixels, logits), each (batch, height, width) float32."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Give (batch,) float32."""
        y_true = ops.cast(y_true, "float32")
        logits = ops.cast(y_pred, "float32")[..., 0]
        mask = y_true[..., 0]
        counted = y_true[..., 1] if y_true.shape[-1] == 2 else ops.ones_like(mask)
        return self.per_image(mask, counted, logits)

    def per_image(self, mask: Any, counted: Any, logits: Any) -> Any:
        """Give (batch,); what a loss has to define."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that rebuild this loss."""
        return {**super().get_config(), **{name: getattr(self, name) for name in self.arguments}}

    arguments: tuple[str, ...] = ()


def _pixel_bce(mask: Any, logits: Any) -> Any:
    """Give −y·ln p − (1 − y)·ln(1 − p) from logits, a pixel each, without overflow."""
    return ops.relu(logits) - logits * mask + ops.log1p(ops.exp(-ops.abs(logits)))


def _mean(values: Any, counted: Any) -> Any:
    return ops.sum(values * counted, PIXELS) / ops.maximum(ops.sum(counted, PIXELS), 1.0)


def _bce(mask: Any, counted: Any, logits: Any) -> Any:
    return _mean(_pixel_bce(mask, logits), counted)


def _confusion(mask: Any, counted: Any, logits: Any) -> tuple[Any, Any, Any]:
    """Give the soft numbers (batch,) of true positive, false positive and false negative pixels."""
    claimed = ops.sigmoid(logits) * counted
    mask = mask * counted
    tp = ops.sum(claimed * mask, PIXELS)
    return tp, ops.sum(claimed, PIXELS) - tp, ops.sum(mask, PIXELS) - tp


def _or_bce(region: Any, mask: Any, counted: Any, logits: Any) -> Any:
    has_defect = ops.sum(mask * counted, PIXELS) > 0
    return ops.where(has_defect, region, _bce(mask, counted, logits))


def _tversky(pixels: tuple[Any, Any, Any], fp_weight: float, fn_weight: float, smooth: float) -> Any:
    """Give 1 − (TP + s)/(TP + a·FP + b·FN + s) (Salehi et al., arXiv 1706.05721)."""
    tp, fp, fn = _confusion(*pixels)
    whole = tp + fp_weight * fp + fn_weight * fn + smooth
    return 1.0 - (tp + smooth) / ops.maximum(whole, keras.config.epsilon())


@keras.saving.register_keras_serializable("pipe_seg.losses")
class BinaryCrossentropy(ImageLoss):
    """Mean over counted pixels of the cross-entropy."""

    def per_image(self, mask: Any, counted: Any, logits: Any) -> Any:
        """Give (batch,)."""
        return _bce(mask, counted, logits)


@keras.saving.register_keras_serializable("pipe_seg.losses")
class WeightedBinaryCrossentropy(ImageLoss):
    """Plain mean of cross-entropy weighed by class: the original experiment's background-sensitive loss."""

    arguments = ("background_weight", "defect_weight")

    def __init__(self, background_weight: float = 0.1, defect_weight: float = 1.0, **kwargs: Any) -> None:
        """Set the two weights."""
        super().__init__(**kwargs)
        self.background_weight, self.defect_weight = background_weight, defect_weight

    def per_image(self, mask: Any, counted: Any, logits: Any) -> Any:
        """Give (batch,)."""
        weights = self.background_weight + (self.defect_weight - self.background_weight) * mask
        return _mean(_pixel_bce(mask, logits) * weights, counted)


@keras.saving.register_keras_serializable("pipe_seg.losses")
class Focal(ImageLoss):
    """Mean of (1 − p_t)^γ · cross-entropy (Lin et al., arXiv 1708.02002); ``alpha`` weighs defect pixels."""

    arguments = ("gamma", "alpha")

    def __init__(self, gamma: float = 2.0, alpha: float | None = None, **kwargs: Any) -> None:
        """Set γ and, if wanted, α."""
        super().__init__(**kwargs)
        self.gamma, self.alpha = gamma, alpha

    def per_image(self, mask: Any, counted: Any, logits: Any) -> Any:
        """Give (batch,)."""
        p = ops.sigmoid(logits)
        missing = mask + p - 2.0 * mask * p
        values = _pixel_bce(mask, logits) * ops.power(ops.maximum(missing, 1e-12), self.gamma)
        if self.alpha is not None:
            values = values * (self.alpha * mask + (1.0 - self.alpha) * (1.0 - mask))
        return _mean(values, counted)


@keras.saving.register_keras_serializable("pipe_seg.losses")
class Dice(ImageLoss):
    """Give 1 − (2·TP + s)/(2·TP + FP + FN + s) of soft counts (Milletari et al., arXiv 1606.04797)."""

    arguments = ("smooth",)

    def __init__(self, smooth: float = 1.0, **kwargs: Any) -> None:
        """Set the pixels added above and below the fraction."""
        super().__init__(**kwargs)
        self.smooth = smooth

    def per_image(self, mask: Any, counted: Any, logits: Any) -> Any:
        """Give (batch,)."""
        region = _tversky((mask, counted, logits), 0.5, 0.5, self.smooth / 2)
        return _or_bce(region, mask, counted, logits)


@keras.saving.register_keras_serializable("pipe_seg.losses")
class Jaccard(Dice):
    """Give 1 − (TP + s)/(TP + FP + FN + s) of soft counts."""

    def per_image(self, mask: Any, counted: Any, logits: Any) -> Any:
        """Give (batch,)."""
        return _or_bce(_tversky((mask, counted, logits), 1.0, 1.0, self.smooth), mask, counted, logits)


@keras.saving.register_keras_serializable("pipe_seg.losses")
class Tversky(ImageLoss):
    """Tversky loss: ``fp_weight`` and ``fn_weight`` say which error costs what."""

    arguments: tuple[str, ...] = ("fp_weight", "fn_weight", "smooth")

    def __init__(self, fp_weight: float = 0.3, fn_weight: float = 0.7, smooth: float = 1.0, **kwargs: Any) -> None:
        """Set the two weights and the smoothing pixels."""
        super().__init__(**kwargs)
        self.fp_weight, self.fn_weight, self.smooth = fp_weight, fn_weight, smooth

    def per_image(self, mask: Any, counted: Any, logits: Any) -> Any:
        """Give (batch,)."""
        region = _tversky((mask, counted, logits), self.fp_weight, self.fn_weight, self.smooth)
        return _or_bce(region, mask, counted, logits)


@keras.saving.register_keras_serializable("pipe_seg.losses")
class FocalTversky(Tversky):
    """Tversky loss to the power γ (after Abraham & Khan, arXiv 1810.07842, whose γ is the inverse)."""

    arguments: tuple[str, ...] = (*Tversky.arguments, "gamma")

    def __init__(self, gamma: float = 0.75, **kwargs: Any) -> None:
        """Set γ; the rest as in ``Tversky``."""
        super().__init__(**kwargs)
        self.gamma = gamma

    def per_image(self, mask: Any, counted: Any, logits: Any) -> Any:
        """Give (batch,)."""
        region = _tversky((mask, counted, logits), self.fp_weight, self.fn_weight, self.smooth)
        region = ops.power(ops.maximum(region, keras.config.epsilon()), self.gamma)
        return _or_bce(region, mask, counted, logits)


@keras.saving.register_keras_serializable("pipe_seg.losses")
class Lovasz(ImageLoss):
    """Lovász hinge of the Jaccard index, image by image (Berman et al., arXiv 1705.08790)."""

    def per_image(self, mask: Any, counted: Any, logits: Any) -> Any:
        """Give (batch,)."""
        batch = ops.shape(mask)[0]
        mask, counted, logits = (ops.reshape(x, (batch, -1)) for x in (mask * counted, counted, logits))
        errors = ops.where(counted > 0, 1.0 - logits * (2.0 * mask - 1.0), -1e9)
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
    """A weighted sum of cross-entropy and soft Dice."""

    arguments = ("bce_weight", "dice_weight", "smooth")

    def __init__(self, bce_weight: float = 1.0, dice_weight: float = 1.0, smooth: float = 1.0, **kwargs: Any) -> None:
        """Set the two weights and the smoothing pixels of Dice."""
        super().__init__(**kwargs)
        self.bce_weight, self.dice_weight, self.smooth = bce_weight, dice_weight, smooth

    def per_image(self, mask: Any, counted: Any, logits: Any) -> Any:
        """Give (batch,)."""
        dice = _or_bce(_tversky((mask, counted, logits), 0.5, 0.5, self.smooth / 2), mask, counted, logits)
        return self.bce_weight * _bce(mask, counted, logits) + self.dice_weight * dice


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
