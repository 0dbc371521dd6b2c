"""CVAT XML "for images" and "for video": boxes, polygons, ellipses and masks, rotated ones too."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from pipe_seg.annotations import documents, raster, shapes
from pipe_seg.annotations.classes import Classes
from pipe_seg.annotations.numbers import decimal
from pipe_seg.annotations.shapes import ShapeError, Size
from pipe_seg.annotations.source import SPLIT_WORDS, LabelledFrame, Source
from pipe_seg.errors import InputDataError, Problem
from pipe_seg.schema import CLASS_NAMES, Annotation, Box, Polygon, Region

SHAPES = ("box", "polygon", "ellipse", "mask")
NO_AREA = ("polyline", "points", "cuboid", "skeleton")
NUMBER = re.compile(r"(\d+)\D*$")

Shape = Box | Polygon | Region


def read_source(source: Source, classes: Classes) -> Iterator[LabelledFrame]:
    """Yields the annotation of every frame in every XML file."""
    for path in source.labels(".xml"):
        with source.collect_problems(path):
            root = documents.read_xml(path)
            if root.tag != "annotations":
                raise InputDataError(Problem(path, "not CVAT XML", root.line, root.tag, "<annotations>"))
            if root.find("track") is not None:
                yield from _video(source, path, root, classes)
            else:
                yield from _images(source, path, root, classes)


def _images(source: Source, path: Path, root: Any, classes: Classes) -> Iterator[LabelledFrame]:
    seen: set[str] = set()
    for image in root.findall("image"):
        with source.collect_problems(path, image.line):
            if image.get("id") in seen:
                raise ShapeError("duplicate image id", image.get("id"))
            seen.add(image.get("id"))
            frame = source.frame(image.get("name"), Problem(path, "", image.line))
            size = source.size(frame)
            if [decimal(image.get(key, "")) for key in ("height", "width")] != list(size):
                got = f"{image.get('width')}x{image.get('height')}"
                raise ShapeError("size differs from the image file", got, f"{size[1]}x{size[0]}")
            found = []
            for element in image:
                with source.collect_object_problems(path, element.line):
                    found += _shape(element, element.get("label"), size, classes)
            split = SPLIT_WORDS.get(image.get("subset", "").lower()) or source.split(frame)
            yield LabelledFrame(frame, Annotation.of(found), path, split)


def _video(source: Source, path: Path, root: Any, classes: Classes) -> Iterator[LabelledFrame]:
    """Yields the annotation of every frame of a video; ``outside`` frames of a track have no shape."""
    # CVAT writes a shape for every frame of a track. A gap means that the file holds key frames only.
    frames = _numbered(source, path)
    _check_length(path, root, frames)
    found: dict[int, list[Shape]] = {number: [] for number in frames}
    problems = len(source.problems)
    for track in root.findall("track"):
        before, visible = -1, False
        for element in track:
            with source.collect_object_problems(path, element.line):
                number = decimal(element.get("frame", ""))
                if number is None or number != int(number) or number <= before:
                    raise ShapeError("frame numbers out of order", element.get("frame"), f"more than {before}")
                if visible and number > before + 1:
                    cure = f'a shape for each frame from {before + 1} on, or outside="1"'
                    raise ShapeError("gap in a track", f"frames {before} and {int(number)}", cure)
                before, visible = int(number), element.get("outside") != "1"
                if before not in frames:
                    raise ShapeError("no such frame", before, f"an image with the number {before} in its name")
                if visible:
                    size = source.size(frames[before])
                    found[before] += _shape(element, track.get("label"), size, classes)
    if len(source.problems) > problems:
        source.fatal = True
        return
    for number, frame in frames.items():
        yield LabelledFrame(frame, Annotation.of(found[number]), path, source.split(frame))


def _check_length(path: Path, root: Any, frames: dict[int, Path]) -> None:
    """Raises unless the images are numbered like the video's frames, from 0 to its length - 1."""
    declared = root.find("meta//size")
    length = decimal((declared.text or "").strip()) if declared is not None else None
    if length is not None and set(frames) != set(range(int(length))):
        got = f"{len(frames)} images with numbers {min(frames, default=0)} to {max(frames, default=0)}"
        cure = f"images numbered 0 to {int(length) - 1}, as CVAT counts them"
        raise InputDataError(Problem(path, "images do not match the video's frames", declared.line, got, cure))


def _numbered(source: Source, path: Path) -> dict[int, Path]:
    found: dict[int, list[Path]] = defaultdict(list)
    for frame in source.frames:
        number = NUMBER.search(frame.stem)
        if number:
            found[int(number[1])].append(frame)
    duplicates = [frames for frames in found.values() if len(frames) > 1]
    if duplicates:
        got = ", ".join(frame.name for frame in duplicates[0])
        raise InputDataError(Problem(path, "several frames with one number", got=got, expected="frames of one video"))
    return {number: frames[0] for number, frames in sorted(found.items())}


def _shape(element: Any, name: object, size: Size, classes: Classes) -> list[Shape]:
    """Returns a list of one shape, or an empty list where its class is left out."""
    if element.tag in NO_AREA:
        raise ShapeError("shape without an area", element.tag, ", ".join(SHAPES))
    label = classes.label(name) if element.tag in SHAPES else None
    return [] if label is None else [_parsed(element, size, label)]


def _parsed(element: Any, size: Size, label: int) -> Shape:
    if element.tag == "polygon":
        return shapes.polygon(_points(element.get("points", "")), size, label)
    if element.tag == "mask":
        return _mask(element, size, label)
    degrees = _numbers(element, "rotation")[0] if element.get("rotation") else 0.0
    if element.tag == "ellipse":
        centre, radii = _numbers(element, "cx", "cy"), _numbers(element, "rx", "ry")
        return shapes.polygon(shapes.ellipse(centre, radii, degrees), size, label)
    corners = _numbers(element, "xtl", "ytl", "xbr", "ybr")
    if not degrees:
        return shapes.box(corners, size, label)
    centre = [(corners[0] + corners[2]) / 2, (corners[1] + corners[3]) / 2]
    return shapes.polygon(shapes.rotated(shapes.rectangle(corners), centre, degrees), size, label, coarse=True)


def _numbers(element: Any, *keys: str) -> list[float]:
    values = [decimal(element.get(key, "")) for key in keys]
    if None in values:
        raise ShapeError(f"not a {element.tag}", {key: element.get(key) for key in keys}, "numbers")
    return [value or 0.0 for value in values]


def _points(text: str) -> list[list[float]]:
    pairs = text.split(";")
    if len(pairs) > shapes.MAX_VERTICES:
        raise ShapeError("too many points", len(pairs), f"at most {shapes.MAX_VERTICES}")
    values = [[decimal(number) for number in pair.split(",")] for pair in pairs]
    if any(len(pair) != 2 or None in pair for pair in values):
        raise ShapeError("not a contour", text, "x,y;x,y;x,y")
    return [[number or 0.0 for number in pair] for pair in values]


def _mask(element: Any, size: Size, label: int) -> Region:
    left, top, width, height = (int(number) for number in _numbers(element, "left", "top", "width", "height"))
    texts = element.get("rle", "").replace(" ", "").split(",")
    counts = [int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else -1 for text in texts]
    if min(counts) < 0 or min(left, top) < 0 or min(width, height) < 1 or sum(counts) != width * height:
        raise ShapeError("run lengths do not fit the mask", element.get("rle"), f"{width * height} = {width}x{height}")
    if top + height > size[0] or left + width > size[1]:
        raise ShapeError("mask outside the frame", [left, top, width, height], f"within {size[1]}x{size[0]}")
    whole = np.zeros(size, np.uint8)
    inner = np.repeat(np.arange(len(counts), dtype=np.uint8) & 1, counts)
    whole[top : top + height, left : left + width] = inner.reshape(height, width)
    return raster.region(whole, label)


def encode(frames: Iterable[tuple[str, Size, Annotation]]) -> bytes:
    """Returns a "for images" file for frames (name, size, annotation); shapes with holes become masks."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    for number, (name, size, annotation) in enumerate(frames):
        keys = {"id": str(number), "name": name, "width": str(size[1]), "height": str(size[0])}
        image = ElementTree.SubElement(root, "image", keys)
        for kind, keys in _elements(annotation, size):
            ElementTree.SubElement(image, kind, {**keys, "source": "file", "occluded": "0", "z_order": "0"})
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, "utf-8", xml_declaration=True))


def _elements(annotation: Annotation, size: Size) -> Iterator[tuple[str, dict[str, str]]]:
    for box in annotation.boxes:
        corners = (box.x_min * size[1], box.y_min * size[0], box.x_max * size[1], box.y_max * size[0])
        named = {key: f"{value:.9g}" for key, value in zip(("xtl", "ytl", "xbr", "ybr"), corners, strict=True)}
        yield "box", {"label": CLASS_NAMES[box.label], **named}
    for shape in annotation.polygons:
        if shape.holes:
            yield _mask_element(raster.fill((shape.points, *shape.holes), *size), shape.label)
        else:
            points = ";".join(f"{x:.9g},{y:.9g}" for x, y in shape.points)
            yield "polygon", {"label": CLASS_NAMES[shape.label], "points": points}
    for region in annotation.regions:
        yield _mask_element(raster.pixels(region), region.label)


def _mask_element(mask: np.ndarray, label: int) -> tuple[str, dict[str, str]]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom, left, right = (rows[0], rows[-1], columns[0], columns[-1]) if len(rows) else (0, 0, 0, 0)
    inner = mask[top : bottom + 1, left : right + 1]
    counts = raster.region(inner.T, label).counts
    keys = {"left": left, "top": top, "width": inner.shape[1], "height": inner.shape[0]}
    return "mask", {
        "label": CLASS_NAMES[label],
        "rle": ", ".join(map(str, counts)),
        **{key: str(value) for key, value in keys.items()},
    }
