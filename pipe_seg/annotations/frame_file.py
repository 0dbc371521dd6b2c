"""The files of one frame and how to read them; picklable, so that any worker can read it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pipe_seg import images
from pipe_seg.annotations import documents, masks, raster, splits, yolo
from pipe_seg.annotations.shapes import Size
from pipe_seg.errors import InputDataError, Problem
from pipe_seg.schema import Annotation, Frame, MaskSource

AnnotationReader = Callable[[Size], Annotation]


@dataclass(frozen=True)
class FrameFile:
    """The paths of one frame and its labels, and what the data set's files record about it."""

    image: Path
    group_id: str
    mask_source: MaskSource
    expected_label: str
    label: Path | None = None
    mask: Path | None = None
    draw: AnnotationReader | None = None
    sha256: str | None = None

    @property
    def key(self) -> str:
        """The frame's file name, unique in its split."""
        return self.image.name

    def read(self) -> Frame:
        """Returns the frame with its checked image file, labels and rasterised mask.

        Raises:
            InputDataError: The image or a label cannot be used.
        """
        return self.load(documents.read_bytes(self.image, images.MAX_BYTES))[0]

    def load(self, data: bytes) -> tuple[Frame, Annotation]:
        """Returns the frame and its annotation, from the image file's bytes ``data``; raises like ``read``."""
        header = checked(self.image, data)
        if self.sha256 and hashlib.sha256(data).hexdigest() != self.sha256:
            raise InputDataError(Problem(self.image, f"changed since {splits.NAME} was made", expected=splits.RERUN))
        size = (header.height, header.width)
        annotation = self.annotation(size)
        shapes = annotation if self.mask_source == "box" else replace(annotation, boxes=())
        mask = raster.rasterise(shapes, *size)
        frame = Frame(
            image=data,
            segmentation_mask=mask,
            boxes=annotation.boxes,
            labels=annotation.labels,
            file_name=self.image.name,
            group_id=self.group_id,
            mask_source="refined" if annotation.is_refined else self.mask_source,
            agreement=None if self.mask_source == "box" else raster.agreement(annotation, mask),
        )
        return frame, annotation

    def annotation(self, size: Size) -> Annotation:
        """Returns the annotation of the frame of ``size`` (height, width) in pixels.

        Raises:
            InputDataError: There is no label, or it cannot be used.
        """
        found = self.draw(size) if self.draw else None
        labelled = yolo.read(self.label, size) if self.label else None
        if self.mask:
            pixels = masks.read(self.mask)
            if pixels.shape != size:
                raise InputDataError(masks.size_problem(self.mask, pixels.shape, size, self.image.name))
            found = replace(found or labelled or Annotation(), mask=pixels)
        if found is None and labelled and (self.mask_source == "box" or labelled.polygons):
            found = labelled
        if found is None:
            raise InputDataError(Problem(self.image, "frame without a label", expected=self.expected_label))
        return replace(found, boxes=labelled.boxes) if labelled else found


def checked(path: Path, data: bytes) -> images.Header:
    """Returns the header of a complete image file.

    Raises:
        InputDataError: The file is damaged or not an image.
    """
    try:
        return images.check(data)
    except ValueError as error:
        raise InputDataError(Problem(path, str(error), expected="a whole image; copy it again")) from error
