"""Training targets: which pixels are labelled, and which boxes only bound a defect.

A contour labels every pixel, a refined box the pixels inside it. A filled box labels the pixels outside it as
background; how much of its inside is defect depends on its class. Where little is (rings, cracks), the box is loose:
its inside is ignored, and the loss receives the box with its expected fill rate. A band along every edge is ignored
too, because boxes are drawn by eye.
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
class FittedExample:
    """One example at the network's size.

    Attributes:
        image: `(height, width, 3)` uint8 RGB.
        target_channels: `(height, width, 3)` uint8 {0, 1}: defect, labelled, inside the frame.
        boxes: `(BOXES, 5)` float32: left, top, right, bottom in px and the expected fill rate, 0 for no box. Only loose
            boxes.
        weight: float32, the frame's weight in the loss.
    """

    image: Any
    target_channels: Any
    boxes: Any
    weight: Any

    def tensors(self) -> tuple[Any, Any, Any, Any]:
        """Returns the tensors in the order in which ``tf.data`` keeps them."""
        return self.image, self.target_channels, self.boxes, self.weight


def fit(
    example: Mapping[str, Any], size: tuple[int, int], section: SupervisionSection, fills: Sequence[float]
) -> FittedExample:
    """Returns one TFDS example at ``size`` (height, width) px; ``fills`` is the fill rate of each class."""
    image = preprocessing.decode(example["image"])
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    mask = preprocessing.letterbox_mask(example["segmentation_mask"], size)
    inside = tf.cast(preprocessing.valid_area(height, width, size), tf.uint8)[..., None]
    corners = _in_pixels(example["boxes"]["bbox"], preprocessing.fitted_size(height, width, size))
    rates = tf.gather(tf.constant(fills, tf.float32), example["boxes"]["label"])
    refined = example["boxes"]["refined"]
    is_contour = example["mask_source"] == CONTOUR
    uses_boxes = ~is_contour & (section.boxes == "routed")
    ignored, loose_boxes = _split_boxes(
        tf.boolean_mask(corners, ~refined), tf.boolean_mask(rates, ~refined), size, section
    )
    ignored &= uses_boxes & ~tf.reduce_any(_covers(tf.boolean_mask(corners, refined), size), 0)
    labelled = inside * tf.cast(~ignored, tf.uint8)[..., None]
    target_channels = tf.concat([mask * labelled, labelled, inside], -1)
    weight = tf.where(is_contour, 1.0, section.box_weight)
    return FittedExample(
        preprocessing.letterbox(image, size), target_channels, tf.where(uses_boxes, loose_boxes, 0.0), weight
    )


def fill_rates(section: SupervisionSection, card: Mapping[str, Any], split: str) -> list[float]:
    """Returns for each class the fraction of its boxes that is usually defect.

    Args:
        section: Holds the fill rates of classes without contours.
        card: The data card of a dataset with contours; other cards hold no fill rates.
        split: The split of that dataset to read.
    """
    measured = card.get("splits", {}).get(split, {}).get("box_against_contour", {}) if section.measure_fill else {}
    defaults = section.fill_rates
    return [
        float(measured[name]["fill"] if name in measured else defaults.get(name, section.fill_threshold))
        for name in CLASS_NAMES
    ]


def _in_pixels(bbox: Any, fitted: tuple[Any, Any]) -> Any:
    """Returns TFDS's normalised (y, x, y, x) as (left, top, right, bottom) px of the letterboxed frame."""
    height, width = (tf.cast(side, tf.float32) for side in fitted)
    top, left, bottom, right = tf.unstack(bbox, axis=1)
    return tf.stack([left * width, top * height, right * width, bottom * height], 1)


def _split_boxes(corners: Any, rates: Any, size: tuple[int, int], section: SupervisionSection) -> tuple[Any, Any]:
    """Returns the ignored pixels `(height, width)` bool and the loose boxes `(BOXES, 5)`."""
    sides = corners[:, 2:] - corners[:, :2]
    band = tf.tile(tf.maximum(section.edge_band * sides, section.edge_band_px), (1, 2)) * [-1.0, -1.0, 1.0, 1.0]
    is_loose = rates < section.fill_threshold
    outer, inner = _covers(corners + band, size), _covers(corners - band, size)
    near_edge = tf.reduce_any(outer & ~inner, 0)
    surely_filled = tf.reduce_any(inner & ~is_loose[:, None, None], 0)
    ignored = near_edge & ~surely_filled | tf.reduce_any(outer & is_loose[:, None, None], 0)
    loose_boxes = tf.boolean_mask(tf.concat([corners, rates[:, None]], 1), is_loose)[:BOXES]
    return ignored, tf.pad(loose_boxes, ((0, BOXES - tf.shape(loose_boxes)[0]), (0, 0)))


def _covers(corners: Any, size: tuple[int, int]) -> Any:
    """Returns `(boxes, height, width)` bool: the pixels whose centre lies in each box."""
    y = tf.range(size[0], dtype=tf.float32)[None, :, None] + 0.5
    x = tf.range(size[1], dtype=tf.float32)[None, None, :] + 0.5
    left, top, right, bottom = (value[:, None, None] for value in tf.unstack(corners, axis=1))
    return (x >= left) & (x < right) & (y >= top) & (y < bottom)
