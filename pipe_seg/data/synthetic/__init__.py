"""Rendered pipe frames with exact contours and loose boxes: the embedded default dataset.

They test the code without a download and prove nothing about quality on real pipes; scores on them are marked
*rendered*. The same (seed, pipe, shot) gives the same pixels on every machine: random numbers are integers of PCG64,
geometry is float64 rounded to integers, everything else is table look-ups and integer image operations.
"""

from dataclasses import dataclass

import numpy as np

from pipe_seg import images
from pipe_seg.data.synthetic import annotator, defects, scene
from pipe_seg.schema import Box

HEIGHT_PX = 256
WIDTH_PX = 320
VERSION = 1  # increment when the rendered pixels change
SHOTS_PER_PIPE = 2
CLEAN_SHARE = 0.06


@dataclass(frozen=True)
class RenderedFrame:
    """One rendered frame with its exact mask and its drawn boxes.

    ``jpeg``: the encoded frame; ``image`` `(256, 320, 3)` uint8 RGB before encoding; ``mask`` `(256, 320)` uint8
    {0, 1}: the exact contour; ``labels``: class ids in it; ``boxes``: the simulated annotator's.
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
    """The key of a frame to render: shot number ``shot`` of pipe number ``pipe``."""

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
    """Returns shot number ``shot`` of pipe number ``pipe``; the pipe sets material and light."""
    pipe_rng = np.random.default_rng([seed, pipe])
    rng = np.random.default_rng([seed, pipe, shot + 1])
    view = scene.View.sample(pipe_rng, rng, HEIGHT_PX, WIDTH_PX)
    canvas = scene.paint(view, pipe_rng, rng)
    added = [] if rng.random() < CLEAN_SHARE else defects.add(canvas, view, rng)
    image = scene.finish(canvas, view, rng)
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    for defect in added:
        mask |= defect.mask
    jpeg = images.encode(image[..., ::-1], ".jpg", quality=int(rng.integers(40, 90)))
    return RenderedFrame(
        name=Shot(pipe, shot).key,
        group_id=Shot(pipe, shot).group_id,
        jpeg=jpeg,
        image=image,
        mask=mask,
        labels=tuple(sorted({defect.label for defect in added})),
        boxes=annotator.draw(added, rng, HEIGHT_PX, WIDTH_PX),
    )
