"""Contours → one image for each box and its surroundings, for a network that draws inside boxes.

Where a box is known, drawing the contour is the easier half of the task: the defect fills the image, always at about
the same scale. A network that learnt it from a few contours then draws inside many boxes (``data refine``).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipe_seg import artifacts, disk, images
from pipe_seg.annotations import raster, splits, yolo
from pipe_seg.annotations.folders import SPLIT_FOLDERS, Layout, contour_frames
from pipe_seg.annotations.splits import Entry, SplitFile
from pipe_seg.config import CropperSection
from pipe_seg.data import data_card
from pipe_seg.errors import InputDataError, Problem
from pipe_seg.progress import OnProgress
from pipe_seg.schema import FOLDERS, Box, Frame

COMPONENT, VERSION = "cropper", 1


@dataclass(frozen=True)
class Crop:
    """A part of a frame: uint8 ``image`` (height, width, 3) BGR and ``mask`` (height, width); any box."""

    image: np.ndarray
    mask: np.ndarray
    box: Box | None


def run(
    section: CropperSection, contours: Layout, *, out: Path, report: OnProgress, key: str | None = None
) -> dict[str, int]:
    """Writes a data set with the crops of every frame that has a contour; returns how many each split has.

    Frames keep their split and their scene. A box with no pixel of the contour makes no crop.

    Args:
        section: The margin.
        contours: The frames; PS's own rules leave some out. The crops follow boxes of the contour's class, the
            contour's bounding box where there are none.
        out: The folder to make, which is then a ``--manual-dir``.
        report: Receives how many frames are done.
        key: The key to record.

    Raises:
        InputDataError: A frame cannot be used, or not one has a contour.
        ConflictError: ``out`` exists already.
    """
    entries: dict[str, Entry] = {}
    frames = [(split, source) for split, sources in contour_frames(contours).items() for source in sources]
    made: dict[str, Any] = {"crop_margin": section.margin, "source": str(contours.root.absolute())}
    with artifacts.writing(out, component=COMPONENT, section=section.model_dump(), details=made, key=key) as whole:
        with artifacts.writing(whole / FOLDERS["ps"], component=COMPONENT, details=dict(made)) as root:
            for done, (split, source) in enumerate(frames, 1):
                frame = source.read()
                for number, crop in enumerate(crops(frame, section.margin)):
                    path = _write(root, SPLIT_FOLDERS[split][0], f"{source.image.stem}-{number}", crop)
                    entry = {"sha256": disk.digest_file(path), "group": frame.group_id, "split": split}
                    entries[path.relative_to(root).as_posix()] = Entry.model_validate(entry)
                report(done, len(frames))
            file = SplitFile(made={"crop_margin": section.margin, "legacy": contours.legacy}, frames=entries)
            disk.write_json(root / splits.NAME, file.model_dump(mode="json"))
            data_card.copy_licences(contours.root, root)
        if not entries:
            raise InputDataError(Problem(contours.root, "no contour to crop", expected="frames with contours"))
    return dict(Counter(entry.split for entry in entries.values()))


def key_of(section: CropperSection, inputs: Mapping[str, str]) -> str:
    """Returns the key of what ``run`` makes of these inputs, the digests of the data."""
    return artifacts.key_of(COMPONENT, VERSION, section.model_dump(), inputs)


def crops(frame: Frame, margin: float) -> Iterator[Crop]:
    """Yields the parts of one frame that hold pixels of its contour, unless they are too thin."""
    height, width = frame.segmentation_mask.shape
    pixels = images.decode(frame.image)
    for box in [box for box in frame.boxes if box.label in frame.labels] or _around(frame):
        position = raster.inside(box, height, width, margin)
        mask = np.ascontiguousarray(frame.segmentation_mask[position])
        if mask.any() and min(mask.shape) >= images.MIN_SIDE_PX:
            moved = _moved(box, position, height, width) if frame.labels else None
            yield Crop(np.ascontiguousarray(pixels[position]), mask, moved)


def _around(frame: Frame) -> list[Box]:
    """Returns the bounding box of the whole contour, with its first class; none where there is no contour."""
    mask = frame.segmentation_mask
    if not mask.any():
        return []
    height, width = mask.shape
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    left, right = columns[0] / width, (columns[-1] + 1) / width
    top, bottom = rows[0] / height, (rows[-1] + 1) / height
    return [Box(float(left), float(top), float(right), float(bottom), (*frame.labels, 0)[0])]


def _moved(box: Box, position: tuple[slice, slice], height: int, width: int) -> Box:
    """Returns a box of a frame as a box of its part ``position``."""
    rows, columns = position
    left, right = (_share(value * width, columns) for value in (box.x_min, box.x_max))
    top, bottom = (_share(value * height, rows) for value in (box.y_min, box.y_max))
    return Box(left, top, right, bottom, box.label)


def _share(pixel: float, along: slice) -> float:
    return float(min(max((pixel - along.start) / (along.stop - along.start), 0.0), 1.0))


def _write(root: Path, position: str, stem: str, crop: Crop) -> Path:
    """Writes image, mask and box; returns the image's path."""
    image = root / "images" / position / f"{stem}.png"
    files = {
        image: images.encode(crop.image, ".png"),
        root / "masks" / position / f"{stem}_mask.png": images.encode(crop.mask * np.uint8(255), ".png"),
    }
    if crop.box:
        line = yolo.line(crop.box, (crop.mask.shape[0], crop.mask.shape[1]))
        files[root / "labels" / position / f"{stem}.txt"] = f"{line}\n".encode()
    for path, data in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return image
