"""Ctrl-C and SIGTERM: finish the step, then decide; a second signal ends it at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Literal

import click

NUMBERS = (signal.SIGINT, signal.SIGTERM)
GRACE_S = 9.0
SHOW_CURSOR = "\x1b[?25h"
Choice = Literal["continue", "leave", "stop"]


class Interrupted(Exception):
    """A signal ended training; ``exit_code`` is the shell's for the signal."""

    def __init__(self, exit_code: int) -> None:
        """Keep the exit code."""
        super().__init__(f"interrupted ({exit_code})")
        self.exit_code = exit_code


@dataclass
class Watch:
    """The signal received so far; ``pending`` from the signal until a person chooses to continue."""

    signal_number: int = 0
    pending: bool = False

    def __call__(self, number: int, _: FrameType | None) -> None:
        """Note the signal."""
        self.signal_number = number

    def choose(self, paused: Callable[[], AbstractContextManager[None]]) -> Choice:
        """Returns, between steps, how training goes on; prompts a person if there is one.

        ``paused`` opens a block in which the terminal is free for the question.

        Raises:
            KeyboardInterrupt: the answer was to abort.
        """
        if not self.signal_number:
            return "continue"
        if self.signal_number == signal.SIGTERM or not sys.stdin.isatty():
            return "leave"
        question = "(c)ontinue, save and (l)eave, (s)top and evaluate, (a)bort"
        with paused():
            answer = click.prompt(
                question, default="l", type=click.Choice(["c", "l", "s", "a"]), show_choices=False, err=True
            )
        if answer == "a":
            raise KeyboardInterrupt
        if answer == "c":
            self.signal_number, self.pending = 0, False
        choices: dict[str, Choice] = {"c": "continue", "l": "leave", "s": "stop"}
        return choices[answer]


@contextmanager
def watching() -> Iterator[Watch]:
    """Listen for SIGINT and SIGTERM inside the block.

    Python's own handlers wait for TensorFlow to come back from a call; a thread of ours does not. It ends the
    process at the second signal, and ``GRACE_S`` after a SIGTERM whatever is going on. What is on disk by then
    is whole.
    """
    watch = Watch()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = [signal.signal(number, watch) for number in NUMBERS]
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread = threading.Thread(target=_guard, args=(reader, watch), daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in zip(NUMBERS, before, strict=True):
            signal.signal(number, handler)
        os.close(writer)
        thread.join()
        os.close(reader)


def _guard(reader: int, watch: Watch) -> None:
    """Read the numbers of signals as they come, until the other end is closed."""
    timer: threading.Timer | None = None
    while received := os.read(reader, 1):
        number = received[0]
        if number not in NUMBERS:
            continue
        if watch.pending:
            _end_now(number)
        watch.pending = True
        with suppress(OSError):
            os.write(2, "\nfinishing this step … (again: stop now)\n".encode())
        if number == signal.SIGTERM:
            timer = threading.Timer(GRACE_S, _end_now, (number,))
            timer.daemon = True
            timer.start()
    if timer:
        timer.cancel()


def _end_now(number: int) -> None:
    if sys.stderr.isatty():
        with suppress(OSError):
            os.write(2, SHOW_CURSOR.encode())
    os._exit(128 + number)
