"""What can go wrong, as the person at the terminal sees it: one line a problem and an exit code."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

SHOWN = 20
PROGRAM_VARIABLE = "PIPE_SEG_PROGRAM"


def program() -> str:
    """Returns the program as it was started: ``pipe-seg``, ``python cli.py`` or ``python -m pipe_seg``."""
    started = "/".join(Path(sys.argv[0]).parts[-2:])
    module = "python -m pipe_seg" if started == "pipe_seg/__main__.py" else "python cli.py"
    return os.environ.get(PROGRAM_VARIABLE) or ("pipe-seg" if started.endswith("pipe-seg") else module)


def invocation(*parts: object) -> str:
    """Returns a command of this program that works when pasted: paths with blanks are quoted."""
    return f"{program()} {shlex.join(str(part) for part in parts)}"


@dataclass(frozen=True)
class Problem:
    """One fault in one place.

    ``path``, ``line`` and ``column`` (or ``pointer``, into JSON) are where, ``what`` is what is wrong,
    ``got`` is the value met and ``expected`` the rule or the cure.
    """

    path: str | PathLike[str]
    what: str
    line: int | None = None
    got: object = None
    expected: str = ""
    column: int | None = None
    pointer: str = ""

    @property
    def where(self) -> str:
        """``PATH:LINE:COLUMN`` or ``PATH#/json/pointer``, as far as known; printable on any terminal."""
        path = str(self.path)
        place = f"{path if path.isprintable() else repr(path)[1:-1]}{f'#{self.pointer}' if self.pointer else ''}"
        return place + "".join(f":{number}" for number in (self.line, self.column) if number)

    def __str__(self) -> str:
        """Returns ``PATH:LINE: what (got …); expected …``."""
        text = f"{self.where}: {self.what}"
        if self.got is not None:
            text += f" (got {_short(self.got)})"
        return f"{text}; expected {self.expected}" if self.expected else text


class PipeSegError(Exception):
    """Anything a person can put right. ``exit_code`` is what the command line returns."""

    exit_code = 1

    def __init__(self, *problems: Problem | str) -> None:
        """Take the problems, in the order they are to be read."""
        self.problems: Sequence[Problem | str] = problems
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """Returns a line for each problem, at most ``SHOWN``, then how many more there are."""
        lines = [str(problem) for problem in self.problems[:SHOWN]]
        hidden = len(self.problems) - SHOWN
        return [*lines, f"… and {hidden} more"] if hidden > 0 else lines


class ConfigError(PipeSegError):
    """A wrong command line or configuration."""

    exit_code = 2


class InputDataError(PipeSegError):
    """Images or labels that cannot be used as they are."""

    exit_code = 3


class MachineError(PipeSegError):
    """Disk, memory, permission, network, a package that is not installed."""

    exit_code = 4


class ConflictError(PipeSegError):
    """Somebody else holds, or already made, what was to be written."""

    exit_code = 5


class RefusedError(PipeSegError):
    """Refused: not blessed, not intact, or under the required score."""

    exit_code = 6


class DivergedError(PipeSegError):
    """Training ran into numbers that are not finite."""

    exit_code = 7


@dataclass(frozen=True)
class Tolerance:
    """How many frames may be left out: with ``skip``, up to ``most`` (a number, or a share as ``1%``)."""

    skip: bool = False
    most: str = "0"

    def allows(self, lost: int, total: int) -> bool:
        """Returns whether ``lost`` of ``total`` frames may be left out."""
        most = float(self.most[:-1]) / 100 * total if self.most.endswith("%") else float(self.most)
        return lost == 0 or (self.skip and lost <= most)

    def judge(self, left_out: Mapping[str, Sequence[str]], total: int) -> None:
        """Let the frames in ``left_out`` (name: what is wrong) pass, or not.

        Raises:
            InputDataError: all that is wrong, if that is too much.
        """
        if self.allows(len(left_out), total):
            return
        told = [problem for problems in left_out.values() for problem in problems]
        if self.skip:
            told.insert(0, f"{len(left_out)} of {total} frames cannot be used, more than {self.most}")
        raise InputDataError(*told)


def _short(value: object) -> str:
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
