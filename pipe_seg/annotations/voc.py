"""Pascal VOC: one XML file per frame; boxes in pixels, corners are the edges of the box."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipe_seg.annotations import documents, shapes
from pipe_seg.annotations.classes import Classes
from pipe_seg.annotations.numbers import decimal
from pipe_seg.annotations.shapes import ShapeError, Size
from pipe_seg.annotations.source import LabelledFrame, Source
from pipe_seg.errors import InputDataError, Problem
from pipe_seg.schema import Annotation, Box

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_source(source: Source, classes: Classes) -> Iterator[LabelledFrame]:
    """Yields the annotation of every XML file."""
    splits = _splits(source)
    for path in source.labels(".xml"):
        with source.collect_problems(path):
            root = documents.read_xml(path)
            if root.tag != "annotation":
                raise InputDataError(Problem(path, "not Pascal VOC XML", root.line, root.tag, "<annotation>"))
            frame = _frame(source, path, root)
            size = source.size(frame)
            _check_size(path, root, size)
            boxes = _boxes(source, path, root, size, classes)
            yield LabelledFrame(
                frame, Annotation(boxes), path, splits.get(path.stem) or source.split(frame) or source.split(path)
            )


def _frame(source: Source, path: Path, root: Any) -> Path:
    named = root.find("filename")
    if named is None or not (named.text or "").strip():
        frame = source.frame_of_label(path)
        if frame is None:
            raise InputDataError(Problem(path, "label without a frame", expected=f"an image {path.stem}.jpg"))
        return frame
    return source.frame((named.text or "").strip(), Problem(path, "", named.line))


def _check_size(path: Path, root: Any, size: Size) -> None:
    element = root.find("size")
    if element is None:
        return
    declared = tuple(decimal((element.findtext(name) or "").strip()) for name in ("height", "width"))
    if declared not in (size, (0, 0)):
        got = f"{element.findtext('width')}x{element.findtext('height')}"
        expected = f"{size[1]}x{size[0]}"
        raise InputDataError(Problem(path, "size differs from the image file", element.line, got, expected))


def _boxes(source: Source, path: Path, root: Any, size: Size, classes: Classes) -> tuple[Box, ...]:
    objects = root.findall("object")
    if len(objects) > shapes.MAX_OBJECTS:
        raise InputDataError(Problem(path, "too many objects", got=len(objects), expected=f"{shapes.MAX_OBJECTS}"))
    boxes = []
    for item in objects:
        with source.collect_object_problems(path, item.line):
            label = classes.label((item.findtext("name") or "").strip())
            if label is not None:
                boxes.append(shapes.box(_corners(item), size, label))
    return tuple(boxes)


def _corners(item: Any) -> list[float]:
    texts = [(item.findtext(f"bndbox/{name}") or "").strip() for name in CORNERS]
    values = [decimal(text) for text in texts]
    if None in values:
        raise ShapeError("not a box", " ".join(texts), "bndbox with xmin, ymin, xmax, ymax")
    return [value or 0.0 for value in values]


def _splits(source: Source) -> dict[str, str]:
    """Returns the split of each stem listed in ``ImageSets/Main``."""
    found: dict[str, str] = {}
    for name, split in (("train", "train"), ("val", "validation"), ("test", "test")):
        for path in source.root.rglob(f"ImageSets/Main/{name}.txt"):
            found |= {line.split()[0]: split for line in documents.read_text(path).splitlines() if line.strip()}
    return found
