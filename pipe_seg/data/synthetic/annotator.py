"""A simulated annotator in a hurry: loose boxes, some missing, some merged, some with the wrong class."""

from collections.abc import Sequence

import numpy as np

from pipe_seg.data.synthetic.defects import Defect
from pipe_seg.schema import CLASS_NAMES, Box

CONFUSED = {"rupture": "deformation", "deformation": "rupture", "disconnect": "misalignment"}
CONFUSED |= {"misalignment": "disconnect"}
SIDE_MEAN, SIDE_DEVIATION = 0.02, 0.06


def draw(defects: Sequence[Defect], rng: np.random.Generator, height: int, width: int) -> tuple[Box, ...]:
    """Returns the boxes drawn for ``defects``; corners are normalised and inside the frame."""
    kept = [defect for index, defect in enumerate(defects) if index == 0 or rng.random() >= 0.1]
    tight_boxes = [(_tight(defect.mask), defect.label) for defect in kept]
    if len(tight_boxes) == 2 and rng.random() < 0.1:
        (first, label), (second, _) = tight_boxes
        tight_boxes = [(np.concatenate([np.minimum(first, second)[:2], np.maximum(first, second)[2:]]), label)]
    boxes = [_loose(corners, label, rng, height, width) for corners, label in tight_boxes]
    if boxes and rng.random() < 0.03:
        x, y = rng.uniform(0.05, 0.7, 2)
        boxes.append(Box(x, y, x + rng.uniform(0.1, 0.25), y + rng.uniform(0.1, 0.25), int(rng.integers(6))))
    return tuple(boxes)


def _tight(mask: np.ndarray) -> np.ndarray:
    """Returns (x_min, y_min, x_max, y_max) in px around the set pixels."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)


def _loose(corners: np.ndarray, label: int, rng: np.random.Generator, height: int, width: int) -> Box:
    x_min, y_min, x_max, y_max = corners / [width, height, width, height]
    shift = SIDE_MEAN + SIDE_DEVIATION * rng.standard_normal(4)
    name = CLASS_NAMES[label]
    if name == "deformation":
        shift[1] = -rng.uniform(0.0, 0.4)
    across, down = x_max - x_min, y_max - y_min
    x_min, x_max = x_min - shift[0] * across, x_max + shift[2] * across
    y_min, y_max = y_min - shift[1] * down, y_max + shift[3] * down
    if name == "deposition" and rng.random() < 0.3:
        x_min, x_max = 0.0, 1.0
    if name in CONFUSED and rng.random() < 0.1:
        label = CLASS_NAMES.index(CONFUSED[name])
    x_min, y_min, x_max, y_max = np.clip([x_min, y_min, x_max, y_max], 0.0, 1.0)
    return Box(float(x_min), float(y_min), float(x_max), float(y_max), label)
