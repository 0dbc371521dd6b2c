"""Label Studio's JSON export: polygons, rectangles and ellipses in percent, brush strokes as runs."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StrictInt, StrictStr

from pipe_seg.annotations import documents, raster, shapes
from pipe_seg.annotations.classes import Classes
from pipe_seg.annotations.shapes import ShapeError, Size
from pipe_seg.annotations.source import LabelledFrame, Source
from pipe_seg.errors import InputDataError, Problem
from pipe_seg.schema import Annotation, Box, Polygon, Region

UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-")
RUN_CHANNELS = 4
KINDS = {"rectanglelabels": "rectangle", "polygonlabels": "polygon", "ellipselabels": "ellipse", "brushlabels": "brush"}
SHAPES = ("rectangle", "polygon", "ellipse", "brush")
NOT_DRAWN = (
    "relation",
    "choices",
    "textarea",
    "rating",
    "number",
    "taxonomy",
    "datetime",
    "labels",
    "pairwise",
    "ranker",
)

Points = Annotated[list[Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)]], Field(max_length=10_000)]

log = logging.getLogger(__name__)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Value(_Part):
    """One shape, in percent of the frame."""

    x: FiniteFloat | None = None
    y: FiniteFloat | None = None
    width: FiniteFloat | None = None
    height: FiniteFloat | None = None
    rotation: FiniteFloat = 0.0
    radius_x: FiniteFloat | None = Field(None, alias="radiusX")
    radius_y: FiniteFloat | None = Field(None, alias="radiusY")
    points: Points | None = None
    rle: list[StrictInt] | None = None
    rectanglelabels: list[StrictStr] = []
    polygonlabels: list[StrictStr] = []
    ellipselabels: list[StrictStr] = []
    brushlabels: list[StrictStr] = []
    labels: list[StrictStr] = []


class Result(_Part):
    """One object."""

    type: StrictStr
    id: StrictStr | None = None
    value: dict[str, Any] = {}
    original_width: StrictInt | None = None
    original_height: StrictInt | None = None


class Completion(_Part):
    """What one annotator drew."""

    result: list[Result]
    was_cancelled: bool = False
    ground_truth: bool = False
    updated_at: StrictStr = ""


class Task(_Part):
    """One frame."""

    data: dict[str, Any]
    annotations: list[Completion]


def read_source(source: Source, classes: Classes) -> Iterator[LabelledFrame]:
    """Give the drawing of every task; of several annotators' the ground truth's counts, else the newest."""
    for path in source.labels(".json"):
        with source.noting(path):
            content = documents.parse_json(path, documents.read_text(path, "utf-8"))
            if not isinstance(content, list):
                raise InputDataError(Problem(path, "not a Label Studio export", expected="a list of tasks"))
            for index, item in enumerate(content):
                with source.noting(path, pointer=f"/{index}"):
                    task = documents.fitted(path, item, Task, f"/{index}")
                    yield _drawing(source, path, task, index, classes)


def _drawing(source: Source, path: Path, task: Task, index: int, classes: Classes) -> LabelledFrame:
    frame = _frame(source, path, task, index)
    size = source.size(frame)
    kept = [done for done in task.annotations if not done.was_cancelled]
    if not kept:
        raise ShapeError("task nobody finished", expected="at least one annotation that was not cancelled")
    chosen = max(kept, key=lambda done: (done.ground_truth, done.updated_at))
    if len(kept) > 1:
        why = "the ground truth" if chosen.ground_truth else "the newest"
        what = f"{len(kept)} annotations of one frame: {why} counts"
        log.warning("%s", Problem(path, what, pointer=f"/{index}"))
    found: list[Box | Polygon | Region] = []
    for number, result in enumerate(chosen.result):
        pointer = f"/{index}/annotations/{task.annotations.index(chosen)}/result/{number}"
        with source.noting_object(path, pointer=pointer):
            if result.type in NOT_DRAWN:
                continue
            kind = KINDS.get(result.type, result.type)
            if kind not in SHAPES:
                raise ShapeError("shape of another kind", result.type, ", ".join([*KINDS, *SHAPES]))
            value = documents.fitted(path, result.value, Value, f"{pointer}/value")
            names = getattr(value, result.type, None) or value.labels or _labels(chosen, result.id)
            found += _shapes(result, kind, value, names, size, classes)
    return LabelledFrame(
        frame,
        Annotation.of(found),
        path,
        source.split(frame),
    )


def _frame(source: Source, path: Path, task: Task, index: int) -> Path:
    """Find the frame: by the last step of its address, with or without the eight digits an upload puts before."""
    address = task.data.get("image") or next(iter(task.data.values()), None)
    problem = Problem(path, "", pointer=f"/{index}/data/image")
    if not isinstance(address, str):
        raise InputDataError(Problem(path, "task without an image", got=address, pointer=problem.pointer))
    parts = urlsplit(address)
    name = PurePosixPath(unquote(parts.query.removeprefix("d=") if parts.path.endswith("local-files/") else parts.path))
    if ".." in name.parts:
        return source.frame(address, problem)
    try:
        return source.frame(name.name, problem)
    except InputDataError:
        if not UPLOAD_PREFIX.match(name.name):
            raise
    return source.frame(UPLOAD_PREFIX.sub("", name.name, count=1), problem)


def _labels(done: Completion, identity: str | None) -> list[str]:
    """Give the labels that a project with separate labels keeps in a result of the shape's id."""
    twins = [result for result in done.result if result.type == "labels" and result.id == identity]
    return [str(name) for result in twins for name in result.value.get("labels", [])]


def _shapes(
    result: Result, kind: str, value: Value, names: list[str], size: Size, classes: Classes
) -> list[Box | Polygon | Region]:
    if len(names) != 1:
        raise ShapeError("not one class", names, "one label an object")
    label = classes.label(names[0])
    if label is None:
        return []
    told = (result.original_height or size[0], result.original_width or size[1])
    if told != size:
        raise ShapeError("size of another frame", f"{told[1]}x{told[0]}", f"{size[1]}x{size[0]}")
    return [_shape(kind, value, size, label)]


def _shape(kind: str, value: Value, size: Size, label: int) -> Box | Polygon | Region:
    scale = np.array([size[1], size[0]], np.float64) / 100
    if kind == "polygon":
        return shapes.polygon(np.array(value.points or [], np.float64).reshape(-1, 2) * scale, size, label)
    if kind == "brush":
        return raster.region(_brush(value.rle or [], size), label)
    if value.x is None or value.y is None:
        raise ShapeError(f"not a {kind}", expected="x and y in percent")
    corner = np.array([value.x, value.y]) * scale
    if kind == "ellipse":
        radii = np.array([value.radius_x or 0.0, value.radius_y or 0.0]) * scale
        return shapes.polygon(shapes.ellipse(corner.tolist(), radii.tolist(), value.rotation), size, label)
    corners = [*corner, *(corner + np.array([value.width or 0.0, value.height or 0.0]) * scale)]
    if not value.rotation:
        return shapes.box(corners, size, label)
    points = shapes.turned(shapes.rectangle(corners), corner.tolist(), value.rotation)
    return shapes.polygon(points, size, label, coarse=True)


def _brush(rle: list[int], size: Size) -> np.ndarray:
    """Give (height, width) {0, 1} from runs of RGBA bytes: what has any opacity was painted.

    The runs are a stream of bits: 32 for the length, 5 for the width of a value, four times 4 for the widths
    of run lengths; then blocks of a flag (one value repeated, or values), which width, length, value(s).
    """
    if any(not 0 <= byte < 256 for byte in rle):
        raise ShapeError("not brush runs", expected="bytes of 0…255")
    bits = "".join(f"{byte:08b}" for byte in rle)
    place = 0

    def take(count: int) -> int:
        nonlocal place
        place += count
        if place > len(bits):
            raise ShapeError("brush runs cut short")
        return int(bits[place - count : place], 2)

    total = take(32)
    if total != size[0] * size[1] * RUN_CHANNELS:
        raise ShapeError("not the runs of this frame", total, f"{size[0] * size[1] * RUN_CHANNELS} bytes")
    width = take(5) + 1
    lengths = [take(4) + 1 for _ in range(4)]
    values = np.zeros(total, np.uint8)
    done = 0
    while done < total:
        repeated, length = take(1), take(lengths[take(2)]) + 1
        if done + length > total:
            raise ShapeError("not the runs of this frame", done + length, f"{total} bytes")
        values[done : done + length] = take(width) if repeated else [take(width) for _ in range(length)]
        done += length
    return (values.reshape(*size, RUN_CHANNELS)[..., 3] > 0).astype(np.uint8)
