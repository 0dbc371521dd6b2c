"""What one training is made of: the datasets it learns from and the contours that it is scored on."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipe_seg.artifacts import Dataset, Model
from pipe_seg.schema import JOINT


def image_kind(seen: Dataset | Model) -> str:
    """Returns what a dataset's images, or those a model learnt from, show; frames if not recorded."""
    return "whole frames" if seen.crop_margin is None else "boxes cut out of their frames"


@dataclass(frozen=True)
class TrainingData:
    """What a training learns from, and the contours that choose its best epoch.

    Attributes:
        name: ``pbs``, ``ps`` or ``pbs+ps``.
        datasets: The datasets by their own names; ``ps`` is there to score on even where ``pbs`` alone is learnt.
    """

    name: str
    datasets: Mapping[str, Dataset]

    @property
    def full_name(self) -> str:
        """``pbs+ps/default``."""
        return f"{self.name}/{self.contours.name.rpartition('/')[2]}"

    @property
    def contours(self) -> Dataset:
        """PS, or PBS where there is nothing better."""
        return self.datasets.get("ps") or self.datasets["pbs"]

    @property
    def mixes_bare_boxes(self) -> bool:
        """Whether contours are mixed with boxes of which none is refined; False where they were not counted."""
        boxes = self.datasets["pbs"].card.get("splits", {}).get("train", {}) if self.name == JOINT else {}
        return boxes.get("refined_boxes") == 0

    @property
    def key(self) -> str:
        """One sha256 over the keys of all datasets."""
        keys = [str(dataset.key) for dataset in self.datasets.values()]
        return keys[0] if len(keys) == 1 else hashlib.sha256("\n".join(keys).encode()).hexdigest()

    @property
    def splits(self) -> dict[str, Any]:
        """The splits in each dataset's card."""
        return {name: dataset.card.get("splits", {}) for name, dataset in self.datasets.items()}
