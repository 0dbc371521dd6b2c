"""VGG Image Annotator polygons: one CSV for many frames, a region a row."""

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from pipe_seg.errors import InputDataError, Problem
from pipe_seg.schema import CLASS_NAMES, Polygon

COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
MAX_VERTICES = 10_000


def read(path: Path) -> dict[str, tuple[Polygon, ...]]:
    """Give the polygons of every file named in the CSV; a file without regions has none.

    Raises:
        InputDataError: one problem for each row that cannot be used.
    """
    found: dict[str, list[Polygon]] = defaultdict(list)
    problems: list[Problem] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            _check_header(path, rows.fieldnames or ())
            for row in rows:
                polygon = _polygon(path, rows.line_num, row)
                shapes = found[row["filename"]]
                if isinstance(polygon, Problem):
                    problems.append(polygon)
                elif polygon:
                    shapes.append(polygon)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputDataError(Problem(path, f"cannot be read as CSV: {error}")) from error
    if problems:
        raise InputDataError(*problems)
    return {name: tuple(shapes) for name, shapes in found.items()}


def _check_header(path: Path, header: Any) -> None:
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        expected = f"a VIA export with {', '.join(COLUMNS)}"
        raise InputDataError(Problem(path, f"column missing: {', '.join(missing)}", 1, expected=expected))


def _polygon(path: Path, line: int, row: dict[str, str | None]) -> Polygon | Problem | None:
    drawn, described = row["region_shape_attributes"], row["region_attributes"]
    if drawn is None or described is None:
        return Problem(path, "row cut short", line, row["filename"], "as many cells as the header")
    try:
        shape = json.loads(drawn or "{}", parse_constant=_no_constant)
        attributes = json.loads(described or "{}", parse_constant=_no_constant)
        if not shape:
            return None
        points = np.stack([np.asarray(shape[f"all_points_{axis}"], np.float64) for axis in "xy"], -1)
    except (ValueError, KeyError, TypeError) as error:
        what = "not a polygon region"
        return Problem(path, what, line, str(error), "region_shape_attributes with all_points_x and all_points_y")
    if points.ndim != 2 or not 3 <= len(points) <= MAX_VERTICES or not np.isfinite(points).all():
        return Problem(path, "not a contour", line, f"{len(points)} points", f"3 to {MAX_VERTICES} finite points")
    name = attributes.get("class") if isinstance(attributes, dict) else None
    if name not in CLASS_NAMES:
        return Problem(path, "unknown class", line, name, ", ".join(CLASS_NAMES))
    return Polygon(points, CLASS_NAMES.index(name))


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")
