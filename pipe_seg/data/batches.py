"""The interface between transform and trainer: batches of training examples."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

VERSION = 1  # increment when the same frames yield different batches


class Batches(Protocol):
    """A factory of ``tf.data`` batches."""

    def __call__(self, epoch: int, step: int, *, part: tuple[int, int] = ..., batch_size: int = ...) -> Any:
        """Returns endless batches from ``step`` of ``epoch`` on, both counted from 0, epoch after epoch.

        ``part`` (i, n) is every n-th example from the i-th on; ``batch_size`` the number of examples per batch.
        """


@dataclass(frozen=True)
class TransformedExamples:
    """Training batches, ``steps`` full ones per epoch; ``file_names(epoch, step)`` lists a batch."""

    steps: int
    batch_size: int
    batches: Batches
    file_names: Callable[[int, int], list[str]]
