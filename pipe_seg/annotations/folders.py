"""The folders people have: ``images/{train,val}`` with ``labels``, ``masks`` or ``annotations`` beside."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pipe_seg.annotations import masks, raster, via, yolo
from pipe_seg.errors import InputDataError, Problem
from pipe_seg.schema import Annotation, Frame, MaskSource, Polygon

IMAGE_SUFFIXES = (".jpg", ".jpeg")
SPLIT_FOLDERS = {"train": ("train",), "validation": ("val", "validation", "valid")}
SIBLING = re.compile(r"(\d{4,})_\d{1,2}")


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """One data set on disk: ``PipeBoxSegmentation`` or ``PipeSegmentation``.

    ``mask_source`` says what its masks are: filled boxes or hand-drawn contours.
    """

    root: Path
    mask_source: MaskSource

    def images(self, split: str) -> list[Path]:
        """Give the frames of a split, sorted by name.

        Raises:
            InputDataError: the folder is missing or empty.
        """
        folder = self._split_folder("images", split)
        found = _files(folder) if folder else []
        if not found:
            where = folder or self.root / "images" / SPLIT_FOLDERS[split][0]
            raise InputDataError(Problem(where, "no frames here", expected="JPEG files, as datasets/README.md shows"))
        return found

    def groups(self, split: str) -> set[str]:
        """Give the scenes of a split; a split that is not there has none."""
        folder = self._split_folder("images", split)
        return {group_of(path.stem) for path in _files(folder)} if folder else set()

    def frames(self, split: str, without: set[str] | None = None) -> Iterator[Frame]:
        """Give the labelled frames of a split, leaving out scenes in ``without``.

        Raises:
            InputDataError: all problems of the split together, at the end of the frames.
        """
        polygons = self._polygons(split)
        problems: list[Problem | str] = []
        paths = self.images(split)
        kept = [path for path in paths if group_of(path.stem) not in (without or ())]
        if len(kept) < len(paths):
            log.warning("%s: %d frames left out: their scenes are held out", paths[0].parent, len(paths) - len(kept))
        if not kept:
            raise InputDataError(Problem(paths[0].parent, "every scene here is held out", expected="scenes of its own"))
        for path in kept:
            try:
                yield self._frame(path, split, polygons)
            except InputDataError as error:
                problems.extend(error.problems)
        if problems:
            raise InputDataError(*problems)

    def _frame(self, path: Path, split: str, polygons: dict[str, tuple[Polygon, ...]] | None) -> Frame:
        image = masks.decode(path)
        height, width = image.shape[:2]
        annotation = self._annotation(path, split, polygons)
        if annotation.mask is not None and annotation.mask.shape != (height, width):
            got = f"{annotation.mask.shape[1]}x{annotation.mask.shape[0]}"
            mask_path = self._mask_path(path.stem, split) or path
            raise InputDataError(
                Problem(
                    mask_path,
                    "mask of another size than its frame",
                    got=got,
                    expected=f"{width}x{height} as {path.name}",
                )
            )
        drawn = annotation if self.mask_source == "box" else replace(annotation, boxes=())
        return Frame(
            image=path.read_bytes(),
            segmentation_mask=raster.rasterise(drawn, height, width),
            boxes=annotation.boxes,
            labels=annotation.labels,
            file_name=path.name,
            group_id=group_of(path.stem),
            mask_source=self.mask_source,
        )

    def _annotation(self, path: Path, split: str, polygons: dict[str, tuple[Polygon, ...]] | None) -> Annotation:
        label_folder = self._split_folder("labels", split)
        label = label_folder / f"{path.stem}.txt" if label_folder else None
        boxes = yolo.read(label) if label and label.is_file() else ()
        mask_path = self._mask_path(path.stem, split)
        if mask_path:
            shapes = (polygons or {}).get(path.name, ())
            return Annotation(boxes, shapes, masks.read(mask_path))
        if polygons is not None and path.name in polygons:
            return Annotation(boxes, polygons[path.name])
        if self.mask_source == "box" and label and label.is_file():
            return Annotation(boxes)
        raise InputDataError(Problem(path, "frame without a label", expected=self._wanted(path.stem, split)))

    def _wanted(self, stem: str, split: str) -> str:
        folder = SPLIT_FOLDERS[split][0]
        if self.mask_source == "box":
            return f"labels/{folder}/{stem}.txt (an empty file where there is no defect) or masks/{folder}/{stem}.png"
        return f"masks/{folder}/{stem}_mask.png or a row in annotations/via_{folder}.csv"

    def _mask_path(self, stem: str, split: str) -> Path | None:
        folder = self._split_folder("masks", split)
        candidates = (folder / f"{stem}_mask.png", folder / f"{stem}.png") if folder else ()
        return next((path for path in candidates if path.is_file()), None)

    def _polygons(self, split: str) -> dict[str, tuple[Polygon, ...]] | None:
        names = SPLIT_FOLDERS[split]
        candidates = [self.root / "annotations" / f"via_{name}.csv" for name in names]
        found = next((path for path in candidates if path.is_file()), None)
        return via.read(found) if found else None

    def _split_folder(self, kind: str, split: str) -> Path | None:
        folders = (self.root / kind / name for name in SPLIT_FOLDERS[split])
        return next((folder for folder in folders if folder.is_dir()), None)


def group_of(stem: str) -> str:
    """Give the scene a frame belongs to: ``001481_2`` is an augmented sibling of ``001481``."""
    sibling = SIBLING.fullmatch(stem)
    return sibling[1] if sibling else stem


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
