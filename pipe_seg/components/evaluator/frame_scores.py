"""The counts of every scored frame at all thresholds, as a file beside the scores."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipe_seg.errors import MachineError, Problem
from pipe_seg.nn.scores import FrameScore

NAME = "frame_scores.npz"


def write(folder: Path, frames: Sequence[FrameScore]) -> None:
    """Writes the frames' scores into an evaluation's folder."""
    np.savez_compressed(
        folder / NAME,
        file_name=np.array([frame.file_name for frame in frames]),
        group_id=np.array([frame.group_id for frame in frames]),
        labels=np.array([",".join(map(str, frame.labels)) for frame in frames]),
        positives=np.stack([frame.positives for frame in frames]),
        negatives=np.stack([frame.negatives for frame in frames]),
    )


def read(folder: Path) -> list[FrameScore]:
    """Returns the frames' scores from an evaluation's folder.

    Raises:
        MachineError: They cannot be read.
    """
    path = folder / NAME
    try:
        with np.load(path) as file:
            columns = [file[name] for name in ("file_name", "group_id", "labels", "positives", "negatives")]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise MachineError(Problem(path, f"cannot be read: {error}", expected="a whole evaluation")) from error
    return [
        FrameScore(str(name), str(group), tuple(int(label) for label in str(labels).split(",") if label), *counts)
        for name, group, labels, *counts in zip(*columns, strict=True)
    ]
