"""Names that label files give to frames: none of them ever leaves the folder it was found in."""

import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from pipe_seg.errors import InputDataError, Problem, RefusedError

OUTWARD = re.compile(r"(^|/)\.\.(/|$)|^/|^~|^[A-Za-z][A-Za-z0-9+.-]*:|\\|[\x00-\x1f\x7f-\x9f]")


def relative(text: object, problem: Problem) -> PurePosixPath:
    """Give a frame's name as a path inside its folder; ``problem`` says where it was met.

    Raises:
        RefusedError: it points elsewhere: absolute, upwards, a drive, an address, or hidden by encoding.
        InputDataError: it is no name.
    """
    if not isinstance(text, str) or not text.strip() or len(text.encode("utf-8", "surrogatepass")) > 1024:
        raise InputDataError(_told(problem, "not a file name", text, "the frame's name"))
    plain = unquote(unquote(text))
    seen = plain.translate({0x2024: ".", 0xFF0E: ".", 0x2025: "..", 0xFF0F: "/", 0x2044: "/", 0x2215: "/"})
    if OUTWARD.search(text) or OUTWARD.search(seen):
        raise RefusedError(
            _told(problem, "name points outside its folder", text, "the frame beside the label file, and its name")
        )
    if text != text.strip() or not PurePosixPath(text).name or any(0xD800 <= ord(sign) <= 0xDFFF for sign in text):
        raise InputDataError(_told(problem, "not a file name", text, "the frame's name"))
    return PurePosixPath(text)


def _told(problem: Problem, what: str, got: object, expected: str) -> Problem:
    return Problem(problem.path, what, problem.line, repr(got), expected, pointer=problem.pointer)


def contained(path: Path, root: Path) -> bool:
    """Say whether ``path``, links followed, is a file inside ``root``."""
    try:
        return path.resolve(strict=True).is_relative_to(root.resolve()) and path.is_file()
    except (OSError, RuntimeError):
        return False
