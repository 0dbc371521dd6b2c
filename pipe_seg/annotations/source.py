"""A folder (or ZIP file) somebody gives us: its frames found by name, its label files, and nothing outside."""

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
    """What a label file says about one frame: ``frame`` is its image; ``split`` only if the source has splits."""

    frame: Path
    annotation: Annotation
    origin: Path
    split: str | None = None


@dataclass
class Source:
    """Frames and label files below ``root``, or one label file with its frames beside it or in ``frames_dir``.

    What goes wrong while it is read stands in ``problems``: ``bad`` are the frames it makes unusable, ``loose``
    counts what belongs to no frame, and ``fatal`` says that nobody knows which frames it belongs to.
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
        """The folder that holds it all."""
        return self.path if self.path.is_dir() else self.path.parent

    @cached_property
    def frames(self) -> list[Path]:
        """The image files, sorted by path; links that lead outside are problems."""
        root = self.frames_dir or self.root
        return [path for path in self._listed(root) if _is_image(path.relative_to(root))]

    def labels(self, *suffixes: str) -> list[Path]:
        """Give the label files with one of ``suffixes``, sorted by path."""
        if self.path.is_file():
            return [self.path]
        own = (artifacts.RECORD, splits.NAME)
        return [path for path in self._listed(self.root) if path.suffix.lower() in suffixes and path.name not in own]

    def frame(self, name: object, problem: Problem) -> Path:
        """Give the frame that a label file calls ``name``, its suffix left out or not; ``problem`` says where.

        Raises:
            RefusedError: the name points outside.
            InputDataError: no such frame, or more than one.
        """
        wanted = names.relative(name, problem)
        found = self._named.get(wanted.name) or ([] if wanted.suffix else self._stems.get(wanted.name, []))
        exact = [path for path in found if path.as_posix().endswith(f"/{wanted.as_posix()}")] or found
        near = [path for path in exact if path.parent == Path(problem.path).parent] or exact
        if len(near) == 1:
            return near[0]
        what = "no such frame" if not near else f"{len(near)} frames of this name"
        cure = f"the image {wanted.name} below {self.frames_dir or self.root}"
        raise InputDataError(
            Problem(problem.path, what, problem.line, wanted.as_posix(), cure, pointer=problem.pointer)
        )

    def beside(self, label: Path) -> Path | None:
        """Give the frame with the stem of ``label``: in its folder, or in ``images/…`` where it is ``labels/…``."""
        found = self._stems.get(label.stem, [])
        near = [path for path in found if _counterpart(path) == _counterpart(label)] or found
        return near[0] if len(near) == 1 else None

    def size(self, frame: Path) -> Size:
        """Give height and width from the file's header.

        Raises:
            InputDataError: not an image that can be used.
        """
        self.current = frame
        try:
            with frame.open("rb") as file:
                found = images.header(file.read(images.MAX_BYTES + 1))
        except OSError as error:
            raise InputDataError(Problem(frame, f"cannot be read: {error.strerror}")) from error
        except ValueError as error:
            raise InputDataError(Problem(frame, str(error), expected="a whole JPEG, PNG or BMP")) from error
        return found.height, found.width

    def split(self, path: Path) -> str | None:
        """Give the split that a folder on the way to ``path`` names, the nearest first."""
        roots = [root for root in (self.frames_dir, self.root) if root and path.is_relative_to(root)]
        parts = path.relative_to(roots[0]).parts[:-1] if roots else ()
        return next((split for part in reversed(parts) if (split := split_in_name(Path(part)))), None)

    @contextmanager
    def noting(self, path: Path, line: int | None = None, pointer: str = "") -> Iterator[None]:
        """Keep a fault met in the block for later, with its place, and go on after the block.

        The frame whose size was asked for in the block, else the one that is called like ``path``, is bad.
        """
        self.current = None
        with self.noting_object(path, line, pointer):
            yield

    @contextmanager
    def noting_object(self, path: Path, line: int | None = None, pointer: str = "") -> Iterator[None]:
        """Do the same for one object of the frame that is being read: the whole frame is bad."""
        try:
            yield
        except ShapeError as error:
            self.spoil(path, error.at(path, line, pointer))
        except InputDataError as error:
            self.spoil(path, *error.problems)

    def spoil(self, path: Path, *problems: Problem | str) -> None:
        """Keep problems and the frame they make unusable."""
        self.problems.extend(problems)
        frame = self.current or self.beside(path.with_name(path.name.replace("_mask.", ".")))
        if frame:
            self.bad.add(frame)
        else:
            self.fatal = True

    def orphan(self, problem: Problem) -> None:
        """Keep a problem that belongs to no frame."""
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
                self.orphan(Problem(path, "link that leads outside or nowhere", expected="the file itself"))
            elif path.is_file():
                yield path


def split_in_name(path: Path) -> str | None:
    """Give the split that a folder or a file for many frames names: ``val2017``, ``instances_val.json``."""
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
    """Give a folder, a label file or a ZIP file as a source; the ZIP is unpacked aside and removed after.

    Raises:
        RefusedError: a ZIP whose members point outside, are links, are encrypted, or unpack to far too much.
        InputDataError: there is nothing at ``path``, or it is no ZIP file.
    """
    if not path.exists():
        raise InputDataError(Problem(path, "not there", expected="a folder, a label file or a ZIP file"))
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
        raise RefusedError(Problem(path, "unpacks to too much", expected=f"at most {MAX_UNPACKED_BYTES} bytes"))
    seen: set[str] = set()
    for member in members:
        name = str(PurePosixPath(names.relative(member.filename.rstrip("/"), Problem(path, ""))))
        if stat.S_ISLNK(member.external_attr >> 16):
            raise RefusedError(Problem(path, "link in a ZIP file", got=name))
        if member.flag_bits & 1:
            raise RefusedError(Problem(path, "encrypted member", got=name, expected="a ZIP file without password"))
        if member.file_size > 1_000_000 and member.file_size > MAX_RATIO * max(member.compress_size, 1):
            raise RefusedError(Problem(path, "member that unpacks over 100 times", got=name))
        if name in seen:
            raise RefusedError(Problem(path, "member twice", got=name))
        seen.add(name)
