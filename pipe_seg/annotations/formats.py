"""The annotation formats by name: readers of sources and writers for annotation tools."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from pipe_seg.annotations import coco, cvat, labelme, labelstudio, masks, raster, roboflow, via, voc, yolo
from pipe_seg.annotations.classes import Classes
from pipe_seg.annotations.shapes import Size
from pipe_seg.annotations.source import LabelledFrame, Source
from pipe_seg.schema import CLASS_NAMES, Annotation, Box, Polygon

Reader = Callable[[Source, Classes], Iterator[LabelledFrame]]
NamedAnnotation = tuple[str, Size, Annotation]

READERS: dict[str, Reader] = {
    "yolo": yolo.read_source,
    "voc": voc.read_source,
    "coco": coco.read_source,
    "labelme": labelme.read_source,
    "via": via.read_source,
    "cvat": cvat.read_source,
    "labelstudio": labelstudio.read_source,
    "roboflow": roboflow.read_source,
    "masks": masks.read_source,
}


def write(form: str, frames: Iterable[NamedAnnotation], out: Path) -> list[str]:
    """Writes label files into ``out`` and returns what the format cannot store, one sentence each.

    COCO and CVAT get one file for all frames, LabelMe and YOLO one file per frame.
    """
    lost: list[str] = []
    frames = [(name, size, _traced(name, size, annotation, lost)) for name, size, annotation in frames]
    if form == "coco":
        content = coco.written(frames, {"description": "pipe-seg"})
        (out / "instances.json").write_text(json.dumps(content) + "\n", "utf-8")
    if form == "cvat":
        (out / "annotations.xml").write_bytes(cvat.encode(frames))
    if form == "labelme":
        for name, size, annotation in frames:
            text = json.dumps(labelme.encode(Path(name).name, size, annotation), indent=2)
            (out / Path(name).with_suffix(".json")).write_text(text + "\n", "utf-8")
    if form == "yolo":
        _write_yolo(frames, out, lost)
    return lost


def _traced(name: str, size: Size, annotation: Annotation, lost: list[str]) -> Annotation:
    """Returns the shapes; a mask that differs from them becomes polygons of the frame's class."""
    shapes = Annotation(annotation.boxes, annotation.polygons, annotation.regions)
    rotated = sum(shape.coarse for shape in annotation.polygons)
    if rotated:
        lost.append(f"{name}: {rotated} rotated boxes written as four-point polygons")
    mask = annotation.mask
    if mask is None or (shapes.is_contour and np.array_equal(raster.rasterise(shapes, *size), mask)):
        return shapes
    if len(annotation.labels) > 1 and shapes.is_contour:
        lost.append(f"{name}: mask and contours differ and have several classes: only the contours are written")
        return shapes
    if len(annotation.labels) != 1 and mask.any():
        lost.append(f"{name}: the mask has no single class: written as {CLASS_NAMES[0]}")
    label = annotation.labels[0] if len(annotation.labels) == 1 else 0
    return Annotation(annotation.boxes, raster.trace(mask, label))


def _write_yolo(frames: Iterable[NamedAnnotation], out: Path, lost: list[str]) -> None:
    (out / "classes.txt").write_text("\n".join(CLASS_NAMES) + "\n", "utf-8")
    for name, size, annotation in frames:
        traced = [shape for region in annotation.regions for shape in raster.trace(raster.pixels(region), region.label)]
        polygons: list[Polygon] = [*annotation.polygons, *traced]
        holes = sum(len(shape.holes) for shape in polygons)
        if holes:
            lost.append(f"{name}: {holes} holes filled: YOLO cannot store holes")
        shapes: list[Box | Polygon] = [*annotation.boxes, *polygons]
        text = "".join(f"{yolo.line(shape, size)}\n" for shape in shapes)
        (out / Path(name).with_suffix(".txt")).write_text(text, "utf-8")
