"""The processes that train together, one of them the chief: what they have to agree on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from pipe_seg.errors import MachineError, Problem

LONGEST_TEXT = 4096
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class Workers:
    """All processes under one strategy; a process alone agrees with itself.

    Every worker has to call the same methods in the same order.
    """

    def __init__(self, strategy: Any) -> None:
        """Take the strategy that training runs under."""
        self._strategy = strategy
        several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        self.number = strategy.extended._num_workers if several else 1
        self.index = strategy.extended._id_in_cluster if several else 0

    @property
    def chief(self) -> bool:
        """Whether this process writes what all have made."""
        return self.index == 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """Raises our error where another worker is gone.

        Raises:
            MachineError: it is, and what the block was doing together cannot be finished.
        """
        try:
            yield
        except LOST as error:
            if self.number == 1:
                raise
            what = f"lost another of the {self.number} workers ({type(error).__name__})"
            cure = "the same command again on every worker; with --resume auto it goes on"
            raise MachineError(Problem(f"worker {self.index}", what, expected=cure)) from error

    def share(self, number: int) -> range:
        """Returns this worker's part of ``number`` things in a row; the chief's comes first."""
        bounds = np.linspace(0, number, self.number + 1).round().astype(int)
        return range(bounds[self.index], bounds[self.index + 1])

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Returns the sum over workers of ``values``, float64 and of one shape everywhere."""
        if self.number == 1:
            return values
        local = self._strategy.num_replicas_in_sync // self.number

        def of(context: Any) -> Any:
            first = context.replica_id_in_sync_group % local == 0
            return tf.constant(values if first else np.zeros_like(values), tf.float64)

        return np.asarray(self._total(self._strategy.experimental_distribute_values_from_function(of)))

    @tf.function(reduce_retracing=True)
    def _total(self, spread: Any) -> Any:
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, spread, axis=None)

    def text(self, text: str) -> str:
        """Returns the chief's ``text`` on every worker."""
        letters = np.zeros(LONGEST_TEXT)
        coded = text.encode() if self.chief else b""
        letters[: len(coded)] = list(coded)
        return bytes(self.sum(letters).astype(np.uint8)).rstrip(b"\0").decode()
