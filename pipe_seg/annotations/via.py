"""VGG Image Annotator (VIA): one CSV or JSON file for many frames, one region per object."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipe_seg.annotations import documents, shapes
from pipe_seg.annotations.classes import Classes
from pipe_seg.annotations.shapes import ShapeError, Size
from pipe_seg.annotations.source import LabelledFrame, Source, split_in_name
from pipe_seg.errors import InputDataError, Problem
from pipe_seg.schema import Annotation, Box, Polygon

COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
CLASS_KEYS = ("class", "label", "name", "type", "category", "defect")

csv.field_size_limit(documents.MAX_BYTES)


class Row:
    """One region: its shape and attributes as in the file, and its line or JSON pointer."""

    def __init__(self, shape: Any, attributes: Any, line: int | None, pointer: str = "") -> None:
        self.shape, self.attributes, self.line, self.pointer = shape, attributes, line, pointer


def read(path: Path) -> dict[str, list[Row]]:
    """Returns the regions of every frame in a CSV or JSON file, by file name.

    Raises:
        InputDataError: Rows are incomplete or hold no JSON; one problem per row.
    """
    return _json(path) if path.suffix.lower() == ".json" else _csv(path)


def annotation(path: Path, rows: list[Row], size: Size, classes: Classes | None = None) -> Annotation:
    """Returns the annotation of one frame of ``size`` (height, width) in pixels.

    Raises:
        InputDataError: Regions cannot be used; one problem per region.
    """
    found: list[Box | Polygon] = []
    problems = []
    for row in rows:
        try:
            label = (classes or Classes()).label(_class(row.attributes))
            if label is not None:
                found.append(_shape(row.shape, size, label))
        except ShapeError as error:
            problems.append(error.at(path, row.line, row.pointer))
    if problems:
        raise InputDataError(*problems)
    return Annotation.of(found)


def read_source(source: Source, classes: Classes) -> Iterator[LabelledFrame]:
    """Yields the annotation of every frame that a CSV or JSON file names."""
    for path in source.labels(".csv", ".json"):
        with source.collect_problems(path):
            for name, rows in read(path).items():
                pointer = rows[0].pointer if rows else ""
                line = rows[0].line if rows else None
                with source.collect_problems(path, line):
                    frame = source.frame(name, Problem(path, "", line, pointer=pointer))
                    labelled = annotation(path, rows, source.size(frame), classes)
                    yield LabelledFrame(frame, labelled, path, source.split(frame) or split_in_name(path))


def _csv(path: Path) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    problems: list[Problem | str] = []
    try:
        rows = csv.DictReader(io.StringIO(documents.read_text(path), newline=""), strict=True)
        rows.fieldnames = [name.lstrip("#") for name in rows.fieldnames or ()]
        _check_header(path, rows.fieldnames)
        for cells in rows:
            try:
                regions = found[str(cells["filename"])]
                row = _row(path, rows.line_num, cells)
                if row:
                    regions.append(row)
            except InputDataError as error:
                problems.extend(error.problems)
    except csv.Error as error:
        raise InputDataError(Problem(path, f"cannot be read as CSV: {error}")) from error
    if problems:
        raise InputDataError(*problems)
    return found


def _check_header(path: Path, header: Any) -> None:
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        expected = f"a VIA export with {', '.join(COLUMNS)}"
        raise InputDataError(Problem(path, f"column missing: {', '.join(missing)}", 1, expected=expected))


def _row(path: Path, line: int, cells: Mapping[str, str | None]) -> Row | None:
    shape_text, attribute_text = cells["region_shape_attributes"], cells["region_attributes"]
    if shape_text is None or attribute_text is None:
        expected = "as many cells as the header"
        raise InputDataError(Problem(path, "incomplete row", line, cells["filename"], expected))
    shape = documents.parse_json(path, shape_text or "{}", line)
    attributes = documents.parse_json(path, attribute_text or "{}", line)
    return Row(shape, attributes, line) if shape else None


def _json(path: Path) -> dict[str, list[Row]]:
    content = documents.parse_json(path, documents.read_text(path, "utf-8"))
    content = content.get("_via_img_metadata", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(item, dict) for item in content.values()):
        raise InputDataError(Problem(path, "not a VIA file", expected="a project or its annotations as JSON"))
    found: dict[str, list[Row]] = {}
    for key, item in content.items():
        regions = item.get("regions", [])
        regions = list(regions.values()) if isinstance(regions, dict) else regions
        if not isinstance(item.get("filename"), str) or not isinstance(regions, list):
            raise InputDataError(Problem(path, "not a VIA file", expected="filename and regions", pointer=f"/{key}"))
        if item["filename"] in found:
            raise InputDataError(Problem(path, "duplicate frame", got=item["filename"], pointer=f"/{key}"))
        found[item["filename"]] = [
            Row(_of(region, "shape_attributes"), _of(region, "region_attributes"), None, f"/{key}/regions/{index}")
            for index, region in enumerate(regions)
        ]
    return found


def _of(region: Any, key: str) -> Any:
    return region.get(key) if isinstance(region, dict) else None


def _class(attributes: Any) -> object:
    """Returns the class name: the first attribute in ``CLASS_KEYS``, else the only attribute."""
    if not isinstance(attributes, dict):
        return None
    known = [attributes[key] for key in CLASS_KEYS if key in attributes]
    return known[0] if known else next(iter(attributes.values())) if len(attributes) == 1 else None


def _shape(shape: Any, size: Size, label: int) -> Box | Polygon:
    if not isinstance(shape, dict):
        raise ShapeError("not a region", shape, "shape attributes")
    kind = shape.get("name", "polygon")
    try:
        if kind == "rect":
            x, y, width, height = (float(shape[key]) for key in ("x", "y", "width", "height"))
            return shapes.box((x, y, x + width, y + height), size, label)
        if kind in ("circle", "ellipse"):
            radii = (shape["r"], shape["r"]) if kind == "circle" else (shape["rx"], shape["ry"])
            degrees = float(np.degrees(shape.get("theta", 0.0)))
            return shapes.polygon(shapes.ellipse((shape["cx"], shape["cy"]), radii, degrees), size, label)
        if kind != "polygon":
            raise ShapeError("region without an area", kind, "polygon, rect, circle or ellipse")
        xs, ys = shape["all_points_x"], shape["all_points_y"]
        if len(xs) != len(ys):
            raise ShapeError("not a polygon region", f"{len(xs)} x and {len(ys)} y", "as many x as y")
        return shapes.polygon(list(zip(xs, ys, strict=True)), size, label)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, ShapeError):
            raise
        raise ShapeError("not a polygon region", str(error), "all_points_x and all_points_y, or x, y, …") from error
