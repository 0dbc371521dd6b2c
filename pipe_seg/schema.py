"""The words the whole project shares: classes, features, and the one typed annotation."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

CLASS_NAMES = ("deformation", "obstacle", "rupture", "disconnect", "misalignment", "deposition")
FOLDERS = {"pbs": "PipeBoxSegmentation", "ps": "PipeSegmentation"}
JOINT = "pbs+ps"
SPLITS = ("train", "validation", "test")

MaskSource = Literal["box", "contour", "refined"]
MASK_SOURCES: tuple[MaskSource, ...] = ("box", "contour", "refined")

HEADLINE = ("iou", "dice", "iou_pooled", "dice_pooled", "iou_macro")
MODEL_NAME = "pipe_seg"
SIGNATURE_ARRAYS = "serving_default"
SIGNATURE_BYTES = "predict_bytes"


@dataclass(frozen=True)
class Box:
    """An axis-aligned box: normalised corners, 0…1 of the frame's width and height.

    ``refined``: a model found the pixels inside that are defect, and they passed the gates of ``data refine``.
    """

    x_min: float
    y_min: float
    x_max: float
    y_max: float
    label: int
    refined: bool = False


@dataclass(frozen=True, eq=False)
class Polygon:
    """A closed contour: ``points`` (n, 2) float64, x and y in pixels, 0 at the frame's left and upper edge.

    ``holes`` are contours of the same kind cut out of it. ``coarse``: no contour but a box that was turned.
    Parts of one object share ``instance``.
    """

    points: np.ndarray
    label: int
    holes: tuple[np.ndarray, ...] = ()
    coarse: bool = False
    instance: str | None = None


@dataclass(frozen=True)
class Region:
    """The pixels of one object, run-length encoded as COCO does.

    ``counts``: lengths of background and object in turns, background first, down the columns; they add up
    to height × width.
    """

    counts: tuple[int, ...]
    height: int
    width: int
    label: int


@dataclass(frozen=True)
class Annotation:
    """All that was drawn on one frame, whatever tool it was drawn in.

    ``mask`` is (height, width) uint8 {0, 1} where the tool gave one picture for the whole frame. The regions of a
    refined annotation are those of its refined boxes, in their order.
    """

    boxes: tuple[Box, ...] = ()
    polygons: tuple[Polygon, ...] = ()
    regions: tuple[Region, ...] = ()
    mask: np.ndarray | None = field(default=None, compare=False)

    @classmethod
    def of(cls, shapes: Iterable[Box | Polygon | Region]) -> "Annotation":
        """Sort shapes of all kinds into one annotation."""
        found = list(shapes)
        return cls(
            tuple(shape for shape in found if isinstance(shape, Box)),
            tuple(shape for shape in found if isinstance(shape, Polygon)),
            tuple(shape for shape in found if isinstance(shape, Region)),
        )

    @property
    def is_refined(self) -> bool:
        """Whether a model found the pixels of some of its boxes."""
        return any(box.refined for box in self.boxes)

    @property
    def is_contour(self) -> bool:
        """Whether a person drew anything finer than a box."""
        finer = bool(self.regions) or self.mask is not None or any(not shape.coarse for shape in self.polygons)
        return finer and not self.is_refined

    @property
    def labels(self) -> tuple[int, ...]:
        """Class ids of what the mask shows, each once, ascending: contours where there are any, else boxes."""
        finer = {shape.label for shape in self.polygons if not shape.coarse} | {part.label for part in self.regions}
        coarse = {box.label for box in self.boxes} | {shape.label for shape in self.polygons if shape.coarse}
        return tuple(sorted(finer | coarse if self.is_refined else finer or coarse))


@dataclass(frozen=True)
class Agreement:
    """How the boxes of a frame of one class lie against its contour, in millionths.

    ``fill``: share of the boxes that is defect; ``recall``: share of the defect inside the boxes; ``iou``: both.
    """

    label: int
    fill_ppm: int
    recall_ppm: int
    iou_ppm: int


@dataclass(frozen=True)
class Frame:
    """One labelled frame on its way into TFDS.

    ``image``: the source JPEG, byte for byte; ``segmentation_mask``: (height, width) uint8 {0, 1};
    ``labels``: class ids of what the mask shows; ``group_id``: frames of one scene share it;
    ``agreement``: only where a contour and boxes of its one class are there.
    """

    image: bytes
    segmentation_mask: np.ndarray = field(compare=False)
    boxes: tuple[Box, ...]
    labels: tuple[int, ...]
    file_name: str
    group_id: str
    mask_source: MaskSource
    agreement: Agreement | None = None
