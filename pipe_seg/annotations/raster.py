"""Shapes to pixels and back. Nothing else in the project does this.

A pixel belongs to a shape when its centre lies inside (even-odd rule), so a box drawn as a box and as a
polygon is the same mask, and a mask turned into polygons comes back pixel for pixel.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from pipe_seg.schema import Agreement, Annotation, Box, Polygon, Region

GRID = 1024


def rasterise(annotation: Annotation, height: int, width: int) -> np.ndarray:
    """Give the mask of all shapes together: (height, width) uint8 {0, 1}.

    Pixels that the tool gave win; then contours; boxes count only where nothing finer was drawn. In a refined
    box its region alone counts, whatever other boxes reach into it.
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
    """Give (height, width) uint8: 1 where a pixel's centre has an odd number of ring crossings to its left.

    Points count to 1/1024 px, so that what a format rounds in the ninth digit moves no pixel.
    """
    flips = np.zeros((height, width + 1), np.uint8)
    for ring in rings:
        _cross(flips, np.round(np.asarray(ring, np.float64) * GRID) / GRID, height, width)
    return np.bitwise_xor.accumulate(flips, axis=1)[:, :width]


def _cross(flips: np.ndarray, ring: np.ndarray, height: int, width: int) -> None:
    """Flip, in every row, the first pixel whose centre lies right of each edge."""
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
    """Give a region's own mask: (height, width) uint8 {0, 1}."""
    values = np.arange(len(region.counts), dtype=np.uint8) & 1
    return np.repeat(values, region.counts).reshape(region.width, region.height).T


def region(mask: np.ndarray, label: int) -> Region:
    """Give (height, width) {0, 1} as runs."""
    flat = np.concatenate([[0], mask.T.reshape(-1)])
    turns = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], turns, [mask.size]]))
    return Region(tuple(counts.tolist()), mask.shape[0], mask.shape[1], label)


def trace(mask: np.ndarray, label: int) -> tuple[Polygon, ...]:
    """Give the polygons, with holes, that fill to exactly ``mask`` (height, width) {0, 1} again."""
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
    """Compare a contour's ``mask`` with the frame's boxes; None where there is no one class to speak of."""
    if not annotation.boxes or not mask.any() or len({*annotation.labels, *(b.label for b in annotation.boxes)}) > 1:
        return None
    boxes = rasterise(Annotation(annotation.boxes), *mask.shape)
    both, either = int((mask & boxes).sum()), int((mask | boxes).sum())
    shares = (both / int(boxes.sum()), both / int(mask.sum()), both / either)
    return Agreement(annotation.boxes[0].label, *(round(share * 1_000_000) for share in shares))


def inside(box: Box, height: int, width: int, margin: float = 0.0) -> tuple[slice, slice]:
    """Give the rows and columns of the pixels whose centre lies in the box, one at least.

    ``margin``: a share of the box that is added on each side, as far as the frame goes.
    """
    rows = _pixels(box.y_min, box.y_max, height, margin)
    return slice(*rows), slice(*_pixels(box.x_min, box.x_max, width, margin))


def _pixels(start: float, stop: float, size: int, margin: float) -> tuple[int, int]:
    more = margin * (stop - start)
    first, last = (int(np.ceil(side * size - 0.5)) for side in (max(start - more, 0.0), min(stop + more, 1.0)))
    first = min(first, size - 1)
    return first, max(last, first + 1)
