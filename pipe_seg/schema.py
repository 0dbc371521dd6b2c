"""The vocabulary of the project: classes, TFDS features, and the typed annotation."""

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
    """An axis-aligned box with normalised corners, 0…1 of the frame's width and height.

    ``refined``: a model segmented the inside, and the result passed the checks of ``data refine``.
    """

    x_min: float
    y_min: float
    x_max: float
    y_max: float
    label: int
    refined: bool = False


@dataclass(frozen=True, eq=False)
class Polygon:
    """A closed contour: ``points`` `(n, 2)` float64, x and y in px, 0 at the frame's left and upper edge.

    ``holes`` are contours cut out of it. ``coarse`` marks a rotated box. Parts of one object share ``instance``.
    """

    points: np.ndarray
    label: int
    holes: tuple[np.ndarray, ...] = ()
    coarse: bool = False
    instance: str | None = None


@dataclass(frozen=True)
class Region:
    """The pixels of one object, run-length encoded as in COCO.

    ``counts``: alternating run lengths of background and object, background first, column by column; they add up to
    height × width.
    """

    counts: tuple[int, ...]
    height: int
    width: int
    label: int


@dataclass(frozen=True)
class Annotation:
    """All shapes drawn on one frame, in any annotation tool.

    ``mask`` is `(height, width)` uint8 {0, 1} if the tool exports one mask per frame. The regions of a refined
    annotation are those of its refined boxes, in their order.
    """

    boxes: tuple[Box, ...] = ()
    polygons: tuple[Polygon, ...] = ()
    regions: tuple[Region, ...] = ()
    mask: np.ndarray | None = field(default=None, compare=False)

    @classmethod
    def of(cls, shapes: Iterable[Box | Polygon | Region]) -> "Annotation":
        """Returns one annotation from shapes of all kinds."""
        all_shapes = list(shapes)
        return cls(
            tuple(shape for shape in all_shapes if isinstance(shape, Box)),
            tuple(shape for shape in all_shapes if isinstance(shape, Polygon)),
            tuple(shape for shape in all_shapes if isinstance(shape, Region)),
        )

    @property
    def is_refined(self) -> bool:
        """Whether a model segmented some of its boxes."""
        return any(box.refined for box in self.boxes)

    @property
    def is_contour(self) -> bool:
        """Whether a person drew anything finer than a box."""
        finer = bool(self.regions) or self.mask is not None or any(not shape.coarse for shape in self.polygons)
        return finer and not self.is_refined

    @property
    def labels(self) -> tuple[int, ...]:
        """Class ids of the mask, unique and ascending: from contours if there are any, else from boxes."""
        finer = {shape.label for shape in self.polygons if not shape.coarse} | {part.label for part in self.regions}
        coarse = {box.label for box in self.boxes} | {shape.label for shape in self.polygons if shape.coarse}
        return tuple(sorted(finer | coarse if self.is_refined else finer or coarse))


@dataclass(frozen=True)
class Agreement:
    """Overlap of the boxes of a frame of one class with its contour, in ppm.

    ``fill``: fraction of the boxes that is defect; ``recall``: fraction of the defect inside the boxes.
    """

    label: int
    fill_ppm: int
    recall_ppm: int
    iou_ppm: int


@dataclass(frozen=True)
class Frame:
    """One labelled frame as it enters TFDS.

    ``image``: the source file, byte for byte; ``segmentation_mask``: `(height, width)` uint8 {0, 1}; ``labels``: class
    ids of the mask; ``group_id``: shared by the frames of one scene; ``agreement``: set only if the frame has a contour
    and boxes, all of one class.
    """

    image: bytes
    segmentation_mask: np.ndarray = field(compare=False)
    boxes: tuple[Box, ...]
    labels: tuple[int, ...]
    file_name: str
    group_id: str
    mask_source: MaskSource
    agreement: Agreement | None = None
