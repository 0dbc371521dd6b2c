"""What the transform step gives the trainer: batches, and what is in them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


class Batches(Protocol):
    """Gives batches as ``tf.data``."""

    def __call__(self, epoch: int, step: int, *, part: tuple[int, int] = ..., batch_size: int = ...) -> Any:
        """Give the batches from ``step`` of ``epoch`` on, both from 0, epoch after epoch without end.

        ``part`` (i, n) is every n-th example from the i-th on; ``batch_size`` how many of them make a batch.
        """


@dataclass(frozen=True)
class TransformedExamples:
    """Training batches, ``steps`` full ones an epoch; ``file_names(epoch, step)`` says what is in one."""

    steps: int
    batch_size: int
    batches: Batches
    file_names: Callable[[int, int], list[str]]
