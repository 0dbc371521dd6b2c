"""What one training is made of: the built datasets it learns from and the contours that judge it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipe_seg.artifacts import Dataset, Model
from pipe_seg.errors import ConfigError, Problem

WHOLE, CROPPED = "whole frames", "boxes cut out of their frames"


@dataclass(frozen=True)
class TrainingData:
    """What a training learns from, and the contours that choose its best epoch.

    ``name``: ``pbs``, ``ps`` or ``pbs+ps``; ``datasets``: the built ones by their own names.
    """

    name: str
    datasets: Mapping[str, Dataset]

    @property
    def full_name(self) -> str:
        """``pbs+ps/default``."""
        return f"{self.name}/{self.contours.path.parent.name}"

    @property
    def contours(self) -> Dataset:
        """PS, or PBS where there is nothing better."""
        return self.datasets.get("ps") or self.datasets["pbs"]

    @property
    def look(self) -> str:
        """What an image shows."""
        return WHOLE if self.contours.crop_margin is None else CROPPED

    @property
    def other_look(self) -> str:
        """What it does not."""
        return CROPPED if self.look == WHOLE else WHOLE

    def looks_as_to(self, model: Model) -> bool:
        """Say whether ``model`` learnt from such images; of whom nobody knows, learnt from whole frames."""
        return (model.crop_margin is None) == (self.contours.crop_margin is None)

    def check_teachers(self, teachers: Sequence[Model]) -> None:
        """Make sure that teachers know such images.

        Raises:
            ConfigError: one learnt from whole frames and these are boxes cut out of theirs, or the other way round.
        """
        told = f"this teacher learnt from {self.other_look}"
        wrong = [Problem(t.path, told, expected=f"one of {self.look}") for t in teachers if not self.looks_as_to(t)]
        if wrong:
            raise ConfigError(*wrong)

    @property
    def digest(self) -> str | None:
        """One sha256 over all of them; None where nobody wrote one down."""
        digests = [dataset.digest for dataset in self.datasets.values()]
        if len(digests) == 1 or None in digests:
            return None if None in digests else digests[0]
        return hashlib.sha256("\n".join(map(str, digests)).encode()).hexdigest()

    @property
    def splits(self) -> dict[str, Any]:
        """What the data card of each says of its splits."""
        return {name: dataset.card.get("splits", {}) for name, dataset in self.datasets.items()}
