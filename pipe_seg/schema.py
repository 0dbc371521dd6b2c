"""The words the whole project shares: classes, features, and the one typed annotation."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

CLASS_NAMES = ("deformation", "obstacle", "rupture", "disconnect", "misalignment", "deposition")
FOLDERS = {"pbs": "PipeBoxSegmentation", "ps": "PipeSegmentation"}
SPLITS = ("train", "validation")

MaskSource = Literal["box", "contour", "refined"]
MASK_SOURCES: tuple[MaskSource, ...] = ("box", "contour", "refined")

HEADLINE = ("iou", "dice", "iou_pooled", "dice_pooled", "iou_macro")
MODEL_NAME = "pipe_seg"
SIGNATURE_ARRAYS = "serving_default"
SIGNATURE_BYTES = "predict_bytes"


@dataclass(frozen=True)
class Box:
    """An axis-aligned box: normalised corners, 0…1 of the frame's width and height."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float
    label: int


@dataclass(frozen=True)
class Polygon:
    """A closed contour: ``points`` (n, 2) float64, x and y in pixels of the frame."""

    points: np.ndarray
    label: int


@dataclass(frozen=True)
class Annotation:
    """All that was drawn on one frame, whatever tool it was drawn in.

    ``mask`` is (height, width) uint8 {0, 1} where the tool gave pixels instead of shapes.
    """

    boxes: tuple[Box, ...] = ()
    polygons: tuple[Polygon, ...] = ()
    mask: np.ndarray | None = field(default=None, compare=False)

    @property
    def labels(self) -> tuple[int, ...]:
        """Class ids of what the mask shows, each once, ascending: contours where there are any, else boxes."""
        return tuple(sorted({shape.label for shape in self.polygons or self.boxes}))


@dataclass(frozen=True)
class Frame:
    """One labelled frame on its way into TFDS.

    ``image``: the source JPEG, byte for byte; ``segmentation_mask``: (height, width) uint8 {0, 1};
    ``labels``: class ids of what the mask shows; ``group_id``: frames of one scene share it.
    """

    image: bytes
    segmentation_mask: np.ndarray = field(compare=False)
    boxes: tuple[Box, ...]
    labels: tuple[int, ...]
    file_name: str
    group_id: str
    mask_source: MaskSource
