"""The formats by name: how to read a source, how to write frames for a tool."""

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
Written = tuple[str, Size, Annotation]

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


def write(form: str, frames: Iterable[Written], out: Path) -> list[str]:
    """Write label files for frames (name, size, annotation) into ``out``; give what could not be kept.

    COCO and CVAT are one file, LabelMe and YOLO one a frame. What the format cannot hold is told, a sentence
    for each frame and reason.
    """
    lost: list[str] = []
    frames = [(name, size, _traced(name, size, drawn, lost)) for name, size, drawn in frames]
    if form == "coco":
        content = coco.written(frames, {"description": "pipe-seg"})
        (out / "instances.json").write_text(json.dumps(content) + "\n", "utf-8")
    if form == "cvat":
        (out / "annotations.xml").write_bytes(cvat.written(frames))
    if form == "labelme":
        for name, size, drawn in frames:
            text = json.dumps(labelme.written(Path(name).name, size, drawn), indent=2)
            (out / Path(name).with_suffix(".json")).write_text(text + "\n", "utf-8")
    if form == "yolo":
        _write_yolo(frames, out, lost)
    return lost


def _traced(name: str, size: Size, drawn: Annotation, lost: list[str]) -> Annotation:
    """Give a mask's pixels as polygons of the class its frame has, unless the shapes say the same already."""
    shapes = Annotation(drawn.boxes, drawn.polygons, drawn.regions)
    turned = sum(shape.coarse for shape in drawn.polygons)
    if turned:
        lost.append(f"{name}: {turned} turned boxes written as polygons of four points")
    if drawn.mask is None or (shapes.is_contour and np.array_equal(raster.rasterise(shapes, *size), drawn.mask)):
        return shapes
    if len(drawn.labels) > 1 and shapes.is_contour:
        lost.append(f"{name}: mask and contours differ and show several classes: the contours are written")
        return shapes
    if len(drawn.labels) != 1 and drawn.mask.any():
        lost.append(f"{name}: the mask has no class of its own: written as {CLASS_NAMES[0]}")
    label = drawn.labels[0] if len(drawn.labels) == 1 else 0
    return Annotation(drawn.boxes, raster.trace(drawn.mask, label))


def _write_yolo(frames: Iterable[Written], out: Path, lost: list[str]) -> None:
    (out / "classes.txt").write_text("\n".join(CLASS_NAMES) + "\n", "utf-8")
    for name, size, drawn in frames:
        whole = [shape for region in drawn.regions for shape in raster.trace(raster.pixels(region), region.label)]
        polygons: list[Polygon] = [*drawn.polygons, *whole]
        holes = sum(len(shape.holes) for shape in polygons)
        if holes:
            lost.append(f"{name}: {holes} holes filled, YOLO has none")
        shapes: list[Box | Polygon] = [*drawn.boxes, *polygons]
        text = "".join(f"{yolo.line(shape, size)}\n" for shape in shapes)
        (out / Path(name).with_suffix(".txt")).write_text(text, "utf-8")
