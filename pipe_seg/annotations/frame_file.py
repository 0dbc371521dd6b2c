"""One frame of a folder, with its label files, waiting to be read by whichever worker."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pipe_seg import images
from pipe_seg.annotations import documents, masks, raster, splits, yolo
from pipe_seg.annotations.shapes import Size
from pipe_seg.errors import InputDataError, Problem
from pipe_seg.schema import Annotation, Frame, MaskSource

Draw = Callable[[Size], Annotation]


@dataclass(frozen=True)
class FrameFile:
    """One frame that waits to be read, by whichever worker: where its files are and what is known of it."""

    image: Path
    group_id: str
    mask_source: MaskSource
    wanted: str
    label: Path | None = None
    mask: Path | None = None
    draw: Draw | None = None
    sha256: str | None = None

    @property
    def key(self) -> str:
        """The frame's file name, which no other frame of its split has."""
        return self.image.name

    def read(self) -> Frame:
        """Give the frame: image checked to the last byte, labels read, mask drawn.

        Raises:
            InputDataError: everything that is wrong with it.
        """
        return self.load(documents.read_bytes(self.image, images.MAX_BYTES))[0]

    def load(self, data: bytes) -> tuple[Frame, Annotation]:
        """Give the frame whose file holds ``data``, and what was drawn on it, as ``read`` does."""
        found = checked(self.image, data)
        if self.sha256 and hashlib.sha256(data).hexdigest() != self.sha256:
            raise InputDataError(Problem(self.image, f"changed since {splits.NAME} was made", expected=splits.AGAIN))
        size = (found.height, found.width)
        annotation = self.annotation(size)
        drawn = annotation if self.mask_source == "box" else replace(annotation, boxes=())
        mask = raster.rasterise(drawn, *size)
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
        """Give all that is drawn on the frame of ``size``.

        Raises:
            InputDataError: no label, or one that cannot be used.
        """
        found = self.draw(size) if self.draw else None
        labelled = yolo.read(self.label, size) if self.label else None
        if self.mask:
            pixels = masks.read(self.mask)
            if pixels.shape != size:
                raise InputDataError(masks.other_size(self.mask, pixels.shape, size, self.image.name))
            found = replace(found or labelled or Annotation(), mask=pixels)
        if found is None and labelled and (self.mask_source == "box" or labelled.polygons):
            found = labelled
        if found is None:
            raise InputDataError(Problem(self.image, "frame without a label", expected=self.wanted))
        return replace(found, boxes=labelled.boxes) if labelled else found


def checked(path: Path, data: bytes) -> images.Header:
    """Give the header of a frame that is whole to the last byte.

    Raises:
        InputDataError: it is not.
    """
    try:
        return images.check(data)
    except ValueError as error:
        raise InputDataError(Problem(path, str(error), expected="a whole image; copy it again")) from error
