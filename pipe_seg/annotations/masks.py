"""Reads mask images with the values {0, 1} or {0, 255}, and ``.npy`` arrays."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipe_seg import images
from pipe_seg.annotations import documents
from pipe_seg.annotations.classes import Classes
from pipe_seg.annotations.source import LabelledFrame, Source
from pipe_seg.errors import InputDataError, Problem, RefusedError
from pipe_seg.schema import Annotation

SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg", ".npy")
RULE = "{0, 1} or {0, 255}"


def read(path: Path, threshold: int | None = None) -> np.ndarray:
    """Returns the mask as `(height, width)` uint8 {0, 1}.

    Three equal channels count as one. EXIF orientation is ignored, as for images. With ``threshold``, pixels at
    and above it are 1, and any values are allowed.

    Raises:
        InputDataError: The file is not an image, has a palette, colours or other values than {0, 1} or {0, 255}.
        RefusedError: An array file contains Python objects.
    """
    return _binary(path, _pixels(path), threshold)[0]


def read_source(source: Source, classes: Classes, threshold: int | None = None) -> Iterator[LabelledFrame]:
    """Yields the annotation of every mask ``<stem>_mask.png`` or ``<stem>.png`` in a folder ``masks``."""
    white: dict[int, Path] = {}
    for stem, paths in _masks_by_stem(source).items():
        path = paths[0]
        if len(paths) > 1:
            what = "two masks for one frame"
            source.add_orphan(Problem(path, what, got=paths[1].name, expected="one mask per frame"))
            continue
        frame = source.frame_of_label(path.with_name(stem + path.suffix))
        if frame is None:
            source.add_orphan(Problem(path, "mask without a frame", expected=f"an image {stem}.jpg"))
            continue
        with source.collect_problems(path):
            mask, level = _binary(path, _pixels(path), threshold)
            size = source.size(frame)
            if mask.shape != size:
                raise InputDataError(size_problem(path, mask.shape, size, frame.name))
            white.setdefault(level, path)
            yield LabelledFrame(frame, Annotation(mask=mask), path, source.split(frame))
    if threshold is None and {1, 255} <= white.keys():
        what = "masks of two kinds in one set"
        source.fatal = True
        source.problems.append(
            Problem(white[1], what, got=f"{{0, 1}} here, {{0, 255}} in {white[255].name}", expected="one of the two")
        )


def level(path: Path) -> int:
    """Returns the foreground value of a mask file: 1, 255, or 0 for an empty mask."""
    return _binary(path, _pixels(path), None)[1]


def size_problem(path: Path, shape: tuple[int, ...], size: tuple[int, int], frame: str) -> Problem:
    """Returns the problem of a mask whose size differs from its frame."""
    what = "mask size differs from its frame"
    return Problem(path, what, got=f"{shape[1]}x{shape[0]}", expected=f"{size[1]}x{size[0]} as {frame}")


def _masks_by_stem(source: Source) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    frames = set(source.frames)
    for path in source.labels(*SUFFIXES):
        if path not in frames:
            found[path.stem.removesuffix("_mask")].append(path)
    return dict(sorted(found.items()))


def _binary(path: Path, pixels: np.ndarray, threshold: int | None) -> tuple[np.ndarray, int]:
    """Returns the mask and its foreground value, 0 for an empty mask."""
    if pixels.ndim == 3:
        if np.ptp(pixels[..., :3], axis=-1).any():
            raise InputDataError(Problem(path, "mask in colour", expected="one channel, or three equal ones"))
        pixels = pixels[..., 0]
    if threshold is not None:
        return (pixels >= threshold).astype(np.uint8), 0
    values = np.unique(pixels).tolist()
    if not set(values) <= {0, 1} and not set(values) <= {0, 255}:
        expected = f"{RULE}, or --mask-threshold N"
        raise InputDataError(Problem(path, "not a mask", got=f"values {values[:6]}", expected=expected))
    return (pixels > 0).astype(np.uint8), int(max(values))


def _pixels(path: Path) -> np.ndarray:
    if path.suffix.lower() == ".npy":
        return _array(path)
    data = documents.read_bytes(path, images.MAX_BYTES)
    try:
        found = images.header(data, images.MASK_FORMATS)
        if found.mode in ("P", "PA"):
            expected = "one channel of 0 and 255; save it as greyscale"
            raise InputDataError(Problem(path, "mask with a palette: index and colour may differ", expected=expected))
        return images.decode(data, images.AS_STORED, images.MASK_FORMATS)
    except ValueError as error:
        raise InputDataError(Problem(path, str(error), expected="a whole PNG; copy it again")) from error


def _array(path: Path) -> np.ndarray:
    documents.read_bytes(path, images.MAX_BYTES)
    try:
        array = np.load(path, mmap_mode=None, allow_pickle=False)
    except ValueError as error:
        if "pickle" in str(error).lower() or "object" in str(error).lower():
            raise RefusedError(Problem(path, "array of Python objects", expected="an array of numbers")) from error
        raise InputDataError(Problem(path, f"cannot be read: {error}")) from error
    except (OSError, EOFError, MemoryError, SyntaxError) as error:
        raise InputDataError(Problem(path, f"cannot be read: {error}")) from error
    numbers = isinstance(array, np.ndarray) and array.dtype.kind in "buif"
    if not numbers or array.ndim != 2 or not 0 < min(array.shape) <= max(array.shape) <= images.MAX_SIDE_PX:
        raise InputDataError(Problem(path, "not a mask", expected="an array (height, width)"))
    return np.asarray(array)
