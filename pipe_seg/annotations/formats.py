"""The formats by name: how to read a source, how to write frames for a tool."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pipe_seg.annotations import coco, cvat, labelme, labelstudio, masks, raster, roboflow, via, voc, yolo
from pipe_seg.annotations.classes import Classes
from pipe_seg.annotations.shapes import Size
from pipe_seg.annotations.source import Drawing, Source
from pipe_seg.schema import CLASS_NAMES, Annotation, Box, Polygon

Reader = Callable[[Source, Classes], Iterator[Drawing]]
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
WRITERS = ("coco", "labelme", "cvat", "yolo")


def write(form: str, frames: Iterable[Written], out: Path) -> list[str]:
    """Write label files for frames (name, size, annotation) into ``out``; give what could not be kept.

    COCO and CVAT are one file, LabelMe and YOLO one a frame. What the format cannot hold is told, a sentence
    for each frame and reason.
    """
    frames = [(name, size, _traced(size, drawn)) for name, size, drawn in frames]
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
        return _write_yolo(frames, out)
    return []


def _traced(size: Size, drawn: Annotation) -> Annotation:
    """Give a picture of the whole frame as regions, of the one class its shapes have, else of the first."""
    if drawn.mask is None or drawn.polygons or drawn.regions:
        return Annotation(drawn.boxes, drawn.polygons, drawn.regions)
    label = drawn.boxes[0].label if drawn.boxes else 0
    return Annotation(drawn.boxes, raster.trace(drawn.mask, label))


def _write_yolo(frames: Iterable[Written], out: Path) -> list[str]:
    lost = []
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
    return lost
