"""YOLO boxes: a text file a frame, ``class x_centre y_centre width height`` a line, all 0…1."""

import logging
from pathlib import Path

from pipe_seg.annotations.numbers import decimal
from pipe_seg.errors import InputDataError, Problem
from pipe_seg.schema import CLASS_NAMES, Box

TOLERANCE = 1e-3
MAX_OBJECTS = 10_000

log = logging.getLogger(__name__)


def read(path: Path) -> tuple[Box, ...]:
    """Give the boxes of one file; an empty file is a frame without defects.

    A box without area marks no pixel: it is left out and logged as a warning.

    Raises:
        InputDataError: one problem for each line that cannot be used.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputDataError(Problem(path, f"cannot be read as text: {error}")) from error
    if len(lines) > MAX_OBJECTS:
        raise InputDataError(Problem(path, "too many lines", got=len(lines), expected=f"at most {MAX_OBJECTS}"))
    parsed = [_parse(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    problems = [item for item in parsed if isinstance(item, Problem)]
    if problems:
        raise InputDataError(*problems)
    return tuple(item for item in parsed if isinstance(item, Box))


def _parse(path: Path, number: int, line: str) -> Box | Problem | None:
    values = [decimal(text) for text in line.split()]
    if len(values) != 5 or None in values:
        return Problem(path, "not a YOLO box", number, line.strip(), "class x_centre y_centre width height")
    label, x, y, width, height = (value or 0.0 for value in values)
    if label not in range(len(CLASS_NAMES)):
        names = f"0…{len(CLASS_NAMES) - 1} ({', '.join(CLASS_NAMES)})"
        return Problem(path, "unknown class", number, line.split()[0], names)
    if width < 0 or height < 0:
        return Problem(path, "box of negative size", number, line.strip(), "width and height of 0…1")
    if width == 0 or height == 0:
        log.warning("%s", Problem(path, "box without area left out", number, line.strip()))
        return None
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if min(corners) < -TOLERANCE or max(corners) > 1 + TOLERANCE:
        return Problem(path, "box outside the frame", number, line.strip(), "corners within 0…1; cut it at the border")
    x_min, y_min, x_max, y_max = (min(max(corner, 0.0), 1.0) for corner in corners)
    return Box(x_min, y_min, x_max, y_max, int(label))
