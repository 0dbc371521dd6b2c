"""The folder, label file or ZIP file to import: finds its frames and label files, and nothing outside."""

import re
import stat
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from pipe_seg import artifacts, images
from pipe_seg.annotations import names, splits
from pipe_seg.annotations.shapes import ShapeError, Size
from pipe_seg.errors import InputDataError, Problem, RefusedError
from pipe_seg.schema import Annotation

MAX_MEMBERS = 100_000
MAX_UNPACKED_BYTES = 20_000_000_000
MAX_RATIO = 100
SPLIT_WORDS = {"train": "train", "training": "train", "val": "validation", "valid": "validation"}
SPLIT_WORDS |= {"trainval": "train", "validation": "validation", "test": "test", "testing": "test"}


@dataclass(frozen=True)
class LabelledFrame:
    """One frame's image, annotation and label file; ``split`` is None if the source has no splits."""

    frame: Path
    annotation: Annotation
    origin: Path
    split: str | None = None


@dataclass
class Source:
    """Frames and label files below ``root``, or one label file with frames beside it or in ``frames_dir``.

    Reading adds to ``problems``, puts unusable frames into ``bad``, counts problems without a frame in ``loose``,
    and sets ``fatal`` if it is unknown which frames a problem affects.
    """

    path: Path
    frames_dir: Path | None = None
    problems: list[Problem | str] = field(default_factory=list)
    bad: set[Path] = field(default_factory=set)
    loose: int = 0
    fatal: bool = False
    current: Path | None = field(default=None, repr=False)

    @property
    def root(self) -> Path:
        """The folder that contains the source."""
        return self.path if self.path.is_dir() else self.path.parent

    @cached_property
    def frames(self) -> list[Path]:
        """The image files, sorted by path; links that point outside become problems."""
        root = self.frames_dir or self.root
        return [path for path in self._listed(root) if _is_image(path.relative_to(root))]

    def labels(self, *suffixes: str) -> list[Path]:
        """Returns the label files with one of ``suffixes``, sorted by path."""
        if self.path.is_file():
            return [self.path]
        other = (artifacts.RECORD, splits.NAME)
        return [path for path in self._listed(self.root) if path.suffix.lower() in suffixes and path.name not in other]

    def frame(self, name: object, problem: Problem) -> Path:
        """Returns the frame named ``name``, with or without suffix; ``problem`` holds the name's position.

        Raises:
            RefusedError: The name points outside its folder.
            InputDataError: No frame has the name, or several do.
        """
        relative = names.relative(name, problem)
        found = self._named.get(relative.name) or ([] if relative.suffix else self._stems.get(relative.name, []))
        exact = [path for path in found if path.as_posix().endswith(f"/{relative.as_posix()}")] or found
        near = [path for path in exact if path.parent == Path(problem.path).parent] or exact
        if len(near) == 1:
            return near[0]
        what = "no such frame" if not near else f"{len(near)} frames with this name"
        cure = f"the image {relative.name} below {self.frames_dir or self.root}"
        raise InputDataError(
            Problem(problem.path, what, problem.line, relative.as_posix(), cure, pointer=problem.pointer)
        )

    def frame_of_label(self, label: Path) -> Path | None:
        """Returns the only frame with the stem of ``label``, preferably in its folder or in ``images/…``."""
        found = self._stems.get(label.stem, [])
        near = [path for path in found if _counterpart(path) == _counterpart(label)] or found
        return near[0] if len(near) == 1 else None

    def size(self, frame: Path) -> Size:
        """Returns (height, width) in pixels from the file's header.

        Raises:
            InputDataError: The file is not a usable image.
        """
        self.current = frame
        try:
            with frame.open("rb") as file:
                header = images.header(file.read(images.MAX_BYTES + 1))
        except OSError as error:
            raise InputDataError(Problem(frame, f"cannot be read: {error.strerror}")) from error
        except ValueError as error:
            raise InputDataError(Problem(frame, str(error), expected="a complete JPEG, PNG or BMP")) from error
        return header.height, header.width

    def split(self, path: Path) -> str | None:
        """Returns the split that a folder in ``path`` names, the innermost first, or None."""
        roots = [root for root in (self.frames_dir, self.root) if root and path.is_relative_to(root)]
        parts = path.relative_to(roots[0]).parts[:-1] if roots else ()
        return next((split for part in reversed(parts) if (split := split_in_name(Path(part)))), None)

    @contextmanager
    def collect_problems(self, path: Path, line: int | None = None, pointer: str = "") -> Iterator[None]:
        """Catches an error in the block, adds it to ``problems`` with its position and marks the frame as bad.

        The frame is the last one passed to ``size`` in the block, else the one with the stem of ``path``.
        """
        self.current = None
        with self.collect_object_problems(path, line, pointer):
            yield

    @contextmanager
    def collect_object_problems(self, path: Path, line: int | None = None, pointer: str = "") -> Iterator[None]:
        """Does the same for one object of the current frame; the whole frame becomes bad."""
        try:
            yield
        except ShapeError as error:
            self.reject(path, error.at(path, line, pointer))
        except InputDataError as error:
            self.reject(path, *error.problems)

    def reject(self, path: Path, *problems: Problem | str) -> None:
        """Adds problems and marks their frame as bad, or sets ``fatal`` if the frame is unknown."""
        self.problems.extend(problems)
        frame = self.current or self.frame_of_label(path.with_name(path.name.replace("_mask.", ".")))
        if frame:
            self.bad.add(frame)
        else:
            self.fatal = True

    def add_orphan(self, problem: Problem) -> None:
        """Adds a problem that belongs to no frame."""
        self.problems.append(problem)
        self.loose += 1

    @cached_property
    def _named(self) -> dict[str, list[Path]]:
        return _grouped(self.frames, lambda path: path.name)

    @cached_property
    def _stems(self) -> dict[str, list[Path]]:
        return _grouped(self.frames, lambda path: path.stem)

    def _listed(self, folder: Path) -> Iterator[Path]:
        for path in sorted(folder.rglob("*")):
            if "__MACOSX" in path.relative_to(folder).parts:
                continue
            if path.is_symlink() and not path.is_dir() and not names.contained(path, folder):
                self.add_orphan(Problem(path, names.BAD_LINK, expected="the file itself"))
            elif path.is_file():
                yield path


def split_in_name(path: Path) -> str | None:
    """Returns the split that a folder or label file names, such as ``val2017`` or ``instances_val.json``."""
    words = re.split(r"[^a-z]+", path.stem.lower())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), None)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in images.SUFFIXES and not path.stem.endswith("_mask") and "masks" not in path.parts


def _grouped(paths: list[Path], key: Callable[[Path], str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        found[key(path)].append(path)
    return found


def _counterpart(path: Path) -> tuple[str, ...]:
    return tuple("*" if part in ("images", "labels", "annotations", "masks") else part for part in path.parts[:-1])


@contextmanager
def opened(path: Path, frames_dir: Path | None = None) -> Iterator[Source]:
    """Yields a folder, label file or ZIP file as a source; a ZIP is unpacked to a temporary folder.

    Raises:
        RefusedError: ZIP members point outside, are links, encrypted or duplicate, or are too many or too large.
        InputDataError: ``path`` does not exist, or cannot be unpacked.
    """
    if not path.exists():
        raise InputDataError(Problem(path, "does not exist", expected="a folder, a label file or a ZIP file"))
    if path.suffix.lower() != ".zip":
        yield Source(path, frames_dir)
        return
    with TemporaryDirectory(prefix="pipe-seg-") as folder:
        _unpack(path, Path(folder))
        yield Source(Path(folder), frames_dir)


def _unpack(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(path, members)
            archive.extractall(folder, [member for member in members if not member.is_dir()])
    except (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, EOFError, ValueError) as error:
        raise InputDataError(Problem(path, f"cannot be unpacked: {error}")) from error


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MAX_MEMBERS:
        raise RefusedError(Problem(path, "too many members", got=len(members), expected=f"at most {MAX_MEMBERS}"))
    if sum(member.file_size for member in members) > MAX_UNPACKED_BYTES:
        raise RefusedError(Problem(path, "unpacked size is too large", expected=f"at most {MAX_UNPACKED_BYTES} bytes"))
    seen: set[str] = set()
    for member in members:
        name = str(PurePosixPath(names.relative(member.filename.rstrip("/"), Problem(path, ""))))
        if stat.S_ISLNK(member.external_attr >> 16):
            raise RefusedError(Problem(path, "link in a ZIP file", got=name))
        if member.flag_bits & 1:
            raise RefusedError(Problem(path, "encrypted member", got=name, expected="a ZIP file without password"))
        if member.file_size > 1_000_000 and member.file_size > MAX_RATIO * max(member.compress_size, 1):
            raise RefusedError(Problem(path, "member compressed over 100 times", got=name))
        if name in seen:
            raise RefusedError(Problem(path, "duplicate member", got=name))
        seen.add(name)
