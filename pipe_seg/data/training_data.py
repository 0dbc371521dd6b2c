"""What one training is made of: the built datasets it learns from and the contours that judge it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipe_seg.artifacts import Dataset, Model
from pipe_seg.schema import JOINT


def look(seen: Dataset | Model) -> str:
    """Give what the images of a dataset show, or those that a model learnt from; frames, where nobody knows."""
    return "whole frames" if seen.crop_margin is None else "boxes cut out of their frames"


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
    def mixes_bare_boxes(self) -> bool:
        """Whether contours are learnt beside boxes of which none is refined; False where nobody counted."""
        boxes = self.datasets["pbs"].card.get("splits", {}).get("train", {}) if self.name == JOINT else {}
        return boxes.get("refined_boxes") == 0

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
