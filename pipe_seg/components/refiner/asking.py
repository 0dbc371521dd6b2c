"""Models → what they say of the pixels in a frame's boxes."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipe_seg import images
from pipe_seg.annotations import raster
from pipe_seg.artifacts import Model
from pipe_seg.errors import ConfigError, Problem
from pipe_seg.schema import Box
from pipe_seg.serving.saved_model import LoadedModel

LOGIT_LIMIT = 1e-6


class Asked:
    """Models that are asked for the same pixels: all for whole frames, or all for boxes with one margin around them."""

    def __init__(self, models: Sequence[Model], threshold: float | None = None) -> None:
        """Load them; each brings the threshold it was exported with, unless one is given.

        Raises:
            ConfigError: they learnt from crops of different margins, or some from whole frames.
        """
        reaches = {model.crop_margin for model in models}
        if len(reaches) > 1:
            what = "models of different crops"
            raise ConfigError(Problem("RUN", what, got=sorted(map(str, reaches)), expected="models trained alike"))
        self._reach = reaches.pop()
        self._models = [(LoadedModel(model.saved_model), threshold or model.threshold) for model in models]

    def margins(self, data: bytes, boxes: Sequence[Box]) -> Iterator[list[np.ndarray]]:
        """Give, for each box and each model, (height, width) logits above its own threshold."""
        if self._reach is None:
            yield from [self._margins(data)] * len(boxes)
            return
        pixels = images.decode(data)
        height, width = pixels.shape[:2]
        for box in boxes:
            place = raster.inside(box, height, width, self._reach)
            found = [np.full((height, width), _logit(np.float32(0)), np.float32) for _ in self._models]
            crop = images.encode(np.ascontiguousarray(pixels[place]), ".png")
            for whole, part in zip(found, self._margins(crop), strict=True):
                whole[place] = part
            yield found

    def _margins(self, data: bytes) -> list[np.ndarray]:
        return [_logit(loaded.probability(data)) - _logit(np.float32(limit)) for loaded, limit in self._models]


def _logit(probability: Any) -> Any:
    clipped = np.clip(probability, LOGIT_LIMIT, 1 - LOGIT_LIMIT)
    return np.log(clipped / (1 - clipped))
