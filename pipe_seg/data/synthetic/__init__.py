"""Rendered pipe frames with exact contours and loose boxes: the embedded default.

A test bench that needs no download, never proof of quality: scores on it carry the word *rendered*.
The same (seed, pipe, shot) gives the same pixels on every machine: randomness comes from integers of
PCG64, geometry is float64 rounded to integers, the rest is table look-ups and integer image operations.
"""

from dataclasses import dataclass

import numpy as np

from pipe_seg import images
from pipe_seg.data.synthetic import annotator, defects, scene
from pipe_seg.schema import Box

HEIGHT_PX = 256
WIDTH_PX = 320
SHOTS_PER_PIPE = 2
CLEAN_SHARE = 0.06


@dataclass(frozen=True)
class RenderedFrame:
    """One frame and both truths about it.

    ``jpeg``: the encoded frame; ``image`` (256, 320, 3) uint8 RGB before encoding; ``mask`` (256, 320)
    uint8 {0, 1}: the exact contour; ``labels``: class ids in it; ``boxes``: what an annotator drew.
    """

    name: str
    group_id: str
    jpeg: bytes
    image: np.ndarray
    mask: np.ndarray
    labels: tuple[int, ...]
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Shot:
    """A frame that waits to be rendered: shot number ``shot`` of pipe number ``pipe``."""

    pipe: int
    shot: int

    @property
    def key(self) -> str:
        """The frame's file name."""
        return f"pipe{self.pipe:05d}_{self.shot}.jpg"

    @property
    def group_id(self) -> str:
        """The pipe, which all its shots share."""
        return f"pipe{self.pipe:05d}"


def render(seed: int, pipe: int, shot: int) -> RenderedFrame:
    """Render shot number ``shot`` of pipe number ``pipe``; the pipe decides material and light."""
    pipe_rng = np.random.default_rng([seed, pipe])
    rng = np.random.default_rng([seed, pipe, shot + 1])
    view = scene.View.sample(pipe_rng, rng, HEIGHT_PX, WIDTH_PX)
    canvas = scene.paint(view, pipe_rng, rng)
    found = [] if rng.random() < CLEAN_SHARE else defects.add(canvas, view, rng)
    image = scene.finish(canvas, view, rng)
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    for defect in found:
        mask |= defect.mask
    jpeg = images.encode(image[..., ::-1], ".jpg", quality=int(rng.integers(40, 90)))
    return RenderedFrame(
        name=Shot(pipe, shot).key,
        group_id=Shot(pipe, shot).group_id,
        jpeg=jpeg,
        image=image,
        mask=mask,
        labels=tuple(sorted({defect.label for defect in found})),
        boxes=annotator.draw(found, rng, HEIGHT_PX, WIDTH_PX),
    )
