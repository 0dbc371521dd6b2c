"""LabelMe: one JSON file per frame; polygons, rectangles, circles and pixel masks."""

import base64
import binascii
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StrictInt, StrictStr

from pipe_seg import images
from pipe_seg.annotations import documents, raster, shapes
from pipe_seg.annotations.classes import Classes
from pipe_seg.annotations.shapes import ShapeError, Size
from pipe_seg.annotations.source import LabelledFrame, Source
from pipe_seg.errors import InputDataError, Problem
from pipe_seg.schema import CLASS_NAMES, Annotation, Box, Polygon, Region

Pair = Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)]


class Shape(BaseModel):
    """One object."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    label: StrictStr
    points: Annotated[list[Pair], Field(max_length=shapes.MAX_VERTICES)]
    shape_type: StrictStr = "polygon"
    group_id: StrictInt | None = None
    mask: StrictStr | None = None


class LabelMe(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, populate_by_name=True)

    shapes: Annotated[list[Shape], Field(max_length=shapes.MAX_OBJECTS)]
    image_path: Any = Field(alias="imagePath")
    height: StrictInt | None = Field(None, alias="imageHeight")
    width: StrictInt | None = Field(None, alias="imageWidth")


def read_source(source: Source, classes: Classes) -> Iterator[LabelledFrame]:
    """Yields the annotation of every JSON file; an embedded image is ignored, the frame file counts."""
    for path in source.labels(".json"):
        with source.collect_problems(path):
            content = documents.read_json(path, LabelMe)
            frame = source.frame(content.image_path, Problem(path, "", pointer="/imagePath"))
            if frame.stem != path.stem:
                expected = f"{path.stem}.jpg, like the label file"
                raise InputDataError(Problem(path, "label file of another frame", None, frame.name, expected))
            size = source.size(frame)
            if (content.height or size[0], content.width or size[1]) != size:
                declared = f"{content.width}x{content.height}"
                raise ShapeError("size differs from the image file", declared, f"{size[1]}x{size[0]}")
            annotation = _annotation(source, path, content, size, classes)
            yield LabelledFrame(frame, annotation, path, source.split(frame) or source.split(path))


def _annotation(source: Source, path: Path, content: LabelMe, size: Size, classes: Classes) -> Annotation:
    found: list[Box | Polygon | Region] = []
    for index, shape in enumerate(content.shapes):
        with source.collect_object_problems(path, pointer=f"/shapes/{index}"):
            label = classes.label(shape.label)
            if label is not None:
                found.append(_shape(shape, size, label))
    return Annotation.of(found)


def _shape(shape: Shape, size: Size, label: int) -> Box | Polygon | Region:
    points = np.array(shape.points, np.float64).reshape(-1, 2)
    if shape.shape_type in ("rectangle", "circle", "mask") and len(points) != 2:
        raise ShapeError(f"not a {shape.shape_type}", f"{len(points)} points", "2 points")
    if shape.shape_type == "rectangle":
        return shapes.box([*points.min(0), *points.max(0)], size, label)
    if shape.shape_type == "circle":
        radius = float(np.hypot(*(points[1] - points[0])))
        return shapes.polygon(shapes.ellipse(points[0].tolist(), (radius, radius)), size, label)
    if shape.shape_type == "mask":
        return _mask(shape, points, size, label)
    if shape.shape_type != "polygon":
        raise ShapeError("shape without an area", shape.shape_type, "polygon, rectangle, circle or mask")
    return shapes.polygon(points, size, label, None if shape.group_id is None else str(shape.group_id))


def _mask(shape: Shape, points: np.ndarray, size: Size, label: int) -> Region:
    try:
        pixels = images.decode(base64.b64decode(shape.mask or "", validate=True), images.AS_STORED, images.MASK_FORMATS)
    except (ValueError, binascii.Error) as error:
        raise ShapeError(f"mask cannot be read: {error}") from error
    if pixels.ndim != 2:
        raise ShapeError("mask in colour", expected="one channel")
    left, top = np.round(points.min(0)).astype(int).tolist()
    bottom, right = top + pixels.shape[0], left + pixels.shape[1]
    if min(left, top) < 0 or bottom > size[0] or right > size[1]:
        raise ShapeError("mask outside the frame", [left, top, right, bottom], f"within {size[1]}x{size[0]}")
    whole = np.zeros(size, np.uint8)
    whole[top:bottom, left:right] = pixels > 0
    return raster.region(whole, label)


def encode(name: str, size: Size, annotation: Annotation) -> dict[str, Any]:
    """Returns the file's content for one frame; shapes with holes become masks."""
    bodies: list[dict[str, Any]] = []
    for box in annotation.boxes:
        corners = [[box.x_min * size[1], box.y_min * size[0]], [box.x_max * size[1], box.y_max * size[0]]]
        bodies.append(_body(box.label, corners, "rectangle"))
    numbers = {name: i for i, name in enumerate(sorted({p.instance for p in annotation.polygons if p.instance}))}
    for shape in annotation.polygons:
        if shape.holes:
            bodies.append(_mask_body(raster.fill((shape.points, *shape.holes), *size), shape.label))
        else:
            group = numbers[shape.instance] if shape.instance else None
            bodies.append(_body(shape.label, shape.points.tolist(), "polygon", group=group))
    bodies += [_mask_body(raster.pixels(region), region.label) for region in annotation.regions]
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": bodies,
        "imagePath": name,
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }


def _mask_body(mask: np.ndarray, label: int) -> dict[str, Any]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom, left, right = (rows[0], rows[-1], columns[0], columns[-1]) if len(rows) else (0, 1, 0, 1)
    data = base64.b64encode(_png(mask[top : bottom + 1, left : right + 1])).decode("ascii")
    return _body(label, [[int(left), int(top)], [int(right), int(bottom)]], "mask", mask=data)


def _png(mask: np.ndarray) -> bytes:
    return images.encode(np.ascontiguousarray(mask) * 255, ".png")


def _body(label: int, points: list[list[float]], kind: str, **more: Any) -> dict[str, Any]:
    body: Mapping[str, Any] = {"group_id": more.get("group"), "description": "", "flags": {}, "mask": more.get("mask")}
    return {"label": CLASS_NAMES[label], "points": points, "shape_type": kind, **body}
