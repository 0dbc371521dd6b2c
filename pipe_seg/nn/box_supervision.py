"""A loss that pays for what a label says and for nothing else.

Told pixels go to the criterion. A box whose inside is untold says two things more, each a term of its own (all
logits in float32): every row and column that crosses it meets a defect (tightness: Kervadec et al., MIDL 2020; as
projections: Tian et al., arXiv 2012.02310), and about a known share of it is defect: the likeliest pixels, up to that
share, are taken for defect, the least likely for background (filling rate: Song et al., CVPR 2019). With a
``shape_prior_weight`` the likeliest are those that also lie where such a defect lies in its box: one that fills little
of it at its rim, one that fills more in its middle. With an
``affinity_weight`` neighbours of one colour, one of them in the box, are of one kind (colour affinity: Tian et al., as
above; how much a difference counts is as in GrabCut: Rother et al., SIGGRAPH 2004).
"""

import math
from typing import Any

from keras import ops

from pipe_seg.config import SupervisionSection
from pipe_seg.nn.losses import ImageLoss

SHARPNESS = 2.0
FAR = -1e4
RANGE = 16.0
BISECTIONS = 12
RIM_FILL = 0.3  # a class that fills less of its boxes than that is taken for rings
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # of eight the four that lie ahead: each pair once


class BoxSupervisionLoss:
    """``criterion`` on told pixels, plus what loose boxes say."""

    def __init__(self, section: SupervisionSection, criterion: ImageLoss) -> None:
        """Take the weights of the terms and the loss of told pixels."""
        self._section = section
        self._criterion = criterion

    def __call__(self, target: dict[str, Any], logits: Any) -> Any:
        """Give (batch,) float32.

        Args:
            target: ``mask`` (batch, height, width, 2): defect and told, {0, 1}; ``boxes`` (batch, n, 5): left, top,
                right, bottom in px and the usual share of defect, 0 for no box; ``weight`` (batch,): what a frame
                counts; with ``affinity_weight`` ``plain`` (batch, height, width, 3): the frame as it is, 0…255 RGB.
            logits: (batch, height, width, 1).
        """
        told = self._criterion.call(target["mask"], logits)
        if self._section.boxes == "routed":
            told = told + self._boxes(target["boxes"], ops.cast(logits, "float32")[..., 0])
        if self._section.looks_alike:
            told = told + self._section.affinity_weight * _unlike(target["boxes"], logits, target["plain"])
        return told * ops.cast(target["weight"], "float32")

    def _boxes(self, boxes: Any, logits: Any) -> Any:
        """Give (batch,): the mean over an image's boxes of their terms."""
        section = self._section
        boxes = _halved_boxes(boxes)
        z = _halved(logits)
        rows, columns = (_inside(boxes, axis, z.shape) for axis in (1, 0))
        share = boxes[..., 4]
        within = rows[..., None] * columns[:, :, None, :]
        uncut = _uncut(boxes, z.shape)
        crossing = _tightness(z, within, rows * uncut[..., 0, None], columns * uncut[..., 1, None])
        whole = ops.maximum((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]), 1.0)
        area = ops.sum(within, (2, 3))
        seen = ops.cast(area > section.seen_share * whole, "float32")
        score = z[:, None]
        if section.shape_prior_weight:
            score = score + section.shape_prior_weight * _shape_prior(boxes, z.shape)
        reach = RANGE + math.sqrt(2) * section.shape_prior_weight
        fill = seen * _filled(z, score, within, area, share, section.fill_tolerance, reach)
        present = ops.cast(share > 0, "float32") * ops.cast(area > 0, "float32")
        terms = section.tightness_weight * crossing + section.fill_weight * fill
        return ops.sum(present * terms, 1) / ops.maximum(ops.sum(present, 1), 1.0)


def _unlike(boxes: Any, logits: Any, plain: Any) -> Any:
    """Give (batch,): mean over pairs of neighbours, one of them in a loose box, of w · −ln P(both of one kind).

    P = pᵢ·pⱼ + (1 − pᵢ)·(1 − pⱼ) and w = exp(−d²/(2·mean d²)) with the difference of colour d.
    """
    z = _halved(ops.cast(logits, "float32")[..., 0])
    colours = ops.average_pool(ops.cast(plain, "float32"), 2, 2, padding="same", data_format="channels_last")
    inside = _in_any(_halved_boxes(boxes), z.shape)
    (one, other), (one_in, other_in), (here, there) = (_pairs(x) for x in (z, inside, colours))
    counted = ops.maximum(one_in, other_in)
    number = ops.maximum(ops.sum(counted, 1), 1.0)
    difference = ops.sum(ops.square(here - there), -1)
    usual = ops.maximum(ops.sum(counted * difference, 1) / number, 1e-6)
    alike = counted * ops.exp(-difference / (2 * usual[:, None]))
    cost = ops.softplus(one) + ops.softplus(other) - ops.softplus(one + other)
    return ops.sum(alike * cost, 1) / number


def _pairs(x: Any) -> tuple[Any, Any]:
    """Give the values of each pair of neighbours, (batch, pairs) or (batch, pairs, channels), of an image."""
    height, width = x.shape[1:3]
    ends = []
    for down, right in NEIGHBOURS:
        left, right = max(-right, 0), max(right, 0)
        ends.append((_flat(x[:, : height - down, left : width - right]), _flat(x[:, down:, right : width - left])))
    one, other = (ops.concatenate(end, 1) for end in zip(*ends, strict=True))
    return one, other


def _flat(x: Any) -> Any:
    return ops.reshape(x, (-1, x.shape[1] * x.shape[2], *x.shape[3:]))


def _in_any(boxes: Any, shape: tuple[int, ...]) -> Any:
    """Give (batch, height, width) float32: 1 in loose boxes."""
    present = ops.cast(boxes[..., 4] > 0, "float32")
    rows, columns = (_inside(boxes, axis, shape) for axis in (1, 0))
    return ops.cast(ops.einsum("bn,bnh,bnw->bhw", present, rows, columns) > 0, "float32")


def _halved_boxes(boxes: Any) -> Any:
    return ops.cast(boxes, "float32") * ops.array([0.5, 0.5, 0.5, 0.5, 1.0])


def _halved(x: Any) -> Any:
    """Give (batch, height, width) at half its size: the terms need no more, at a quarter of the cost."""
    return ops.average_pool(x[..., None], 2, 2, padding="same", data_format="channels_last")[..., 0]


def _inside(boxes: Any, axis: int, shape: tuple[int, ...]) -> Any:
    """Give (batch, boxes, side) float32: 1 on the rows (axis 1) or columns (axis 0) that a box covers."""
    centre = ops.arange(shape[1 if axis == 1 else 2], dtype="float32") + 0.5
    return ops.cast((centre >= boxes[..., axis, None]) & (centre < boxes[..., axis + 2, None]), "float32")


def _uncut(boxes: Any, shape: tuple[int, ...]) -> Any:
    """Give (batch, boxes, 2) float32: 1 where the frame does not cut a box's rows, or its columns, short."""
    side = ops.array([shape[2], shape[1]], "float32")
    return ops.cast((boxes[..., :2] > -1.0) & (boxes[..., 2:4] < side + 1.0), "float32")


def _tightness(z: Any, within: Any, rows: Any, columns: Any) -> Any:
    """Give (batch, boxes): −ln p of the strongest answer, mean over the rows and the columns of a box."""
    inside = ops.where(within > 0, z[:, None], FAR)
    total = 0.0
    for lines, axis in ((rows, 3), (columns, 2)):
        missed = ops.softplus(-_soft_maximum(inside, axis)) * lines
        total = total + 0.5 * ops.sum(missed, 2) / ops.maximum(ops.sum(lines, 2), 1.0)
    return total


def _shape_prior(boxes: Any, shape: tuple[int, ...]) -> Any:
    """Give (batch, n, height, width), 0 or less: how far a pixel is from where such a defect lies in its box.

    That is in half sides of the box: from its middle, or, for less than ``RIM_FILL``, from the midline of the ring that
    touches its sides and fills the usual share of it, 1 − inner² = 4 · share / π.

    Args:
        boxes: (batch, n, 5): left, top, right, bottom in px and the usual share of defect.
        shape: (batch, height, width).
    """
    centre = (boxes[..., :2] + boxes[..., 2:4]) / 2
    half = ops.maximum((boxes[..., 2:4] - boxes[..., :2]) / 2, 0.5)
    x = (ops.arange(shape[2], dtype="float32") + 0.5 - centre[..., 0, None]) / half[..., 0, None]
    y = (ops.arange(shape[1], dtype="float32") + 0.5 - centre[..., 1, None]) / half[..., 1, None]
    radius = ops.sqrt(ops.square(y)[..., None] + ops.square(x)[:, :, None, :])
    share = boxes[..., 4]
    midline = (1 + ops.sqrt(ops.maximum(1 - 4 / math.pi * share, 0.0))) / 2
    midline = ops.where(share < RIM_FILL, midline, 0.0)
    return -ops.abs(radius - midline[..., None, None])


def _filled(z: Any, score: Any, within: Any, area: Any, share: Any, tolerance: float, reach: float) -> Any:
    """Give (batch, boxes): mean over a box of −ln p where likeliest by ``score``, −ln(1 − p) where least likely.

    The likeliest are a share ``share · (1 − tolerance)`` of the box, the least likely all but
    ``share · (1 + tolerance)``; what lies between is left alone. No score matters beyond ± ``reach``.
    """
    upper = _quantile(score, within, area, share * (1 - tolerance), reach)[..., None, None]
    lower = _quantile(score, within, area, ops.minimum(share * (1 + tolerance), 0.98), reach)[..., None, None]
    likely, unlikely = (ops.cast(pixels, "float32") for pixels in (score >= upper, score < lower))
    z = z[:, None]
    cost = likely * ops.softplus(-z) + unlikely * ops.softplus(z)
    return ops.sum(within * cost, (2, 3)) / ops.maximum(area, 1.0)


def _quantile(score: Any, within: Any, area: Any, share: Any, reach: float) -> Any:
    """Give (batch, boxes): the score that about ``share`` of a box's pixels reach; by bisection, without gradient."""
    score = ops.stop_gradient(score)
    low, high = ops.full_like(share, -reach), ops.full_like(share, reach)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        reached = ops.sum(within * ops.cast(score >= middle[..., None, None], "float32"), (2, 3))
        too_many = reached > share * area
        low, high = ops.where(too_many, middle, low), ops.where(too_many, high, middle)
    return high


def _soft_maximum(values: Any, axis: int) -> Any:
    """Give the mean of ``values`` weighed by exp(sharpness · value): more than one pixel a line learns."""
    weights = ops.softmax(SHARPNESS * values, axis)
    return ops.sum(weights * ops.maximum(values, FAR / 100), axis)
