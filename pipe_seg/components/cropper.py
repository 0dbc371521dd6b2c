"""Contours → one image for each box: what lies in it and around it, for a network that draws inside boxes.

Where a box is known, drawing the contour is the easier half of the task: the defect fills the image, always at about
the same scale. A network that learnt it from a few contours then draws inside many boxes (``data refine``).
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipe_seg import artifacts, disk, images
from pipe_seg.annotations import raster, splits, yolo
from pipe_seg.annotations.folders import SPLIT_FOLDERS, Layout, contour_frames
from pipe_seg.annotations.splits import Entry, SplitFile
from pipe_seg.data import data_card
from pipe_seg.errors import InputDataError, Problem
from pipe_seg.progress import Report
from pipe_seg.schema import FOLDERS, Box, Frame


@dataclass(frozen=True)
class Crop:
    """A part of a frame: ``image`` (height, width, 3) BGR, ``mask`` (height, width), both uint8; the box, if any."""

    image: np.ndarray
    mask: np.ndarray
    box: Box | None


def run(contours: Layout, *, margin: float, out: Path, report: Report) -> dict[str, int]:
    """Write a data set with the crops of every frame that has a contour; give how many each split has.

    Frames keep their split and their scene. Boxes with nothing of the contour in them make no crop.

    Args:
        contours: the frames, of which those are left out that PS leaves out; boxes of the contour's class say where
            to look, the contour's own bounding box where there are none.
        margin: what is added on each side, as a share of the box.
        out: the folder to make, which is then a ``--manual-dir``.
        report: is told how many frames are done.

    Raises:
        InputDataError: a frame cannot be used, or not one has a contour.
        ConflictError: there is something at ``out``.
    """
    entries: dict[str, Entry] = {}
    frames = [(split, waiting) for split, found in contour_frames(contours).items() for waiting in found]
    made = {"crop_margin": margin, "source": str(contours.root.absolute())}
    with artifacts.publishing(out) as whole:
        with artifacts.writing(whole / FOLDERS["ps"], component="cropper", details=dict(made)) as root:
            for done, (split, waiting) in enumerate(frames, 1):
                frame = waiting.read()
                for number, crop in enumerate(crops(frame, margin)):
                    path = _write(root, SPLIT_FOLDERS[split][0], f"{waiting.image.stem}-{number}", crop)
                    told = {"sha256": disk.digest_file(path), "group": frame.group_id, "split": split}
                    entries[path.relative_to(root).as_posix()] = Entry.model_validate(told)
                report(done, len(frames))
            file = SplitFile(made={**made, "legacy": contours.legacy}, frames=entries)
            disk.write_json(root / splits.NAME, file.model_dump(mode="json"))
            for licence in data_card.licences(contours.root)[:1]:
                shutil.copyfile(licence, root / licence.name)
        if not entries:
            raise InputDataError(Problem(contours.root, "no contour to crop", expected="frames with contours"))
    return dict(Counter(entry.split for entry in entries.values()))


def crops(frame: Frame, margin: float) -> Iterator[Crop]:
    """Give the parts of one frame that hold something of its contour; what is too thin for an image makes none."""
    height, width = frame.segmentation_mask.shape
    pixels = images.decode(frame.image)
    for box in [box for box in frame.boxes if box.label in frame.labels] or _around(frame):
        place = raster.inside(box, height, width, margin)
        mask = np.ascontiguousarray(frame.segmentation_mask[place])
        if mask.any() and min(mask.shape) >= images.MIN_SIDE_PX:
            told = _moved(box, place, height, width) if frame.labels else None
            yield Crop(np.ascontiguousarray(pixels[place]), mask, told)


def _around(frame: Frame) -> list[Box]:
    """Give the bounding box of the whole contour, of its first class, if it has one; none where there is no contour."""
    mask = frame.segmentation_mask
    if not mask.any():
        return []
    height, width = mask.shape
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    left, right = columns[0] / width, (columns[-1] + 1) / width
    top, bottom = rows[0] / height, (rows[-1] + 1) / height
    return [Box(float(left), float(top), float(right), float(bottom), (*frame.labels, 0)[0])]


def _moved(box: Box, place: tuple[slice, slice], height: int, width: int) -> Box:
    """Give a box of a frame as a box of its part ``place``."""
    rows, columns = place
    left, right = (_share(value * width, columns) for value in (box.x_min, box.x_max))
    top, bottom = (_share(value * height, rows) for value in (box.y_min, box.y_max))
    return Box(left, top, right, bottom, box.label)


def _share(pixel: float, along: slice) -> float:
    return float(min(max((pixel - along.start) / (along.stop - along.start), 0.0), 1.0))


def _write(root: Path, place: str, stem: str, crop: Crop) -> Path:
    """Write image, mask and box; give the image's path."""
    image = root / "images" / place / f"{stem}.png"
    files = {
        image: images.encode(crop.image, ".png"),
        root / "masks" / place / f"{stem}_mask.png": images.encode(crop.mask * np.uint8(255), ".png"),
    }
    if crop.box:
        line = yolo.line(crop.box, (crop.mask.shape[0], crop.mask.shape[1]))
        files[root / "labels" / place / f"{stem}.txt"] = f"{line}\n".encode()
    for path, data in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return image
