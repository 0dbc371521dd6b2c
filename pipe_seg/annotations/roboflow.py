"""Roboflow exports: folders ``train``, ``valid`` and ``test`` with COCO, YOLO or VOC labels."""

from collections.abc import Iterator

from pipe_seg.annotations import coco, voc, yolo
from pipe_seg.annotations.classes import Classes
from pipe_seg.annotations.source import LabelledFrame, Source
from pipe_seg.errors import InputDataError, Problem


def read_source(source: Source, classes: Classes) -> Iterator[LabelledFrame]:
    """Returns the annotations, read in the format of the export."""
    if source.labels(".json"):
        return coco.read_source(source, classes)
    if source.labels(".xml"):
        return voc.read_source(source, classes)
    if any(source.root.rglob("data.yaml")):
        return yolo.read_source(source, classes)
    raise InputDataError(
        Problem(source.path, "not a Roboflow export", expected="_annotations.coco.json, data.yaml or VOC files inside")
    )
