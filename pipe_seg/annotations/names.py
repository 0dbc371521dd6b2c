"""Checks file names in label files: a name must not point outside its folder."""

import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from pipe_seg.errors import InputDataError, Problem, RefusedError

BAD_LINK = "link points outside its folder or to nothing"
OUTWARD = re.compile(r"(^|/)\.\.(/|$)|^/|^~|^[A-Za-z][A-Za-z0-9+.-]*:|\\|[\x00-\x1f\x7f-\x9f]")


def relative(text: object, problem: Problem) -> PurePosixPath:
    """Returns a frame's name as a relative path; ``problem`` holds the position of the name.

    Raises:
        RefusedError: The name is absolute, has ``..``, a drive or a URL scheme, or hides one of them by encoding.
        InputDataError: The value is not a file name.
    """
    if not isinstance(text, str) or not text.strip() or len(text.encode("utf-8", "surrogatepass")) > 1024:
        raise InputDataError(_at(problem, "not a file name", text, "a frame's file name"))
    plain = unquote(unquote(text))
    normalised = plain.translate({0x2024: ".", 0xFF0E: ".", 0x2025: "..", 0xFF0F: "/", 0x2044: "/", 0x2215: "/"})
    if OUTWARD.search(text) or OUTWARD.search(normalised):
        raise RefusedError(
            _at(problem, "name points outside its folder", text, "the name of a frame beside the label file")
        )
    if text != text.strip() or not PurePosixPath(text).name or any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        raise InputDataError(_at(problem, "not a file name", text, "a frame's file name"))
    return PurePosixPath(text)


def _at(problem: Problem, what: str, got: object, expected: str) -> Problem:
    return Problem(problem.path, what, problem.line, repr(got), expected, pointer=problem.pointer)


def contained(path: Path, root: Path) -> bool:
    """Returns whether ``path``, with links resolved, is a file inside ``root``."""
    try:
        return path.resolve(strict=True).is_relative_to(root.resolve()) and path.is_file()
    except (OSError, RuntimeError):
        return False
