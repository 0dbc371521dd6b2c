"""Models → what they say of the pixels in a frame's boxes."""

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from pipe_seg import images
from pipe_seg.annotations import raster
from pipe_seg.artifacts import Model
from pipe_seg.schema import Box
from pipe_seg.serving.saved_model import LoadedModel

LOGIT_LIMIT = 1e-6


class Asked:
    """Models that are asked for the same pixels: each for whole frames, or for boxes with the margin it learnt."""

    def __init__(self, models: Sequence[Model], threshold: float | None = None) -> None:
        """Load them; each brings the threshold it was exported with, unless one is given."""
        self._models = [_One(model, threshold) for model in models]

    def margins(self, data: bytes, boxes: Sequence[Box]) -> Iterator[list[np.ndarray]]:
        """Give, for each box and each model, (height, width) logits above its own threshold."""
        answers = [model.margins(data, boxes) for model in self._models]
        for found in zip(*answers, strict=True):
            yield list(found)


class _One:
    """One model and the logit above which it says defect."""

    def __init__(self, model: Model, threshold: float | None) -> None:
        self._loaded, self._reach = LoadedModel(model.saved_model), model.crop_margin
        self._limit = _logit(np.float32(threshold or model.threshold))

    def margins(self, data: bytes, boxes: Sequence[Box]) -> Iterator[np.ndarray]:
        """Give (height, width) logits above the limit for each box; the lowest where a crop did not reach."""
        if self._reach is None:
            yield from repeat(self._logits(data), len(boxes))
            return
        pixels = images.decode(data)
        height, width = pixels.shape[:2]
        for box in boxes:
            place = raster.inside(box, height, width, self._reach)
            found = np.full((height, width), _logit(np.float32(0)), np.float32)
            found[place] = self._logits(images.encode(np.ascontiguousarray(pixels[place]), ".png"))
            yield found

    def _logits(self, data: bytes) -> np.ndarray:
        logits: np.ndarray = _logit(self._loaded.probability(data)) - self._limit
        return logits


def _logit(probability: Any) -> Any:
    clipped = np.clip(probability, LOGIT_LIMIT, 1 - LOGIT_LIMIT)
    return np.log(clipped / (1 - clipped))
