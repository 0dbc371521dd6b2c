"""Loss of frames labelled with boxes: a criterion on labelled pixels plus terms for loose boxes.

A box is loose where its class fills little of its boxes; the pixels inside it are not labelled. On float32 logits:

- tightness: every row and column that crosses the box contains a defect pixel (Kervadec et al., MIDL 2020; as
  projections: Tian et al., BoxInst, arXiv 2012.02310);
- fill: a known fraction of the box is defect. The likeliest pixels, up to that fraction, are trained as defect, the
  least likely as background (filling rate: Song et al., CVPR 2019). ``shape_prior_weight`` ranks pixels higher at the
  rim of the box for ring-shaped classes and in its middle for the others.
"""

import math
from typing import Any

from keras import ops

from pipe_seg.config import SupervisionSection
from pipe_seg.nn.losses import ImageLoss

SHARPNESS = 2.0
MASKED_LOGIT = -1e4
LOGIT_RANGE = 16.0
BISECTIONS = 12
RING_MAX_FILL = 0.3  # classes that fill less of their boxes are rings


class BoxSupervisionLoss:
    """``criterion`` on labelled pixels plus the weighted terms of loose boxes."""

    def __init__(self, section: SupervisionSection, criterion: ImageLoss) -> None:
        self._section = section
        self._criterion = criterion

    def __call__(self, target: dict[str, Any], logits: Any) -> Any:
        """Returns the loss per image, `(batch,)` float32.

        Args:
            target: ``mask`` `(batch, height, width, 2)` {0, 1}: defect, labelled; ``boxes`` `(batch, n, 5)`: left, top,
                right, bottom in px and the expected fill rate, 0 for no box; ``weight`` `(batch,)`: the frame's weight.
            logits: `(batch, height, width, 1)`.
        """
        loss = self._criterion.call(target["mask"], logits)
        if self._section.boxes == "routed":
            loss = loss + self._box_terms(target["boxes"], ops.cast(logits, "float32")[..., 0])
        return loss * ops.cast(target["weight"], "float32")

    def _box_terms(self, boxes: Any, logits: Any) -> Any:
        """Returns the tightness and fill terms, mean over an image's boxes, `(batch,)`."""
        section = self._section
        boxes = _half_size_boxes(boxes)
        z = _half_size(logits)
        rows, columns = (_line_mask(boxes, axis, z.shape) for axis in (1, 0))
        fill_rate = boxes[..., 4]
        box_mask = rows[..., None] * columns[:, :, None, :]
        not_clipped = _not_clipped(boxes, z.shape)
        tightness = _tightness_loss(z, box_mask, rows * not_clipped[..., 0, None], columns * not_clipped[..., 1, None])
        full_area = ops.maximum((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]), 1.0)
        area = ops.sum(box_mask, (2, 3))
        visible = ops.cast(area > section.seen_share * full_area, "float32")
        score = z[:, None]
        if section.shape_prior_weight:
            score = score + section.shape_prior_weight * _shape_prior(boxes, z.shape)
        bound = LOGIT_RANGE + math.sqrt(2) * section.shape_prior_weight
        fill = visible * _fill_loss(z, score, box_mask, area, fill_rate, section.fill_tolerance, bound)
        is_box = ops.cast(fill_rate > 0, "float32") * ops.cast(area > 0, "float32")
        terms = section.tightness_weight * tightness + section.fill_weight * fill
        return ops.sum(is_box * terms, 1) / ops.maximum(ops.sum(is_box, 1), 1.0)


def _half_size_boxes(boxes: Any) -> Any:
    return ops.cast(boxes, "float32") * ops.array([0.5, 0.5, 0.5, 0.5, 1.0])


def _half_size(x: Any) -> Any:
    """Returns `x` at half its height and width: enough for the terms, at a quarter of the cost."""
    return ops.average_pool(x[..., None], 2, 2, padding="same", data_format="channels_last")[..., 0]


def _line_mask(boxes: Any, axis: int, shape: tuple[int, ...]) -> Any:
    """Returns `(batch, boxes, side)` float32: 1 on the rows (axis 1) or columns (axis 0) of a box."""
    centre = ops.arange(shape[1 if axis == 1 else 2], dtype="float32") + 0.5
    return ops.cast((centre >= boxes[..., axis, None]) & (centre < boxes[..., axis + 2, None]), "float32")


def _not_clipped(boxes: Any, shape: tuple[int, ...]) -> Any:
    """Returns `(batch, boxes, 2)` float32: 1 where the frame does not clip the box's rows (columns)."""
    side = ops.array([shape[2], shape[1]], "float32")
    return ops.cast((boxes[..., :2] > -1.0) & (boxes[..., 2:4] < side + 1.0), "float32")


def _tightness_loss(z: Any, box_mask: Any, rows: Any, columns: Any) -> Any:
    """Returns `(batch, boxes)`: −ln p of the soft maximum of each row and column of a box, mean."""
    inside = ops.where(box_mask > 0, z[:, None], MASKED_LOGIT)
    total = 0.0
    for lines, axis in ((rows, 3), (columns, 2)):
        missed = ops.softplus(-_soft_maximum(inside, axis)) * lines
        total = total + 0.5 * ops.sum(missed, 2) / ops.maximum(ops.sum(lines, 2), 1.0)
    return total


def _shape_prior(boxes: Any, shape: tuple[int, ...]) -> Any:
    """Returns `(batch, n, height, width)`, at most 0: minus the distance to where the defect is likely."""
    # Distances in half sides of the box: from its middle, or for small fill rates from the midline of the ring that
    # touches the sides of the box and fills that fraction of it: 1 − inner² = 4 · fill_rate / π.
    centre = (boxes[..., :2] + boxes[..., 2:4]) / 2
    half = ops.maximum((boxes[..., 2:4] - boxes[..., :2]) / 2, 0.5)
    x = (ops.arange(shape[2], dtype="float32") + 0.5 - centre[..., 0, None]) / half[..., 0, None]
    y = (ops.arange(shape[1], dtype="float32") + 0.5 - centre[..., 1, None]) / half[..., 1, None]
    radius = ops.sqrt(ops.square(y)[..., None] + ops.square(x)[:, :, None, :])
    fill_rate = boxes[..., 4]
    midline = (1 + ops.sqrt(ops.maximum(1 - 4 / math.pi * fill_rate, 0.0))) / 2
    midline = ops.where(fill_rate < RING_MAX_FILL, midline, 0.0)
    return -ops.abs(radius - midline[..., None, None])


def _fill_loss(z: Any, score: Any, box_mask: Any, area: Any, fill_rate: Any, tolerance: float, bound: float) -> Any:
    """Returns `(batch, boxes)`: mean of −ln p where likeliest and of −ln(1 − p) where least likely."""
    # Pixels ranked between fill_rate · (1 − tolerance) and fill_rate · (1 + tolerance) are ignored.
    upper = _quantile(score, box_mask, area, fill_rate * (1 - tolerance), bound)[..., None, None]
    lower = _quantile(score, box_mask, area, ops.minimum(fill_rate * (1 + tolerance), 0.98), bound)[..., None, None]
    likely, unlikely = (ops.cast(pixels, "float32") for pixels in (score >= upper, score < lower))
    z = z[:, None]
    cost = likely * ops.softplus(-z) + unlikely * ops.softplus(z)
    return ops.sum(box_mask * cost, (2, 3)) / ops.maximum(area, 1.0)


def _quantile(score: Any, box_mask: Any, area: Any, fill_rate: Any, bound: float) -> Any:
    """Returns `(batch, boxes)`: the score that a fraction of a box's pixels reach, without gradient."""
    score = ops.stop_gradient(score)
    low, high = ops.full_like(fill_rate, -bound), ops.full_like(fill_rate, bound)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        reached = ops.sum(box_mask * ops.cast(score >= middle[..., None, None], "float32"), (2, 3))
        too_many = reached > fill_rate * area
        low, high = ops.where(too_many, middle, low), ops.where(too_many, high, middle)
    return high


def _soft_maximum(values: Any, axis: int) -> Any:
    """Returns the mean weighted by exp(sharpness · value), which gives several pixels a gradient."""
    weights = ops.softmax(SHARPNESS * values, axis)
    return ops.sum(weights * ops.maximum(values, MASKED_LOGIT / 100), axis)
