"""What is usual for a class of defects: which share of its box one fills, and where in the box it lies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from keras import ops

from pipe_seg.annotations import raster
from pipe_seg.annotations.folders import Layout
from pipe_seg.annotations.shapes import Size
from pipe_seg.config import USUAL_FILL
from pipe_seg.nn import supervision
from pipe_seg.schema import CLASS_NAMES, Box

WHOLE_RANGE = (0.02, 0.95)
Fills = Mapping[int, Sequence[float]]


def fills(contours: Layout | None) -> Fills:
    """Give, for each class id, the shares of boxes that are defect, in training frames that have boxes and contours."""
    seen: dict[int, list[float]] = {}
    for frame in contours.frames("train") if contours else ():
        found = frame.read().agreement
        if found:
            seen.setdefault(found.label, []).append(found.fill_ppm / 1_000_000)
    return seen


def ranges(seen: Fills) -> dict[int, tuple[float, float]]:
    """Give the range of that share for each class.

    Half the least that was seen, and midway from the greatest to 1; 0.02 … 0.95 for a class that was never seen.
    """
    known = {label: (min(shares) / 2, (max(shares) + 1) / 2) for label, shares in seen.items()}
    return {label: known.get(label, WHOLE_RANGE) for label in range(len(CLASS_NAMES))}


@dataclass(frozen=True)
class Shape:
    """Draws the usual share of a box: the likeliest pixels, less likely the farther from where such defects lie.

    Attributes:
        weight: so many logits less for half a side of the box, from where ``nn.supervision.shape_prior`` says.
        shares: the usual share for each class id.
    """

    weight: float
    shares: Mapping[int, float]

    @classmethod
    def of(cls, weight: float, seen: Fills) -> "Shape":
        """Take the mean of the shares that were seen, ``config.USUAL_FILL`` for a class that was not."""
        usual = {label: USUAL_FILL[name] for label, name in enumerate(CLASS_NAMES)}
        return cls(weight, usual | {label: fmean(shares) for label, shares in seen.items()})

    def to_json(self) -> dict[str, Any]:
        """Give it as plain values."""
        return {"weight": self.weight, "shares": {CLASS_NAMES[label]: share for label, share in self.shares.items()}}

    def draw(self, box: Box, logits: np.ndarray, size: Size) -> np.ndarray:
        """Give the defect in a box, (rows, columns) bool, one pixel at least.

        Args:
            box: where it is drawn.
            logits: (rows, columns), of the pixels of the box.
            size: (height, width) of the frame.
        """
        height, width = size
        rows, columns = raster.inside(box, height, width)
        left, right = (side * width - columns.start for side in (box.x_min, box.x_max))
        top, bottom = (side * height - rows.start for side in (box.y_min, box.y_max))
        share = self.shares[box.label]
        bounds = np.array([[[left, top, right, bottom, share]]], np.float32)
        score = logits + self.weight * ops.convert_to_numpy(supervision.shape_prior(bounds, (1, *logits.shape)))[0, 0]
        found = np.zeros(score.size, bool)
        found[np.argsort(-score, axis=None, kind="stable")[: max(1, round(share * score.size))]] = True
        return found.reshape(score.shape)
