"""What a person sees while it trains: a bar on a terminal, one line an epoch in a log."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


@dataclass
class Reporter:
    """Counts images and shows progress on stderr."""

    epochs: int
    steps: int
    console: Console
    bar: Progress | None
    task: TaskID | None
    rate: float = 0.0
    done_steps: int = 0
    left: int = 0
    started: float = field(default_factory=time.monotonic)
    epoch_images: int = 0
    epoch_started: float = field(default_factory=time.monotonic)

    def begin(self, epoch: int, step: int) -> None:
        """Take up at step ``step`` of ``epoch``, both from 0, and start the clocks."""
        done = epoch * self.steps + step
        self.done_steps, self.left = 0, self.epochs * self.steps - done
        self.started = self.epoch_started = time.monotonic()
        self.epoch_images = 0
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=done)
        if done:
            self.note(f"going on from epoch {epoch + 1}, step {step}")

    def step(self, steps: int, images: int, scores: Mapping[str, float]) -> None:
        """Note ``steps`` more steps of ``images`` images."""
        self.done_steps += steps
        self.epoch_images += images
        self.rate = self.epoch_images / max(time.monotonic() - self.epoch_started, 1e-9)
        if self.bar and self.task is not None:
            note = f"{_summary(scores)}  {self.rate:.0f} images/s"
            self.bar.update(self.task, advance=steps, note=note)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hides the bar while a person answers a prompt."""
        if self.bar:
            self.bar.stop()
        yield
        if self.bar:
            self.bar.start()

    def note(self, text: str) -> None:
        """Write a line."""
        self.console.print(text, highlight=False, markup=False)

    def warn(self, text: str) -> None:
        """Write a line that a log can be searched for."""
        self.note(f"warning: {text}")

    def epoch(
        self, number: int, train: Mapping[str, float], validation: Mapping[str, float | None], *, best: bool
    ) -> None:
        """Write the line of an epoch and start the clock of the next."""
        spent = time.monotonic() - self.started
        left = spent / max(self.done_steps, 1) * (self.left - self.done_steps)
        mark = "  best so far" if best else ""
        self.note(
            f"epoch {number}/{self.epochs}  {_summary(train)}  │ validation "
            f"iou {_shown(validation['iou'])}  dice {_shown(validation['dice'])}  │ {self.rate:.0f} images/s  "
            f"ETA {int(left // 60)}:{int(left % 60):02d}{mark}"
        )
        self.epoch_started, self.epoch_images = time.monotonic(), 0


def _summary(scores: Mapping[str, float]) -> str:
    return f"loss {scores['loss']:.4f}  iou {_shown(scores.get('iou'))}" if scores else "no finite step"


def _shown(score: float | None) -> str:
    return "–" if score is None else f"{score:.4f}"


@contextmanager
def reporting(epochs: int, steps: int) -> Iterator[Reporter]:
    """Show progress on stderr while the block runs; no bar when it is not a terminal."""
    console = Console(stderr=True, soft_wrap=True)
    if not sys.stderr.isatty():
        yield Reporter(epochs, steps, console, None, None)
        return
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield Reporter(epochs, steps, console, bar, bar.add_task("training", total=epochs * steps, note=""))
