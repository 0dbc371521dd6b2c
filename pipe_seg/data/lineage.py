"""Frames that a model knows: those it learnt from, and those that chose its epoch, threshold or minimum component size.

Scores on the first say nothing about other frames, scores on the second flatter. A frame is known by the first eight
bytes of its file's sha256: the same scene taken twice, or cut out of its frame, is not recognised.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipe_seg.data import examples
from pipe_seg.data.training_data import TrainingData
from pipe_seg.errors import MachineError, Problem

LEARNT, CHOSE = "learnt_frames.npy", "choosing_frames.npy"


@dataclass(frozen=True)
class LearntFrames:
    """What ``fingerprints`` gives of the frames that were ``learnt`` from and of those that ``chose``."""

    learnt: np.ndarray
    chose: np.ndarray

    @classmethod
    def of(cls, folder: Path) -> "LearntFrames":
        """Give those of a trained model's folder or a SavedModel's ``assets.extra``; none where nobody wrote them down.

        Raises:
            MachineError: they cannot be read.
        """
        return cls(_read(folder / LEARNT), _read(folder / CHOSE))

    def write(self, folder: Path) -> None:
        """Write them into ``folder``."""
        np.save(folder / LEARNT, self.learnt)
        np.save(folder / CHOSE, self.chose)


def none() -> np.ndarray:
    """Give no frames."""
    return np.zeros(0, np.uint64)


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        return none()
    try:
        found: np.ndarray = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise MachineError(Problem(path, f"cannot be read: {error}", expected="the model exported again")) from error
    return found


def learnt(data: TrainingData, before: Iterable[Path]) -> LearntFrames:
    """Give what a training learns from, and what the models in the folders ``before`` it did, which it learns from."""
    own = [fingerprints(data.datasets[name].path, "train") for name in data.name.split("+")]
    theirs = [LearntFrames.of(folder).learnt for folder in before]
    return LearntFrames(np.unique(np.concatenate([*own, *theirs])), none())


def learnt_before(data: TrainingData, before: Mapping[Path, Path]) -> Iterator[tuple[Path, int]]:
    """Give which models learnt from frames that will validate this training, and from how many.

    Args:
        data: what the training is made of.
        before: for each model that it learns from, the folder that ``LearntFrames.of`` reads.
    """
    validation = fingerprints(data.contours.path, "validation") if before else none()
    for path, folder in before.items():
        number = shared(LearntFrames.of(folder).learnt, validation)
        if number:
            yield path, number


def fingerprints(dataset_dir: Path, split: str) -> np.ndarray:
    """Give those of the frames of a built split: (different frames,) uint64, sorted."""
    digests = (hashlib.sha256(image).digest()[:8] for image in examples.encoded_images(dataset_dir, split))
    return np.unique(np.frombuffer(b"".join(digests), "<u8"))


def shared(known: np.ndarray, frames: np.ndarray) -> int:
    """Give how many of ``frames`` are among ``known``."""
    return int(np.isin(frames, known).sum())
