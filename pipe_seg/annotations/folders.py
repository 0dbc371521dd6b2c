"""The folders people have: ``images/{train,val,test}`` with ``labels``, ``masks`` or ``annotations`` beside."""

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
from pipe_seg.annotations.frame_file import Draw, FrameFile
from pipe_seg.annotations.splits import Entry, SplitFile
from pipe_seg.errors import InputDataError, Problem
from pipe_seg.schema import CLASS_NAMES, SPLITS, Annotation, MaskSource

SPLIT_FOLDERS = {"train": ("train",), "validation": ("val", "validation", "valid"), "test": ("test",)}
SIBLING = re.compile(r"(\d{4,})_\d{1,2}")
ROBOFLOW = re.compile(r"(.+?)_(?:jpe?g|png|bmp)\.rf\.[0-9A-Za-z]+")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """One data set on disk: ``PipeBoxSegmentation`` or ``PipeSegmentation``.

    ``mask_source`` says what its masks are: filled boxes or hand-drawn contours; without ``frozen`` a split
    file is not looked at.
    """

    root: Path
    mask_source: MaskSource
    images_folder: str = "images"
    frozen: bool = True

    @cached_property
    def split_file(self) -> SplitFile | None:
        """The frozen split, or None where the folders are the split."""
        return splits.read(self.root) if self.frozen else None

    @property
    def legacy(self) -> bool:
        """Whether the frozen split is the folder's own, with whatever it cuts apart."""
        return bool(self.split_file and self.split_file.made.get("legacy"))

    def splits(self) -> list[str]:
        """Give the splits that have frames; ``train`` and ``validation`` always count."""
        return [split for split in SPLITS if split != "test" or self._paths(split)]

    def images(self, split: str) -> list[Path]:
        """Give the frames of a split, sorted by name.

        Raises:
            InputDataError: there are none, or two have one name.
        """
        found = self._paths(split)
        if not found:
            where = self.root / self.images_folder / SPLIT_FOLDERS[split][0]
            raise InputDataError(Problem(where, "no frames here", expected="images, as datasets/README.md shows"))
        check_names(found)
        return sorted(found, key=lambda path: path.name)

    def paths(self, *names_of_splits: str) -> list[Path]:
        """Give the frames of some splits; a split that is not there has none."""
        return [path for split in names_of_splits for path in self._paths(split)]

    def all_images(self) -> list[Path]:
        """Give every frame below ``images/``, sorted by path."""
        return list(self._images)

    @cached_property
    def _images(self) -> tuple[Path, ...]:
        return tuple(_files(self.root / self.images_folder, self.root))

    def group(self, path: Path) -> str:
        """Give the scene of a frame: as frozen, else by its name."""
        entry = self._entry(path)
        return entry.group if entry else group_of(path.stem)

    def split_of(self, path: Path) -> str | None:
        """Give the split of a frame: as frozen, else the folder it lies in."""
        if self.split_file:
            entry = self._entry(path)
            return entry.split if entry else None
        parts = path.relative_to(self.root / self.images_folder).parts[:-1]
        return next((split for split, known in SPLIT_FOLDERS.items() if parts and parts[0].lower() in known), None)

    def groups(self, split: str) -> set[str]:
        """Give the scenes of a split, by what is frozen and by name; a split that is not there has none."""
        paths = self._paths(split)
        return {self.group(path) for path in paths} | {group_of(path.stem) for path in paths}

    def frames(self, split: str, without: set[str] | None = None, apart_from: Iterable[Path] = ()) -> list[FrameFile]:
        """Give the frames of a split, leaving out the scenes in ``without`` and copies of files in ``apart_from``.

        Raises:
            InputDataError: no frames, frames that the split file does not know, or nothing left.
        """
        self.check_known()
        paths = self.images(split)
        kept = [path for path in paths if not {self.group(path), group_of(path.stem)} & (without or set())]
        copies = _copies(kept, apart_from)
        kept = [path for path in kept if path not in copies]
        if len(kept) < len(paths):
            log.warning("%s: %d frames left out: their scenes are held out", paths[0].parent, len(paths) - len(kept))
        if not kept:
            raise InputDataError(Problem(paths[0].parent, "every scene here is held out", expected="scenes of its own"))
        return [self.frame(path) for path in kept]

    def frame(self, path: Path) -> FrameFile:
        """Give one frame with its label files."""
        place = path.relative_to(self.root / self.images_folder).parent
        entry = self._entry(path)
        label = self.root / "labels" / place / f"{path.stem}.txt"
        return FrameFile(
            image=path,
            group_id=self.group(path),
            mask_source=self.mask_source,
            wanted=self._wanted(path.stem, place.as_posix()),
            label=label if label.is_file() else None,
            mask=self.mask_path(path),
            draw=self._draw(place.as_posix()).get(path.name),
            sha256=entry.sha256 if entry else None,
        )

    def mask_path(self, path: Path) -> Path | None:
        """Give the mask of a frame, if there is one.

        Raises:
            InputDataError: there are two.
        """
        folder = self.root / "masks" / path.relative_to(self.root / self.images_folder).parent
        found = [folder / f"{path.stem}{end}" for end in ("_mask.png", ".png", ".PNG")]
        found = [mask for mask in found if mask.is_file()]
        if len(found) > 1:
            raise InputDataError(Problem(found[0], "two masks of one frame", got=found[1].name, expected="one"))
        return found[0] if found else None

    @cached_property
    def _drawn(self) -> dict[str, dict[str, Draw]]:
        return {}

    def _draw(self, place: str) -> dict[str, Draw]:
        """Give what the annotation file of a split's folder draws, by frame; read once."""
        if place not in self._drawn:
            self._drawn[place] = self._read_draw(place)
        return self._drawn[place]

    def _read_draw(self, place: str) -> dict[str, Draw]:
        table = self.root / "annotations" / f"via_{place}.csv"
        if table.is_file():
            return {name: partial(via.annotation, table, rows) for name, rows in via.read(table).items()}
        objects = self.root / "annotations" / f"instances_{place}.json"
        return dict(coco.draws(objects)) if objects.is_file() else {}

    def _wanted(self, stem: str, place: str) -> str:
        if self.mask_source == "box":
            return f"labels/{place}/{stem}.txt (an empty file where there is no defect) or masks/{place}/{stem}.png"
        return f"masks/{place}/{stem}_mask.png, or the frame in annotations/via_{place}.csv or instances_{place}.json"

    def _paths(self, split: str) -> list[Path]:
        if self.split_file:
            return [self.root / name for name, entry in sorted(self.split_file.frames.items()) if entry.split == split]
        return [path for path in self.all_images() if self.split_of(path) == split]

    def _entry(self, path: Path) -> Entry | None:
        return self.split_file.frames.get(path.relative_to(self.root).as_posix()) if self.split_file else None

    def check_known(self) -> None:
        """Make sure that every frame belongs to a split: by the split file, or by its folder.

        Raises:
            InputDataError: frames of which nobody said where they belong.
        """
        unknown = [path for path in self.all_images() if not self.split_of(path)]
        what = f"not in {splits.NAME}" if self.split_file else "in no split"
        cure = splits.AGAIN if self.split_file else "images/train, images/val or images/test, or `data split`"
        if unknown:
            raise InputDataError(*(Problem(path, what, expected=cure) for path in unknown))


def uncovered(drawn: Annotation) -> list[str]:
    """Give the classes that have a box but no contour on a frame that has contours with classes."""
    finer = {shape.label for shape in drawn.polygons if not shape.coarse} | {part.label for part in drawn.regions}
    alone = {box.label for box in drawn.boxes} | {shape.label for shape in drawn.polygons if shape.coarse}
    return [CLASS_NAMES[label] for label in sorted(alone - finer)] if finer else []


def check_apart(train: Iterable[FrameFile], held_out: set[str]) -> None:
    """Make sure that no scene that is held out trains.

    Raises:
        InputDataError: one does.
    """
    leaks = [frame for frame in train if frame.group_id in held_out]
    if leaks:
        what = "a held-out scene in training"
        raise InputDataError(*(Problem(leak.image, what, got=leak.group_id, expected=splits.AGAIN) for leak in leaks))


def contour_frames(layout: Layout) -> dict[str, list[FrameFile]]:
    """Give the frames of each split of PS; training leaves out every scene that is held out, and every copy.

    Raises:
        InputDataError: a held-out scene trains all the same, or a split has no frames.
    """
    own = set() if layout.legacy else layout.groups("validation") | layout.groups("test")
    away = [] if layout.legacy else layout.paths("validation", "test")
    train = layout.frames("train", without=own, apart_from=away)
    check_apart(train, own)
    return {"train": train, **held_out_frames(layout, set())}


def held_out_frames(layout: Layout, without: set[str]) -> dict[str, list[FrameFile]]:
    """Give the frames of validation, and of test where there is one: less what validation shows, which chooses."""
    found = {"validation": layout.frames("validation", without=without)}
    if "test" in layout.splits():
        seen = set() if layout.legacy else layout.groups("validation")
        found["test"] = layout.frames("test", without=without | seen, apart_from=layout.paths("validation"))
    return found


def check_made_together(boxes: Layout, contours: Layout) -> None:
    """Make sure that both splits are frozen, and name the same scenes alike, or none is.

    Raises:
        InputDataError: they were made apart.
    """
    if not contours.all_images():
        return
    made = {layout.split_file.made.get("id") if layout.split_file else None for layout in (boxes, contours)}
    cure = f"`python cli.py data split {boxes.root.parent}`, which freezes both"
    if len(made) > 1:
        raise InputDataError(Problem(boxes.root, f"split made apart from that of {contours.root}", expected=cure))
    if made == {None}:
        log.warning("%s: scenes are told by name and bytes only; %s, looks too", boxes.root.parent, cure)


def group_of(stem: str) -> str:
    """Give the scene a name tells: ``001481_2`` and ``001481_jpg.rf.0a1b`` are siblings of ``001481``."""
    exported = ROBOFLOW.fullmatch(stem)
    stem = exported[1] if exported else stem
    sibling = SIBLING.fullmatch(stem)
    return sibling[1] if sibling else stem


def _files(folder: Path, root: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in images.SUFFIXES)
    links = [path for path in found if path.is_symlink()]
    astray = [path for path in links if not any(names.contained(path, place) for place in (folder, root))]
    if astray:
        what = "link that leads outside or nowhere"
        raise InputDataError(*(Problem(path, what, expected="the file itself") for path in astray))
    return found


def check_names(paths: Iterable[Path]) -> None:
    """Make sure that every frame of a split has a name of its own that can be printed.

    Raises:
        InputDataError: names that differ in nothing, in case only, in the suffix only, or in how accents are
            written.
    """
    seen: dict[str, Path] = {}
    problems = []
    for path in paths:
        other = seen.setdefault(unicodedata.normalize("NFC", path.stem).casefold(), path)
        if other != path:
            problems.append(Problem(path, "two frames of one name", got=str(other), expected="names of their own"))
        if not path.name.isprintable():
            problems.append(Problem(path, "name that cannot be printed", expected="letters, digits, . _ -"))
    if problems:
        raise InputDataError(*problems)


def _copies(paths: list[Path], others: Iterable[Path]) -> set[Path]:
    """Give the files among ``paths`` that hold the same bytes as one of ``others``; only equal sizes are read."""
    held, wanted = _by_size(others), _by_size(paths)
    found = set()
    for size in held.keys() & wanted.keys():
        digests = {disk.digest_file(other) for other in held[size]}
        found |= {path for path in wanted[size] if disk.digest_file(path) in digests}
    return found


def _by_size(paths: Iterable[Path]) -> dict[int, list[Path]]:
    sizes: dict[int, list[Path]] = defaultdict(list)
    for path in paths:
        sizes[path.stat().st_size].append(path)
    return sizes
