"""YOLO: one text file per frame, one object per line, coordinates as fractions of the frame.

``class x_centre y_centre width height`` is a box, ``class x1 y1 x2 y2 x3 y3 …`` a polygon.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipe_seg.annotations import documents, shapes
from pipe_seg.annotations.classes import Classes
from pipe_seg.annotations.numbers import decimal
from pipe_seg.annotations.shapes import ShapeError, Size
from pipe_seg.annotations.source import LabelledFrame, Source
from pipe_seg.errors import InputDataError, Problem
from pipe_seg.schema import CLASS_NAMES, Annotation, Box, Polygon

TOLERANCE = 1e-3
MAX_BRACKETS = 200
NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels")

log = logging.getLogger(__name__)


def read(path: Path, size: Size, names: Mapping[int, str] | None = None, classes: Classes | None = None) -> Annotation:
    """Returns the annotation in one file for a frame of ``size``; an empty file means no defects.

    Boxes without area and duplicate lines are ignored with a warning.

    Raises:
        InputDataError: Lines cannot be used; one problem per line.
    """
    lines = documents.read_text(path).splitlines()
    if len(lines) > shapes.MAX_OBJECTS:
        raise InputDataError(Problem(path, "too many lines", got=len(lines), expected=f"at most {shapes.MAX_OBJECTS}"))
    known = dict(enumerate(CLASS_NAMES)) if names is None else names
    found: list[Box | Polygon] = []
    problems: list[Problem] = []
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            shape = _parse(line, size, known, classes or Classes())
        except ShapeError as error:
            problems.append(error.at(path, number))
            continue
        duplicate = line.strip() in seen
        seen.add(line.strip())
        if isinstance(shape, str) or duplicate:
            what = "duplicate line: ignored" if duplicate else str(shape)
            log.warning("%s", Problem(path, what, number, line.strip()))
        elif shape:
            found.append(shape)
    if problems:
        raise InputDataError(*problems)
    return Annotation.of(found)


def read_source(source: Source, classes: Classes) -> Iterator[LabelledFrame]:
    """Yields the annotation of every frame with a text file; a text file without a frame is a problem."""
    names = _names(source)
    if names is None:
        defaults = ", ".join(f"{index} {name}" for index, name in enumerate(CLASS_NAMES))
        log.warning("%s: no file lists the class names; assuming %s", source.path, defaults)
    for path in source.labels(".txt"):
        frame = source.frame_of_label(path)
        if frame is None:
            if "labels" in path.relative_to(source.root).parts:
                source.add_orphan(Problem(path, "label without a frame", expected=f"an image {path.stem}.jpg"))
            continue
        with source.collect_problems(path):
            yield LabelledFrame(frame, read(path, source.size(frame), names, classes), path, source.split(frame))


def _parse(line: str, size: Size, names: Mapping[int, str], classes: Classes) -> Box | Polygon | str | None:
    """Returns the object, None where its class is left out, or why the line is ignored."""
    texts = line.split()
    if len(texts) > 2 * shapes.MAX_VERTICES + 1:
        raise ShapeError("too many points", len(texts) // 2, f"at most {shapes.MAX_VERTICES}")
    values = [decimal(text) for text in texts]
    if None in values or not (len(values) == 5 or (len(values) >= 7 and len(values) % 2)):
        raise ShapeError("not a YOLO box or polygon", line.strip(), "class x_centre y_centre width height")
    number, *numbers = (value or 0.0 for value in values)
    if number not in names or not texts[0].isdigit():
        known = f"0…{len(names) - 1} ({', '.join(names.values())})"
        raise ShapeError("unknown class", texts[0], known)
    label = classes.label(names[int(number)])
    if label is None:
        return None
    return _box(numbers, line, label) if len(numbers) == 4 else _polygon(numbers, size, label)


def _box(numbers: list[float], line: str, label: int) -> Box | str:
    x, y, width, height = numbers
    if width < 0 or height < 0:
        raise ShapeError("box of negative size", line.strip(), "width and height of 0…1")
    if width == 0 or height == 0:
        return "box without area: ignored"
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if min(corners) < -TOLERANCE or max(corners) > 1 + TOLERANCE:
        raise ShapeError("box outside the frame", line.strip(), "corners within 0…1; cut it at the border")
    x_min, y_min, x_max, y_max = (min(max(corner, 0.0), 1.0) for corner in corners)
    return Box(x_min, y_min, x_max, y_max, label)


def _polygon(numbers: list[float], size: Size, label: int) -> Polygon:
    points = np.array(numbers).reshape(-1, 2)
    if points.min() < -TOLERANCE or points.max() > 1 + TOLERANCE:
        raise ShapeError("contour outside the frame", float(points[np.abs(points - 0.5).argmax() // 2].max()), "0…1")
    return shapes.polygon(points * [size[1], size[0]], size, label)


def _names(source: Source) -> dict[int, str] | None:
    """Returns the class names that the source declares, or None."""
    for path in sorted(source.root.rglob("*")):
        if path.name in NAME_FILES and path.is_file():
            return _listed(path)
    listed = [path for path in sorted(source.root.rglob("*.y*ml")) if path.is_file()]
    usual = ("data.yaml", "dataset.yaml")
    declared = [path for path in listed if path.name in usual or "names:" in documents.read_text(path)]
    if len(declared) > 1:
        what = "a second file with class names"
        raise InputDataError(Problem(declared[1], what, got=str(declared[0]), expected="one"))
    return _declared(declared[0]) if declared else None


def _listed(path: Path) -> dict[int, str]:
    return dict(enumerate(line.strip() for line in documents.read_text(path).splitlines() if line.strip()))


def _declared(path: Path) -> dict[int, str]:
    text = documents.read_text(path)
    if text.count("[") + text.count("{") > MAX_BRACKETS:
        raise InputDataError(Problem(path, "nested too deeply", expected="names: [deformation, obstacle, …]"))
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise InputDataError(Problem(path, "aliases in YAML", expected="plain names"))
        value: Any = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputDataError(Problem(path, f"not YAML: {error}".replace("\n", " "))) from error
    names = value.get("names") if isinstance(value, dict) else None
    pairs = names.items() if isinstance(names, dict) else enumerate(names) if isinstance(names, list) else ()
    found = {number: name for number, name in pairs if type(number) is int and isinstance(name, str)}
    if not found:
        raise InputDataError(Problem(path, "no class names", expected="names: [deformation, obstacle, …]"))
    return found


def line(shape: Box | Polygon, size: Size) -> str:
    """Returns one object as a line of text, without a polygon's holes."""
    if isinstance(shape, Box):
        centre = ((shape.x_min + shape.x_max) / 2, (shape.y_min + shape.y_max) / 2)
        numbers = [*centre, shape.x_max - shape.x_min, shape.y_max - shape.y_min]
    else:
        numbers = (shape.points / [size[1], size[0]]).reshape(-1).tolist()
    return " ".join([str(shape.label), *(f"{number:.10g}" for number in numbers)])
