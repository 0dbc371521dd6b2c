"""What each frame's label pays for: which pixels are told, and which boxes only bound a defect.

A contour tells every pixel, a refined box those inside it. A filled box tells that what lies outside is background;
how much of what lies inside is defect depends on its class. Where little is (rings, cracks), the inside is left untold
and the box goes along, with the share of it that is usually defect, for the loss to make use of. A band along every
edge is untold: boxes are drawn by eye.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from pipe_seg.config import SupervisionSection
from pipe_seg.data import preprocessing
from pipe_seg.schema import CLASS_NAMES, MASK_SOURCES

BOXES = 8
CONTOUR = MASK_SOURCES.index("contour")


@dataclass(frozen=True)
class Fitted:
    """One example at the network's size.

    Attributes:
        image: (height, width, 3) uint8 RGB.
        planes: (height, width, 3) uint8 {0, 1}: defect, told, inside the frame.
        boxes: (BOXES, 5) float32: left, top, right, bottom in px, and the share of the box that is usually
            defect; a share of 0 is no box. Only boxes whose inside is untold.
        weight: float32, what the frame counts.
    """

    image: Any
    planes: Any
    boxes: Any
    weight: Any

    def tensors(self) -> tuple[Any, Any, Any, Any]:
        """Give it as ``tf.data`` keeps it."""
        return self.image, self.planes, self.boxes, self.weight


def fit(
    example: Mapping[str, Any], size: tuple[int, int], section: SupervisionSection, fills: Sequence[float]
) -> Fitted:
    """Give one TFDS example at ``size`` (height, width); ``fills`` is the usual share for each class."""
    image = preprocessing.decode(example["image"])
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    mask = preprocessing.letterbox_mask(example["segmentation_mask"], size)
    inside = tf.cast(preprocessing.valid_area(height, width, size), tf.uint8)[..., None]
    corners = _in_pixels(example["boxes"]["bbox"], preprocessing.fitted_size(height, width, size))
    shares = tf.gather(tf.constant(fills, tf.float32), example["boxes"]["label"])
    refined = example["boxes"]["refined"]
    drawn = example["mask_source"] == CONTOUR
    coarse = ~drawn & (section.boxes == "routed")
    untold, loose = _route(tf.boolean_mask(corners, ~refined), tf.boolean_mask(shares, ~refined), size, section)
    untold &= coarse & ~tf.reduce_any(_covers(tf.boolean_mask(corners, refined), size), 0)
    told = inside * tf.cast(~untold, tf.uint8)[..., None]
    planes = tf.concat([mask * told, told, inside], -1)
    weight = tf.where(drawn, 1.0, section.box_weight)
    return Fitted(preprocessing.letterbox(image, size), planes, tf.where(coarse, loose, 0.0), weight)


def fill_rates(section: SupervisionSection, card: Mapping[str, Any], split: str) -> list[float]:
    """Give the share of a box that is usually defect, for each class.

    Args:
        section: what stands for a class that no contour shows.
        card: the data card of a dataset with contours; another tells nothing.
        split: which of its splits may be looked at.
    """
    drawn = card.get("splits", {}).get(split, {}).get("box_against_contour", {}) if section.measure_fill else {}
    usual = section.fill_rates
    return [
        float(drawn[name]["fill"] if name in drawn else usual.get(name, section.fill_threshold)) for name in CLASS_NAMES
    ]


def _in_pixels(bbox: Any, fitted: tuple[Any, Any]) -> Any:
    """Give TFDS's normalised (y, x, y, x) as (left, top, right, bottom) px of the letterboxed frame."""
    height, width = (tf.cast(side, tf.float32) for side in fitted)
    top, left, bottom, right = tf.unstack(bbox, axis=1)
    return tf.stack([left * width, top * height, right * width, bottom * height], 1)


def _route(corners: Any, shares: Any, size: tuple[int, int], section: SupervisionSection) -> tuple[Any, Any]:
    """Give the pixels that are untold (height, width) bool and the boxes that bound only (BOXES, 5)."""
    sides = corners[:, 2:] - corners[:, :2]
    band = tf.tile(tf.maximum(section.edge_band * sides, section.edge_band_px), (1, 2)) * [-1.0, -1.0, 1.0, 1.0]
    loose = shares < section.fill_threshold
    outer, inner = _covers(corners + band, size), _covers(corners - band, size)
    near_edge = tf.reduce_any(outer & ~inner, 0)
    firm = tf.reduce_any(inner & ~loose[:, None, None], 0)
    untold = near_edge & ~firm | tf.reduce_any(outer & loose[:, None, None], 0)
    chosen = tf.boolean_mask(tf.concat([corners, shares[:, None]], 1), loose)[:BOXES]
    return untold, tf.pad(chosen, ((0, BOXES - tf.shape(chosen)[0]), (0, 0)))


def _covers(corners: Any, size: tuple[int, int]) -> Any:
    """Give (boxes, height, width) bool: the pixels whose centre lies in each box."""
    y = tf.range(size[0], dtype=tf.float32)[None, :, None] + 0.5
    x = tf.range(size[1], dtype=tf.float32)[None, None, :] + 0.5
    left, top, right, bottom = (value[:, None, None] for value in tf.unstack(corners, axis=1))
    return (x >= left) & (x < right) & (y >= top) & (y < bottom)
