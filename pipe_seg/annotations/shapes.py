"""Converts coordinates from annotation tools to checked boxes, polygons and regions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipe_seg.errors import Problem
from pipe_seg.schema import Box, Polygon, Region

MAX_OBJECTS = 10_000
MAX_VERTICES = 10_000
ELLIPSE_POINTS = 128
BORDER_PX = 1.0

Size = tuple[int, int]


class ShapeError(ValueError):
    """One object that cannot be used; ``at`` adds its position in the file."""

    def __init__(self, what: str, got: object = None, expected: str = "") -> None:
        super().__init__(what)
        self.what, self.got, self.expected = what, got, expected

    def at(self, path: Path | str, line: int | None = None, pointer: str = "") -> Problem:
        """Returns the problem with its position in the file."""
        return Problem(path, self.what, line, self.got, self.expected, pointer=pointer)


def box(corners: Sequence[float], size: Size, label: int) -> Box:
    """Returns a box from (x_min, y_min, x_max, y_max) in pixels, clipped by at most 1 px to the frame.

    Raises:
        ShapeError: The corners are not finite, swapped or equal, or over 1 px outside the frame.
    """
    height, width = size
    values = np.asarray(corners, np.float64)
    if values.shape != (4,) or not np.isfinite(values).all():
        raise ShapeError("not a box", _shortened(corners), "four finite numbers")
    x_min, y_min, x_max, y_max = values.tolist()
    if x_min >= x_max or y_min >= y_max:
        raise ShapeError("box without area", _shortened(corners), "x_min < x_max and y_min < y_max")
    if min(x_min, y_min) < -BORDER_PX or x_max > width + BORDER_PX or y_max > height + BORDER_PX:
        raise ShapeError("box outside the frame", _shortened(corners), f"corners within {width}x{height}")
    scaled = np.clip(values / [width, height, width, height], 0.0, 1.0)
    x_min, y_min, x_max, y_max = scaled.tolist()
    return Box(x_min, y_min, x_max, y_max, label)


def polygon(points: object, size: Size, label: int, instance: str | None = None, *, coarse: bool = False) -> Polygon:
    """Returns a polygon from ``points`` `(n, 2)`, x and y in pixels.

    Raises:
        ShapeError: There are fewer than 3 or more than 10,000 points, or a point is not finite or lies farther
            outside the frame than the frame is large.
    """
    return Polygon(ring(points, size), label, coarse=coarse, instance=instance)


def ring(points: object, size: Size) -> np.ndarray:
    """Returns the closed ring `(n, 2)` float64 of ``points``; raises like ``polygon``."""
    try:
        values = np.asarray(points, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ShapeError("not a contour", _shortened(points), "pairs of numbers") from error
    if values.ndim != 2 or values.shape[1] != 2 or not 3 <= len(values) <= MAX_VERTICES:
        got = f"{len(values)} points" if values.ndim == 2 else _shortened(points)
        raise ShapeError("not a contour", got, f"3 to {MAX_VERTICES} points")
    height, width = size
    limit = np.array([width, height], np.float64)
    if not np.isfinite(values).all() or (values < -limit).any() or (values > 2 * limit).any():
        far = values[~np.isfinite(values).all(1) | (values < -limit).any(1) | (values > 2 * limit).any(1)][0]
        raise ShapeError("contour far outside the frame", _shortened(far.tolist()), f"points around {width}x{height}")
    return values


def ellipse(centre: Sequence[float], radii: Sequence[float], degrees: float = 0.0) -> np.ndarray:
    """Returns an ellipse as a ring of 128 points, rotated by ``degrees`` clockwise on the screen.

    Raises:
        ShapeError: A value is not finite, or a radius is not positive.
    """
    if not np.isfinite([*centre, *radii, degrees]).all() or min(radii) <= 0:
        raise ShapeError("not an ellipse", _shortened([*centre, *radii]), "a centre and positive radii")
    angle = np.arange(ELLIPSE_POINTS) * (2 * np.pi / ELLIPSE_POINTS)
    points = np.stack([np.cos(angle) * radii[0], np.sin(angle) * radii[1]], -1)
    return rotated(points + np.asarray(centre, np.float64), centre, degrees)


def rectangle(corners: Sequence[float]) -> np.ndarray:
    """Returns (x_min, y_min, x_max, y_max) as a ring of four points."""
    x_min, y_min, x_max, y_max = corners
    return np.array([[x_min, y_min], [x_max, y_min], [x_max, y_max], [x_min, y_max]], np.float64)


def rotated(points: np.ndarray, centre: Sequence[float], degrees: float) -> np.ndarray:
    """Returns ``points`` `(n, 2)` rotated about ``centre``, clockwise on the screen."""
    angle = np.deg2rad(degrees)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    origin = np.asarray(centre, np.float64)
    return np.asarray((points - origin) @ rotation + origin)


def region(counts: Sequence[int], size: Size, label: int) -> Region:
    """Returns a region from COCO's run lengths.

    Raises:
        ShapeError: A run length is negative or not an integer, or they do not add up to the frame.
    """
    height, width = size
    if any(type(count) is not int or count < 0 for count in counts) or sum(counts) != height * width:
        total = sum(count for count in counts if type(count) is int)
        raise ShapeError("run lengths do not fit the frame", f"{total} pixels", f"{height * width} = {width}x{height}")
    return Region(tuple(counts), height, width, label)


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
