"""Reads data set folders: ``images/{train,val,test}`` beside ``labels``, ``masks`` or ``annotations``."""

import logging
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from pipe_seg import disk, images
from pipe_seg.annotations import coco, names, splits, via
from pipe_seg.annotations.frame_file import AnnotationReader, FrameFile
from pipe_seg.annotations.splits import Entry, SplitFile
from pipe_seg.errors import InputDataError, Problem, invocation
from pipe_seg.schema import CLASS_NAMES, SPLITS, Annotation, MaskSource

SPLIT_FOLDERS = {"train": ("train",), "validation": ("val", "validation", "valid"), "test": ("test",)}
SIBLING = re.compile(r"(\d{4,})_\d{1,2}")
ROBOFLOW = re.compile(r"(.+?)_(?:jpe?g|png|bmp)\.rf\.[0-9A-Za-z]+")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """One data set folder: ``PipeBoxSegmentation`` (PBS) or ``PipeSegmentation`` (PS).

    ``mask_source`` is ``box`` for filled boxes, ``contour`` for hand-drawn contours. Without ``frozen`` the
    folders define the split and ``splits.json`` is ignored.
    """

    root: Path
    mask_source: MaskSource
    images_folder: str = "images"
    frozen: bool = True

    @cached_property
    def split_file(self) -> SplitFile | None:
        """The content of ``splits.json``, or None where the folders define the split."""
        return splits.read(self.root) if self.frozen else None

    @property
    def legacy(self) -> bool:
        """Whether ``splits.json`` keeps the split of the folders, which may divide a scene."""
        return bool(self.split_file and self.split_file.made.get("legacy"))

    def splits(self) -> list[str]:
        """Returns ``train``, ``validation`` and, if it has frames, ``test``."""
        return [split for split in SPLITS if split != "test" or self._paths(split)]

    def images(self, split: str) -> list[Path]:
        """Returns the frames of a split, sorted by name.

        Raises:
            InputDataError: There are no frames, or two have the same name.
        """
        found = self._paths(split)
        if not found:
            folder = self.root / self.images_folder / SPLIT_FOLDERS[split][0]
            raise InputDataError(Problem(folder, "no frames here", expected="images, as datasets/README.md shows"))
        check_names(found)
        return sorted(found, key=lambda path: path.name)

    def paths(self, *split_names: str) -> list[Path]:
        """Returns the frames of the given splits; a missing split has none."""
        return [path for split in split_names for path in self._paths(split)]

    def all_images(self) -> list[Path]:
        """Returns every frame below ``images/``, sorted by path."""
        return list(self._images)

    @cached_property
    def _images(self) -> tuple[Path, ...]:
        return tuple(_files(self.root / self.images_folder, self.root))

    def group(self, path: Path) -> str:
        """Returns the scene of a frame: from ``splits.json``, else from the file name."""
        entry = self._entry(path)
        return entry.group if entry else group_of(path.stem)

    def split_of(self, path: Path) -> str | None:
        """Returns the split of a frame: from ``splits.json``, else from its folder."""
        if self.split_file:
            entry = self._entry(path)
            return entry.split if entry else None
        parts = path.relative_to(self.root / self.images_folder).parts[:-1]
        return next((split for split, folders in SPLIT_FOLDERS.items() if parts and parts[0].lower() in folders), None)

    def groups(self, split: str) -> set[str]:
        """Returns the scenes of a split, from ``splits.json`` and from file names; a missing split has none."""
        paths = self._paths(split)
        return {self.group(path) for path in paths} | {group_of(path.stem) for path in paths}

    def frames(self, split: str, without: set[str] | None = None, apart_from: Iterable[Path] = ()) -> list[FrameFile]:
        """Returns the frames of a split, except scenes in ``without`` and copies of ``apart_from``.

        Raises:
            InputDataError: There are no frames, a frame is in no split, or no frame remains.
        """
        self.check_all_in_a_split()
        paths = self.images(split)
        kept = [path for path in paths if not {self.group(path), group_of(path.stem)} & (without or set())]
        copies = _copies(kept, apart_from)
        kept = [path for path in kept if path not in copies]
        if len(kept) < len(paths):
            log.warning("%s: %d frames left out: held-out scenes or copies", paths[0].parent, len(paths) - len(kept))
        if not kept:
            raise InputDataError(Problem(paths[0].parent, "every scene here is held out", expected="other scenes"))
        return [self.frame(path) for path in kept]

    def frame(self, path: Path) -> FrameFile:
        """Returns one frame with its label files."""
        folder = path.relative_to(self.root / self.images_folder).parent
        entry = self._entry(path)
        label = self.root / "labels" / folder / f"{path.stem}.txt"
        return FrameFile(
            image=path,
            group_id=self.group(path),
            mask_source=self.mask_source,
            expected_label=self._expected_label(path.stem, folder.as_posix()),
            label=label if label.is_file() else None,
            mask=self.mask_path(path),
            draw=self._readers(folder.as_posix()).get(path.name),
            sha256=entry.sha256 if entry else None,
        )

    def mask_path(self, path: Path) -> Path | None:
        """Returns the mask file of a frame, or None.

        Raises:
            InputDataError: The frame has two mask files.
        """
        folder = self.root / "masks" / path.relative_to(self.root / self.images_folder).parent
        found = [folder / f"{path.stem}{end}" for end in ("_mask.png", ".png", ".PNG")]
        found = [mask for mask in found if mask.is_file()]
        if len(found) > 1:
            raise InputDataError(Problem(found[0], "two masks for one frame", got=found[1].name, expected="one"))
        return found[0] if found else None

    @cached_property
    def _reader_cache(self) -> dict[str, dict[str, AnnotationReader]]:
        return {}

    def _readers(self, folder: str) -> dict[str, AnnotationReader]:
        """Returns annotation readers by file name from the split folder's annotation file, read once."""
        if folder not in self._reader_cache:
            self._reader_cache[folder] = self._read_file(folder)
        return self._reader_cache[folder]

    def _read_file(self, folder: str) -> dict[str, AnnotationReader]:
        table = self.root / "annotations" / f"via_{folder}.csv"
        if table.is_file():
            return {name: partial(via.annotation, table, rows) for name, rows in via.read(table).items()}
        objects = self.root / "annotations" / f"instances_{folder}.json"
        return dict(coco.lazy_annotations(objects)) if objects.is_file() else {}

    def _expected_label(self, stem: str, folder: str) -> str:
        if self.mask_source == "box":
            return f"labels/{folder}/{stem}.txt (an empty file where there is no defect) or masks/{folder}/{stem}.png"
        return f"masks/{folder}/{stem}_mask.png, or an entry in annotations/via_{folder}.csv or instances_{folder}.json"

    def _paths(self, split: str) -> list[Path]:
        if self.split_file:
            return [self.root / name for name, entry in sorted(self.split_file.frames.items()) if entry.split == split]
        return [path for path in self.all_images() if self.split_of(path) == split]

    def _entry(self, path: Path) -> Entry | None:
        return self.split_file.frames.get(path.relative_to(self.root).as_posix()) if self.split_file else None

    def check_all_in_a_split(self) -> None:
        """Checks that every frame is in a split, by ``splits.json`` or by its folder.

        Raises:
            InputDataError: Frames are in no split.
        """
        unknown = [path for path in self.all_images() if not self.split_of(path)]
        what = f"not in {splits.NAME}" if self.split_file else "in no split"
        cure = splits.RERUN if self.split_file else "images/train, images/val or images/test, or `data split`"
        if unknown:
            raise InputDataError(*(Problem(path, what, expected=cure) for path in unknown))


def uncovered(annotation: Annotation) -> list[str]:
    """Returns the classes that have boxes but no contour, on a frame with contours of other classes."""
    contoured = {region.label for region in annotation.regions}
    contoured |= {shape.label for shape in annotation.polygons if not shape.coarse}
    boxed = {box.label for box in annotation.boxes} | {shape.label for shape in annotation.polygons if shape.coarse}
    return [CLASS_NAMES[label] for label in sorted(boxed - contoured)] if contoured else []


def check_apart(train: Iterable[FrameFile], held_out: set[str]) -> None:
    """Checks that no training frame shows a held-out scene.

    Raises:
        InputDataError: Training frames show held-out scenes.
    """
    leaks = [frame for frame in train if frame.group_id in held_out]
    if leaks:
        what = "training frame of a held-out scene"
        raise InputDataError(*(Problem(leak.image, what, got=leak.group_id, expected=splits.RERUN) for leak in leaks))


def contour_frames(layout: Layout) -> dict[str, list[FrameFile]]:
    """Returns the frames of each split of PS; training excludes held-out scenes and copies of them.

    Raises:
        InputDataError: A training frame shows a held-out scene, or a split has no frames.
    """
    held_out = set() if layout.legacy else layout.groups("validation") | layout.groups("test")
    held_out_paths = [] if layout.legacy else layout.paths("validation", "test")
    train = layout.frames("train", without=held_out, apart_from=held_out_paths)
    check_apart(train, held_out)
    return {"train": train, **held_out_frames(layout, set())}


def held_out_frames(layout: Layout, without: set[str]) -> dict[str, list[FrameFile]]:
    """Returns validation frames and, if any, test frames; test excludes the scenes of validation."""
    found = {"validation": layout.frames("validation", without=without)}
    if "test" in layout.splits():
        seen = set() if layout.legacy else layout.groups("validation")
        found["test"] = layout.frames("test", without=without | seen, apart_from=layout.paths("validation"))
    return found


def check_made_together(boxes: Layout, contours: Layout) -> None:
    """Checks that one run of ``data split`` made both ``splits.json`` files, or that neither exists.

    Raises:
        InputDataError: Different runs made them, or only one exists.
    """
    if not contours.all_images():
        return
    made = {layout.split_file.made.get("id") if layout.split_file else None for layout in (boxes, contours)}
    command = f"`{invocation('data', 'split', boxes.root.parent)}`"
    if len(made) > 1:
        what, cure = f"split made separately from that of {contours.root}", f"{command}, which writes both splits"
        raise InputDataError(Problem(boxes.root, what, expected=cure))
    if made == {None}:
        log.warning("%s: scenes are grouped by name and bytes only; %s compares images too", boxes.root.parent, command)


def group_of(stem: str) -> str:
    """Returns the scene of a file name: ``001481_2`` and ``001481_jpg.rf.0a1b`` belong to ``001481``."""
    exported = ROBOFLOW.fullmatch(stem)
    stem = exported[1] if exported else stem
    sibling = SIBLING.fullmatch(stem)
    return sibling[1] if sibling else stem


def _files(folder: Path, root: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in images.SUFFIXES)
    links = [path for path in found if path.is_symlink()]
    broken = [path for path in links if not any(names.contained(path, parent) for parent in (folder, root))]
    if broken:
        raise InputDataError(*(Problem(path, names.BAD_LINK, expected="the file itself") for path in broken))
    return found


def check_names(paths: Iterable[Path]) -> None:
    """Checks that the frames of a split have unique, printable names.

    Raises:
        InputDataError: A name is unprintable, or two names differ at most in case, suffix or Unicode form.
    """
    seen: dict[str, Path] = {}
    problems = []
    for path in paths:
        other = seen.setdefault(unicodedata.normalize("NFC", path.stem).casefold(), path)
        if other != path:
            problems.append(Problem(path, "two frames with one name", got=str(other), expected="unique names"))
        if not path.name.isprintable():
            problems.append(Problem(path, "name has unprintable characters", expected="letters, digits, . _ -"))
    if problems:
        raise InputDataError(*problems)


def _copies(paths: list[Path], others: Iterable[Path]) -> set[Path]:
    """Returns the ``paths`` with the same bytes as one of ``others``; reads files of equal size only."""
    other_sizes, sizes = _by_size(others), _by_size(paths)
    found = set()
    for size in other_sizes.keys() & sizes.keys():
        digests = {disk.digest_file(other) for other in other_sizes[size]}
        found |= {path for path in sizes[size] if disk.digest_file(path) in digests}
    return found


def _by_size(paths: Iterable[Path]) -> dict[int, list[Path]]:
    sizes: dict[int, list[Path]] = defaultdict(list)
    for path in paths:
        sizes[path.stat().st_size].append(path)
    return sizes
