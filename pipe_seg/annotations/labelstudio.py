"""Label Studio's JSON export: shapes in percent of the frame, brush strokes as run lengths."""

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
NON_SHAPE_TYPES = (
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
    """The shapes of one annotator."""

    result: list[Result]
    was_cancelled: bool = False
    ground_truth: bool = False
    updated_at: StrictStr = ""


class Task(_Part):
    """One frame."""

    data: dict[str, Any]
    annotations: list[Completion]


def read_source(source: Source, classes: Classes) -> Iterator[LabelledFrame]:
    """Yields the annotation of every task: of several annotators, the ground truth, else the newest."""
    for path in source.labels(".json"):
        with source.collect_problems(path):
            content = documents.parse_json(path, documents.read_text(path, "utf-8"))
            if not isinstance(content, list):
                raise InputDataError(Problem(path, "not a Label Studio export", expected="a list of tasks"))
            for index, item in enumerate(content):
                with source.collect_problems(path, pointer=f"/{index}"):
                    task = documents.validated(path, item, Task, f"/{index}")
                    yield _labelled_frame(source, path, task, index, classes)


def _labelled_frame(source: Source, path: Path, task: Task, index: int, classes: Classes) -> LabelledFrame:
    frame = _frame(source, path, task, index)
    size = source.size(frame)
    kept = [done for done in task.annotations if not done.was_cancelled]
    if not kept:
        raise ShapeError("task without a finished annotation", expected="at least one that was not cancelled")
    chosen = max(kept, key=lambda done: (done.ground_truth, done.updated_at))
    if len(kept) > 1:
        why = "the ground truth" if chosen.ground_truth else "the newest"
        what = f"{len(kept)} annotations of one frame: using {why}"
        log.warning("%s", Problem(path, what, pointer=f"/{index}"))
    found: list[Box | Polygon | Region] = []
    for number, result in enumerate(chosen.result):
        pointer = f"/{index}/annotations/{task.annotations.index(chosen)}/result/{number}"
        with source.collect_object_problems(path, pointer=pointer):
            if result.type in NON_SHAPE_TYPES:
                continue
            kind = KINDS.get(result.type, result.type)
            if kind not in SHAPES:
                raise ShapeError("unsupported shape type", result.type, ", ".join([*KINDS, *SHAPES]))
            value = documents.validated(path, result.value, Value, f"{pointer}/value")
            names = getattr(value, result.type, None) or value.labels or _labels(chosen, result.id)
            found += _shapes(result, kind, value, names, size, classes)
    return LabelledFrame(frame, Annotation.of(found), path, source.split(frame))


def _frame(source: Source, path: Path, task: Task, index: int) -> Path:
    """Returns the frame with the last part of the task's URL, with or without an upload's 8-digit prefix."""
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
    """Returns the class names that a separate ``labels`` result holds for the shape's id."""
    results = [result for result in done.result if result.type == "labels" and result.id == identity]
    return [str(name) for result in results for name in result.value.get("labels", [])]


def _shapes(
    result: Result, kind: str, value: Value, names: list[str], size: Size, classes: Classes
) -> list[Box | Polygon | Region]:
    if len(names) != 1:
        raise ShapeError("not exactly one class", names, "one label per object")
    label = classes.label(names[0])
    if label is None:
        return []
    declared = (result.original_height or size[0], result.original_width or size[1])
    if declared != size:
        raise ShapeError("size differs from the image file", f"{declared[1]}x{declared[0]}", f"{size[1]}x{size[0]}")
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
    points = shapes.rotated(shapes.rectangle(corners), corner.tolist(), value.rotation)
    return shapes.polygon(points, size, label, coarse=True)


def _brush(rle: list[int], size: Size) -> np.ndarray:
    """Returns `(height, width)` uint8 {0, 1} from run lengths of RGBA bytes: 1 where alpha > 0."""
    # Bit stream of Label Studio's brush export: 32 bits length in bytes, 5 bits value width - 1, four times 4 bits
    # run-length width - 1; then blocks of 1 bit (1: one repeated value), 2 bits width index, length - 1, value(s).
    if any(not 0 <= byte < 256 for byte in rle):
        raise ShapeError("not brush run lengths", expected="bytes of 0…255")
    bits = "".join(f"{byte:08b}" for byte in rle)
    position = 0

    def read_bits(count: int) -> int:
        nonlocal position
        position += count
        if position > len(bits):
            raise ShapeError("brush run lengths are truncated")
        return int(bits[position - count : position], 2)

    total = read_bits(32)
    if total != size[0] * size[1] * RUN_CHANNELS:
        raise ShapeError("run lengths do not fit the frame", total, f"{size[0] * size[1] * RUN_CHANNELS} bytes")
    width = read_bits(5) + 1
    lengths = [read_bits(4) + 1 for _ in range(4)]
    values = np.zeros(total, np.uint8)
    done = 0
    while done < total:
        repeated, length = read_bits(1), read_bits(lengths[read_bits(2)]) + 1
        if done + length > total:
            raise ShapeError("run lengths do not fit the frame", done + length, f"{total} bytes")
        values[done : done + length] = read_bits(width) if repeated else [read_bits(width) for _ in range(length)]
        done += length
    return (values.reshape(*size, RUN_CHANNELS)[..., 3] > 0).astype(np.uint8)
