"""Converts shapes to masks and masks to shapes, for the whole project.

A pixel belongs to a shape if its centre lies inside (even-odd rule). A box and its four-point polygon give the
same mask, and ``trace`` followed by ``fill`` returns the mask unchanged.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from pipe_seg.schema import Agreement, Annotation, Box, Polygon, Region

GRID = 1024


def rasterise(annotation: Annotation, height: int, width: int) -> np.ndarray:
    """Returns the mask of all shapes together: `(height, width)` uint8 {0, 1}.

    A pixel mask takes precedence over contours, contours over boxes. Inside a refined box only its region counts,
    even where other boxes overlap it.
    """
    if annotation.mask is not None:
        return annotation.mask
    mask = np.zeros((height, width), np.uint8)
    for box in () if annotation.is_contour else sorted(annotation.boxes, key=lambda box: box.refined):
        mask[inside(box, height, width)] = not box.refined
    for region in annotation.regions:
        mask |= pixels(region)
    for polygon in annotation.polygons:
        if not (polygon.coarse and annotation.is_contour):
            mask |= fill((polygon.points, *polygon.holes), height, width)
    return mask


def fill(rings: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Returns `(height, width)` uint8: 1 where the centre has an odd number of ring crossings to its left.

    Points are rounded to 1/1024 px: rounding errors of text formats change no pixel.
    """
    flips = np.zeros((height, width + 1), np.uint8)
    for ring in rings:
        _cross(flips, np.round(np.asarray(ring, np.float64) * GRID) / GRID, height, width)
    return np.bitwise_xor.accumulate(flips, axis=1)[:, :width]


def _cross(flips: np.ndarray, ring: np.ndarray, height: int, width: int) -> None:
    """Flips, in every row, the first pixel whose centre lies right of each edge."""
    start, stop = ring, np.roll(ring, -1, axis=0)
    down = start[:, 1] <= stop[:, 1]
    upper, lower = np.where(down[:, None], start, stop), np.where(down[:, None], stop, start)
    first = np.clip(np.ceil(upper[:, 1] - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(lower[:, 1] - 0.5), 0, height).astype(np.int64)
    edge = np.repeat(np.arange(len(ring)), last - first)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(last - first) - (last - first), last - first) + first[edge]
    slope = (lower[edge, 0] - upper[edge, 0]) / (lower[edge, 1] - upper[edge, 1])
    x = upper[edge, 0] + (row + 0.5 - upper[edge, 1]) * slope
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
    np.bitwise_xor.at(flips, (row, column), 1)


def pixels(region: Region) -> np.ndarray:
    """Returns a region's mask: `(height, width)` uint8 {0, 1}."""
    values = np.arange(len(region.counts), dtype=np.uint8) & 1
    return np.repeat(values, region.counts).reshape(region.width, region.height).T


def region(mask: np.ndarray, label: int) -> Region:
    """Returns a mask `(height, width)` {0, 1} as run lengths."""
    flat = np.concatenate([[0], mask.T.reshape(-1)])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
    return Region(tuple(counts.tolist()), mask.shape[0], mask.shape[1], label)


def trace(mask: np.ndarray, label: int) -> tuple[Polygon, ...]:
    """Returns the polygons with holes for which ``fill`` gives exactly ``mask`` `(height, width)` {0, 1}."""
    doubled = np.repeat(np.repeat(mask.astype(np.uint8), 2, axis=0), 2, axis=1)
    found, nesting = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [ring.reshape(-1, 2) / 2 + 0.25 for ring in found]
    levels = [] if nesting is None else nesting[0]
    return tuple(
        Polygon(ring, label, tuple(rings[i] for i in range(len(rings)) if levels[i][3] == index))
        for index, ring in enumerate(rings)
        if levels[index][3] < 0
    )


def agreement(annotation: Annotation, mask: np.ndarray) -> Agreement | None:
    """Returns the agreement of a contour's ``mask`` with the boxes, or None unless one class has both."""
    if not annotation.boxes or not mask.any() or len({*annotation.labels, *(b.label for b in annotation.boxes)}) > 1:
        return None
    boxes = rasterise(Annotation(annotation.boxes), *mask.shape)
    both, either = int((mask & boxes).sum()), int((mask | boxes).sum())
    shares = (both / int(boxes.sum()), both / int(mask.sum()), both / either)
    return Agreement(annotation.boxes[0].label, *(round(share * 1_000_000) for share in shares))


def inside(box: Box, height: int, width: int, margin: float = 0.0) -> tuple[slice, slice]:
    """Returns the rows and columns of the pixels whose centre lies in the box, at least one each.

    ``margin`` is the fraction of the box's side that is added at both ends, clipped to the frame.
    """
    rows = _pixels(box.y_min, box.y_max, height, margin)
    return slice(*rows), slice(*_pixels(box.x_min, box.x_max, width, margin))


def _pixels(start: float, stop: float, size: int, margin: float) -> tuple[int, int]:
    extra = margin * (stop - start)
    first, last = (int(np.ceil(side * size - 0.5)) for side in (max(start - extra, 0.0), min(stop + extra, 1.0)))
    first = min(first, size - 1)
    return first, max(last, first + 1)
