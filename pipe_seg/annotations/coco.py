"""COCO: one JSON file for many frames; boxes, polygons or run-length masks."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pycocotools import mask as coco_mask
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StrictInt, StrictStr

from pipe_seg.annotations import documents, names, raster, shapes
from pipe_seg.annotations.classes import Classes
from pipe_seg.annotations.shapes import ShapeError, Size
from pipe_seg.annotations.source import LabelledFrame, Source, split_in_name
from pipe_seg.errors import InputDataError, Problem
from pipe_seg.schema import CLASS_NAMES, Annotation, Box, Polygon, Region

Points = Annotated[list[FiniteFloat], Field(max_length=2 * shapes.MAX_VERTICES)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class RunLengths(_Part):
    """A run-length encoded mask; ``counts`` is a list or COCO's compressed text."""

    size: Annotated[list[StrictInt], Field(min_length=2, max_length=2)]
    counts: Annotated[list[StrictInt], Field(max_length=20_000_000)] | StrictStr


class Image(_Part):
    """One frame."""

    id: StrictInt | StrictStr
    file_name: Any
    width: int
    height: int


class Category(_Part):
    """One class."""

    id: StrictInt
    name: StrictStr


class Object(_Part):
    """One object on one frame."""

    id: StrictInt | StrictStr | None = None
    image_id: StrictInt | StrictStr
    category_id: StrictInt
    bbox: Annotated[list[FiniteFloat], Field(max_length=4)] | None = None
    segmentation: list[Points] | RunLengths | None = None
    iscrowd: int = 0
    attributes: dict[str, Any] = {}
    mask_source: Any = None


class Coco(_Part):
    """The file."""

    images: list[Image]
    annotations: list[Object]
    categories: list[Category]


def read_source(source: Source, classes: Classes) -> Iterator[LabelledFrame]:
    """Yields the annotation of every image that a JSON file lists."""
    for path in source.labels(".json"):
        split = source.split(path) or split_in_name(path)
        yield from read(path, source, classes, split)


def read(path: Path, source: Source, classes: Classes, split: str | None) -> Iterator[LabelledFrame]:
    """Yields the annotations of one file."""
    with source.collect_problems(path):
        coco = documents.read_json(path, Coco)
        _check_ids(path, coco)
        categories = {category.id: category.name for category in coco.categories}
        objects = _by_image(coco)
        for index, image in enumerate(coco.images):
            pointer = f"/images/{index}"
            with source.collect_problems(path, pointer=pointer):
                frame = source.frame(image.file_name, Problem(path, "", pointer=f"{pointer}/file_name"))
                size = source.size(frame)
                if size != (image.height, image.width):
                    declared, actual = f"{image.width}x{image.height}", f"{size[1]}x{size[0]}"
                    raise ShapeError("size differs from the image file", declared, actual)
                labelled = annotation(path, objects[image.id], categories, classes, size)
                yield LabelledFrame(frame, labelled, path, split or source.split(frame))


def annotation(
    path: Path,
    objects: Sequence[tuple[int, Object]],
    categories: Mapping[int, str],
    classes: Classes,
    size: Size,
) -> Annotation:
    """Returns the annotation of one frame of ``size`` (height, width) in pixels.

    Raises:
        InputDataError: Objects cannot be used; one problem per object.
    """
    found: list[Box | Polygon | Region] = []
    problems = []
    for index, item in objects:
        try:
            label = classes.label(categories[item.category_id])
            if label is not None:
                found.extend(_shapes(item, size, label, str(index)))
        except ShapeError as error:
            problems.append(error.at(path, pointer=f"/annotations/{index}"))
    if problems:
        raise InputDataError(*problems)
    return Annotation.of(found)


def lazy_annotations(path: Path) -> dict[str, partial[Annotation]]:
    """Returns for each file name a function from frame size to annotation.

    Raises:
        InputDataError: The file cannot be used.
    """
    coco = documents.read_json(path, Coco)
    _check_ids(path, coco)
    categories = {category.id: category.name for category in coco.categories}
    objects = _by_image(coco)
    return {
        names.relative(image.file_name, Problem(path, "", pointer=f"/images/{index}/file_name")).name: partial(
            annotation, path, objects[image.id], categories, Classes()
        )
        for index, image in enumerate(coco.images)
    }


def _by_image(coco: Coco) -> dict[int | str, list[tuple[int, Object]]]:
    objects: dict[int | str, list[tuple[int, Object]]] = defaultdict(list)
    for index, item in enumerate(coco.annotations):
        objects[item.image_id].append((index, item))
    return objects


def _shapes(item: Object, size: Size, label: int, instance: str) -> list[Box | Polygon | Region]:
    if isinstance(item.segmentation, RunLengths):
        refined = [replace(_box(item, size, label), refined=True)] if item.mask_source == "refined" else []
        return [*refined, _region(item.segmentation, size, label)]
    if item.iscrowd:
        raise ShapeError("crowd object is a polygon", expected="run lengths where iscrowd is 1")
    if item.segmentation is not None and (item.segmentation or item.bbox is None):
        if not item.segmentation or any(len(points) % 2 or len(points) < 6 for points in item.segmentation):
            lengths = [len(points) for points in item.segmentation]
            raise ShapeError("not a contour", f"{lengths} numbers", "x1, y1, x2, y2, x3, y3, …")
        parts = (np.array(points).reshape(-1, 2) for points in item.segmentation)
        return [shapes.polygon(points, size, label, instance) for points in parts]
    degrees = item.attributes.get("rotation", 0)
    if not degrees:
        return [_box(item, size, label)]
    if not isinstance(degrees, int | float):
        raise ShapeError("rotation is not a number", degrees, "degrees")
    left, top, right, bottom = _corners(item)
    rotated = shapes.rotated(
        shapes.rectangle((left, top, right, bottom)), ((left + right) / 2, (top + bottom) / 2), float(degrees)
    )
    return [shapes.polygon(rotated, size, label, coarse=True)]


def _box(item: Object, size: Size, label: int) -> Box:
    return shapes.box(_corners(item), size, label)


def _corners(item: Object) -> tuple[float, float, float, float]:
    if item.bbox is None:
        raise ShapeError("object without a shape", expected="segmentation or bbox")
    if len(item.bbox) != 4:
        raise ShapeError("not a box", item.bbox, "x, y, width, height")
    x, y, width, height = item.bbox
    return x, y, x + width, y + height


def _region(encoded: RunLengths, size: Size, label: int) -> Region:
    if tuple(encoded.size) != size:
        raise ShapeError("run-length mask of another size", encoded.size, f"size {list(size)}")
    counts = encoded.counts if isinstance(encoded.counts, list) else _decompressed(encoded.counts, size)
    return shapes.region(counts, size, label)


def _decompressed(text: str, size: Size) -> list[int]:
    """Returns run lengths from COCO's text: 5 bits per character; from the third on, differences."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30 or len(counts) > size[0] * size[1]:
            raise ShapeError("not compressed run lengths", text, "counts as COCO writes them")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) and 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ShapeError("compressed run lengths are truncated", text)
    return counts


def _check_ids(path: Path, coco: Coco) -> None:
    problems = []
    for name in ("images", "categories", "annotations"):
        seen: set[Any] = set()
        for index, item in enumerate(getattr(coco, name)):
            if item.id is not None and item.id in seen:
                problems.append(Problem(path, "duplicate id", got=item.id, pointer=f"/{name}/{index}/id"))
            seen.add(item.id)
    known: dict[str, set[Any]] = {
        "image_id": {image.id for image in coco.images},
        "category_id": {c.id for c in coco.categories},
    }
    for index, item in enumerate(coco.annotations):
        for key, ids in known.items():
            if getattr(item, key) not in ids:
                pointer = f"/annotations/{index}/{key}"
                problems.append(Problem(path, f"unknown {key}", got=getattr(item, key), pointer=pointer))
    if problems:
        raise InputDataError(*problems)


def written(frames: Iterable[tuple[str, Size, Annotation]], info: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the file's content; shapes with holes become run lengths.

    Args:
        frames: File name, (height, width) in pixels and annotation of each frame.
        info: Content of COCO's ``info``.
    """
    listed: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for number, (name, size, labelled) in enumerate(frames, 1):
        listed.append({"id": number, "file_name": name, "height": size[0], "width": size[1]})
        for body in _bodies(labelled, size):
            objects.append({"id": len(objects) + 1, "image_id": number, "iscrowd": 0, **body})
    categories = [{"id": index, "name": name} for index, name in enumerate(CLASS_NAMES, 1)]
    return {"info": dict(info), "images": listed, "annotations": objects, "categories": categories}


def _bodies(labelled: Annotation, size: Size) -> Iterator[dict[str, Any]]:
    refined = iter(labelled.regions if labelled.is_refined else ())
    for box in labelled.boxes:
        x, y = box.x_min * size[1], box.y_min * size[0]
        width, height = (box.x_max - box.x_min) * size[1], (box.y_max - box.y_min) * size[0]
        body: dict[str, Any] = {"category_id": box.label + 1, "area": width * height}
        if box.refined:
            body = {**_run_lengths(next(refined), size), "mask_source": "refined"}
        yield {**body, "bbox": [x, y, width, height]}
    regions = () if labelled.is_refined else labelled.regions
    for region in (*regions, *(_filled(shape, size) for shape in labelled.polygons if shape.holes)):
        yield _run_lengths(region, size)
    for parts in _instances(labelled.polygons):
        points = np.concatenate([part.points for part in parts])
        low, high = points.min(0), points.max(0)
        mask = np.bitwise_or.reduce([raster.fill((part.points,), *size) for part in parts])
        yield {
            "category_id": parts[0].label + 1,
            "segmentation": [part.points.reshape(-1).tolist() for part in parts],
            "bbox": [*low.tolist(), *(high - low).tolist()],
            "area": int(mask.sum()),
        }


def _run_lengths(region: Region, size: Size) -> dict[str, Any]:
    encoded = coco_mask.frPyObjects({"size": list(size), "counts": list(region.counts)}, *size)
    return {
        "category_id": region.label + 1,
        "segmentation": {"size": list(size), "counts": encoded["counts"].decode("ascii")},
        "bbox": coco_mask.toBbox(encoded).tolist(),
        "area": int(sum(region.counts[1::2])),
    }


def _filled(shape: Polygon, size: Size) -> Region:
    return raster.region(raster.fill((shape.points, *shape.holes), *size), shape.label)


def _instances(polygons: Iterable[Polygon]) -> list[list[Polygon]]:
    """Returns the polygons without holes, grouped by object."""
    found: dict[Any, list[Polygon]] = defaultdict(list)
    for number, shape in enumerate(polygons):
        if not shape.holes:
            found[(shape.instance, shape.label) if shape.instance is not None else number].append(shape)
    return list(found.values())
