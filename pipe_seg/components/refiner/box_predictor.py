"""What models predict for the pixels in a frame's boxes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import repeat
from typing import Any

import numpy as np

from pipe_seg import images
from pipe_seg.annotations import raster
from pipe_seg.artifacts import Model
from pipe_seg.inference.saved_model import LoadedModel
from pipe_seg.schema import Box

LOGIT_LIMIT = 1e-6


class BoxPredictor:
    """Models that predict the same pixels: each on whole frames, or on boxes with the margin it learnt."""

    def __init__(self, models: Sequence[Model], threshold: float | None = None) -> None:
        """Loads them; each brings the threshold it was exported with, unless one is given."""
        self._models = [_One(model, threshold) for model in models]

    def margins(self, data: bytes, boxes: Sequence[Box]) -> Iterator[list[np.ndarray]]:
        """Yields, for each box, `(height, width)` logits of each model above its threshold."""
        crops = cache(partial(_crops, data, boxes))  # cut once for all models of one margin
        predictions = [
            repeat(model.logits(data), len(boxes)) if model.reach is None else map(model.spread, crops(model.reach))
            for model in self._models
        ]
        yield from map(list, zip(*predictions, strict=True))


@dataclass(frozen=True)
class _Crop:
    """A box with its surroundings as a file: its ``position`` in a frame of ``size`` (height, width) px."""

    size: tuple[int, int]
    position: tuple[slice, slice]
    data: bytes


class _One:
    """One model, the margin of the crops it learnt from if any, and the logit of its threshold."""

    def __init__(self, model: Model, threshold: float | None) -> None:
        self._loaded, self.reach = LoadedModel(model.saved_model), model.crop_margin
        self._limit = _logit(np.float32(threshold or model.threshold))

    def logits(self, data: bytes) -> np.ndarray:
        """Returns `(height, width)` logits above the limit."""
        logits: np.ndarray = _logit(self._loaded.probability(data)) - self._limit
        return logits

    def spread(self, crop: _Crop) -> np.ndarray:
        """Returns them for the whole frame; the lowest logit where the crop does not reach."""
        found = np.full(crop.size, _logit(np.float32(0)), np.float32)
        found[crop.position] = self.logits(crop.data)
        return found


def _crops(data: bytes, boxes: Sequence[Box], reach: float) -> list[_Crop]:
    pixels = images.decode(data)
    height, width = pixels.shape[:2]
    positions = [raster.inside(box, height, width, reach) for box in boxes]
    return [_Crop((height, width), at, images.encode(np.ascontiguousarray(pixels[at]), ".png")) for at in positions]


def _logit(probability: Any) -> Any:
    clipped = np.clip(probability, LOGIT_LIMIT, 1 - LOGIT_LIMIT)
    return np.log(clipped / (1 - clipped))
