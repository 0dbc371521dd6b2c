"""What tools draw → boxes, polygons and regions that can be filled; anything else is a ``ShapeError``."""

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
    """One object that cannot be used; who reads the file knows where it stands."""

    def __init__(self, what: str, got: object = None, expected: str = "") -> None:
        """Take what is wrong, the value met and the rule."""
        super().__init__(what)
        self.what, self.got, self.expected = what, got, expected

    def at(self, path: Path | str, line: int | None = None, pointer: str = "") -> Problem:
        """Give the problem with its place."""
        return Problem(path, self.what, line, self.got, self.expected, pointer=pointer)


def box(corners: Sequence[float], size: Size, label: int) -> Box:
    """Give a box from (x_min, y_min, x_max, y_max) in pixels; up to a pixel outside the frame is cut off.

    Raises:
        ShapeError: not finite, turned around, without area, or outside the frame.
    """
    height, width = size
    values = np.asarray(corners, np.float64)
    if values.shape != (4,) or not np.isfinite(values).all():
        raise ShapeError("not a box", _told(corners), "four finite numbers")
    x_min, y_min, x_max, y_max = values.tolist()
    if x_min >= x_max or y_min >= y_max:
        raise ShapeError("box without area", _told(corners), "x_min < x_max and y_min < y_max")
    if min(x_min, y_min) < -BORDER_PX or x_max > width + BORDER_PX or y_max > height + BORDER_PX:
        raise ShapeError("box outside the frame", _told(corners), f"corners within {width}x{height}")
    scaled = np.clip(values / [width, height, width, height], 0.0, 1.0)
    x_min, y_min, x_max, y_max = scaled.tolist()
    return Box(x_min, y_min, x_max, y_max, label)


def polygon(points: object, size: Size, label: int, instance: str | None = None, *, coarse: bool = False) -> Polygon:
    """Give a polygon from points (n, 2), x and y in pixels; it may leave the frame by once its size.

    Raises:
        ShapeError: fewer than 3 or more than 10,000 points, not finite, or far outside the frame.
    """
    return Polygon(ring(points, size), label, coarse=coarse, instance=instance)


def ring(points: object, size: Size) -> np.ndarray:
    """Give a closed line (n, 2) float64; the rules are those of ``polygon``."""
    try:
        values = np.asarray(points, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ShapeError("not a contour", _told(points), "pairs of numbers") from error
    if values.ndim != 2 or values.shape[1] != 2 or not 3 <= len(values) <= MAX_VERTICES:
        got = f"{len(values)} points" if values.ndim == 2 else _told(points)
        raise ShapeError("not a contour", got, f"3 to {MAX_VERTICES} points")
    height, width = size
    limit = np.array([width, height], np.float64)
    if not np.isfinite(values).all() or (values < -limit).any() or (values > 2 * limit).any():
        far = values[~np.isfinite(values).all(1) | (values < -limit).any(1) | (values > 2 * limit).any(1)][0]
        raise ShapeError("contour far outside the frame", _told(far.tolist()), f"points around {width}x{height}")
    return values


def ellipse(centre: Sequence[float], radii: Sequence[float], degrees: float = 0.0) -> np.ndarray:
    """Give an ellipse as a ring of 128 points; it is turned clockwise on the screen.

    Raises:
        ShapeError: a radius that is not positive and finite.
    """
    if not np.isfinite([*centre, *radii, degrees]).all() or min(radii) <= 0:
        raise ShapeError("not an ellipse", _told([*centre, *radii]), "a centre and positive radii")
    angle = np.arange(ELLIPSE_POINTS) * (2 * np.pi / ELLIPSE_POINTS)
    points = np.stack([np.cos(angle) * radii[0], np.sin(angle) * radii[1]], -1)
    return turned(points + np.asarray(centre, np.float64), centre, degrees)


def rectangle(corners: Sequence[float]) -> np.ndarray:
    """Give (x_min, y_min, x_max, y_max) as a ring of four points."""
    x_min, y_min, x_max, y_max = corners
    return np.array([[x_min, y_min], [x_max, y_min], [x_max, y_max], [x_min, y_max]], np.float64)


def turned(points: np.ndarray, centre: Sequence[float], degrees: float) -> np.ndarray:
    """Give points (n, 2) turned about ``centre``, clockwise on the screen."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle = np.asarray(centre, np.float64)
    return np.asarray((points - middle) @ turn + middle)


def region(counts: Sequence[int], size: Size, label: int) -> Region:
    """Give a region from COCO's run lengths.

    Raises:
        ShapeError: negative runs, or runs that do not add up to the frame.
    """
    height, width = size
    if any(type(count) is not int or count < 0 for count in counts) or sum(counts) != height * width:
        total = sum(count for count in counts if type(count) is int)
        raise ShapeError("not the runs of this frame", f"{total} pixels", f"{height * width} = {width}x{height}")
    return Region(tuple(counts), height, width, label)


def _told(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
