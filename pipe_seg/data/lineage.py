"""Which frames a model learnt from, and which chose its epoch, threshold or minimum component size.

Scores on the first do not generalise; those on the second are biased upwards. A frame is known by the first eight
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
    """The fingerprints of the frames that were ``learnt`` from and of those that ``chose``."""

    learnt: np.ndarray
    chose: np.ndarray

    @classmethod
    def of(cls, folder: Path) -> "LearntFrames":
        """Returns those in a trained model's folder or a SavedModel's ``assets.extra``; none if not recorded.

        Raises:
            MachineError: they cannot be read.
        """
        return cls(_read(folder / LEARNT), _read(folder / CHOSE))

    def write(self, folder: Path) -> None:
        """Write them into ``folder``."""
        np.save(folder / LEARNT, self.learnt)
        np.save(folder / CHOSE, self.chose)


def none() -> np.ndarray:
    """Returns no frames."""
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
    """Returns what a training learns from, and what the models in the folders ``before`` learnt from."""
    own = [fingerprints(data.datasets[name].path, "train") for name in data.name.split("+")]
    theirs = [LearntFrames.of(folder).learnt for folder in before]
    return LearntFrames(np.unique(np.concatenate([*own, *theirs])), none())


def learnt_before(data: TrainingData, before: Mapping[Path, Path]) -> Iterator[tuple[Path, int]]:
    """Yields the models that learnt from frames that will validate this training, and from how many.

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
    """Returns the fingerprints of a built split's frames: `(different frames,)` uint64, sorted."""
    digests = (hashlib.sha256(image).digest()[:8] for image in examples.encoded_images(dataset_dir, split))
    return np.unique(np.frombuffer(b"".join(digests), "<u8"))


def shared(learnt: np.ndarray, frames: np.ndarray) -> int:
    """Returns how many of ``frames`` are among ``learnt``."""
    return int(np.isin(frames, learnt).sum())
