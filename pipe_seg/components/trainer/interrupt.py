"""Ctrl-C and SIGTERM: finish the step, then decide; a second Ctrl-C means now."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import FrameType

import click


class Interrupted(Exception):
    """Training was told to end; ``exit_code`` is the shell's for the signal."""

    def __init__(self, exit_code: int) -> None:
        """Keep the exit code."""
        super().__init__(f"interrupted ({exit_code})")
        self.exit_code = exit_code


@dataclass
class Watch:
    """What has been asked for so far."""

    signal_number: int = 0

    def __call__(self, number: int, _: FrameType | None) -> None:
        """Note the signal; the second one ends the program."""
        if self.signal_number:
            raise KeyboardInterrupt
        self.signal_number = number
        print("\nfinishing this step … (Ctrl-C again: stop now)", file=sys.stderr)

    def stop(self, paused: Callable[[], AbstractContextManager[None]]) -> bool:
        """Say, between steps, whether training ends here with what it has; ask a person if there is one.

        ``paused`` gives a block in which the terminal is free for the question.

        Raises:
            Interrupted: nobody is there to ask, or the answer was to abort.
        """
        if not self.signal_number:
            return False
        number, self.signal_number = self.signal_number, 0
        if number == signal.SIGTERM or not sys.stdin.isatty():
            raise Interrupted(128 + number)
        question = "(c)ontinue, (s)top and evaluate, (a)bort"
        with paused():
            choice = click.prompt(
                question, default="s", type=click.Choice(["c", "s", "a"]), show_choices=False, err=True
            )
        if choice == "a":
            raise KeyboardInterrupt
        return bool(choice == "s")


@contextmanager
def watching() -> Iterator[Watch]:
    """Listen for SIGINT and SIGTERM inside the block."""
    watch = Watch()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, watch) for number in numbers]
    try:
        yield watch
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
