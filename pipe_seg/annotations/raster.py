"""Shapes to pixels. Nothing else in the project does this."""

import cv2
import numpy as np

from pipe_seg.schema import Annotation, Box, Polygon

SUBPIXEL_BITS = 4


def rasterise(annotation: Annotation, height: int, width: int) -> np.ndarray:
    """Give the mask of all shapes together: (height, width) uint8 {0, 1}.

    Pixels that the tool gave win; then contours; boxes count only where nothing finer was drawn.
    """
    if annotation.mask is not None:
        return annotation.mask
    mask = np.zeros((height, width), np.uint8)
    for polygon in annotation.polygons:
        _polygon(mask, polygon)
    for box in () if annotation.polygons else annotation.boxes:
        _box(mask, box)
    return mask


def _box(mask: np.ndarray, box: Box) -> None:
    """Set the pixels whose centre lies in the box."""
    height, width = mask.shape
    top, bottom = _pixels(box.y_min, box.y_max, height)
    left, right = _pixels(box.x_min, box.x_max, width)
    mask[top:bottom, left:right] = 1


def _pixels(start: float, stop: float, size: int) -> tuple[int, int]:
    first, last = int(np.floor(start * size + 0.5)), int(np.floor(stop * size + 0.5))
    return first, max(last, first + 1)


def _polygon(mask: np.ndarray, polygon: Polygon) -> None:
    """Fill a contour; far-off vertices are pulled in before they become integers."""
    height, width = mask.shape
    limit = np.array([width, height], np.float64)
    points = np.clip(polygon.points, -limit, 2 * limit)
    fixed = np.round(points * (1 << SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 1, shift=SUBPIXEL_BITS)
