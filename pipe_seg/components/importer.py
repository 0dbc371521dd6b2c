"""Other people's label files → the layout of ``datasets/``; and back, for a tool to correct them."""

import hashlib
import json
import logging
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipe_seg import artifacts, disk, images
from pipe_seg.annotations import coco, documents, folders, formats, frame_file, masks, prelabels, raster, source, yolo
from pipe_seg.annotations.classes import Classes
from pipe_seg.annotations.folders import Layout
from pipe_seg.annotations.shapes import Size
from pipe_seg.annotations.source import LabelledFrame, Source
from pipe_seg.artifacts import Dataset
from pipe_seg.errors import ConfigError, ConflictError, InputDataError, Problem, Tolerance
from pipe_seg.progress import OnProgress
from pipe_seg.schema import FOLDERS, Annotation

SPLIT_FOLDER = {split: names[0] for split, names in folders.SPLIT_FOLDERS.items()}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """What to import and how.

    ``dataset``: ``auto`` sends frames with contours to PS and frames with boxes to PBS; ``unlabelled``: what a
    frame that no label file names is; ``split``: where frames go whose source has no splits; ``prelabels``: the
    list of what a model drew, by default the one beside the labels.
    """

    form: str
    classes: Classes
    dataset: str = "auto"
    split: str = "train"
    unlabelled: str = "error"
    mask_threshold: int | None = None
    prelabels: Path | None = None
    tolerance: Tolerance = field(default_factory=Tolerance)


@dataclass(frozen=True)
class ImportedFrame:
    """One frame on its way into the layout; its bytes are read again when they are written."""

    image: Path
    sha256: str
    oddities: tuple[str, ...]
    annotation: Annotation
    size: Size
    origin: Path
    dataset: str
    split: str
    drawn_by: str | None = None


def run(order: Order, *, path: Path, frames_dir: Path | None, to: Path, report: OnProgress) -> list[Dataset]:
    """Imports a folder, a label file or a ZIP file into ``to``; returns the data sets written.

    Everything is read before anything is written; each data set appears whole or not at all.

    Raises:
        InputDataError: everything that cannot be used.
        RefusedError: what points outside, or is made to harm.
        ConflictError: there is a data set at ``to`` already.
    """
    if frames_dir and not frames_dir.is_dir():
        raise InputDataError(Problem(frames_dir, "not there", expected="the folder of the frames"))
    base = to.parent if to.name in FOLDERS.values() else to
    with source.opened(path, frames_dir) as found:
        taken = _signed(_taken(found, order, _drawings(found, order), report), found, order)
        for item in taken:
            _tell(item)
        with disk.locked(base):
            return _written(order, path, found, taken, base)


def _written(order: Order, path: Path, found: Source, taken: Sequence[ImportedFrame], base: Path) -> list[Dataset]:
    targets = {name: base / FOLDERS[name] for name in dict.fromkeys(item.dataset for item in taken)}
    there = [target for target in targets.values() if target.exists()]
    if there:
        cure = "another --to, or remove it first"
        raise ConflictError(*(Problem(target, "exists already", expected=cure) for target in there))
    for name, target in targets.items():
        with artifacts.writing(target, component="importer", details=_details(order, path, found)) as folder:
            _write(folder, [item for item in taken if item.dataset == name], name)
    return [Dataset(target) for target in targets.values()]


def _signed(taken: list[ImportedFrame], found: Source, order: Order) -> list[ImportedFrame]:
    """Returns the frames; prelabelled ones are marked as drawn by the model or changed by a person."""
    listed = order.prelabels or found.root / prelabels.NAME
    if not (order.prelabels or listed.is_file()):
        return taken
    drawn = prelabels.read(listed)
    same = {item.image for item in taken if prelabels.digest(item.annotation, item.size) == drawn.get(item.image.name)}
    if same:
        log.warning("%s", Problem(listed, f"{len(same)} frames of {len(taken)} are as the model drew them"))
    return [replace(item, drawn_by="model" if item.image in same else "person") for item in taken]


def _tell(item: ImportedFrame) -> None:
    """Reports what a person should know of a frame that can be used."""
    told = list(item.oddities)
    alone = folders.uncovered(item.annotation) if item.dataset == "ps" else []
    told += [f"box of {name} without a contour: trained as background" for name in alone]
    for what in told:
        log.warning("%s", Problem(item.image, what))


def _drawings(found: Source, order: Order) -> list[LabelledFrame]:
    """Read all label files; frames that none of them names are dealt with as ordered."""
    if order.form == "masks":
        drawings = list(masks.read_source(found, order.classes, order.mask_threshold))
    else:
        drawings = list(formats.READERS[order.form](found, order.classes))
    for frame, n in Counter(drawing.frame for drawing in drawings).items():
        if n > 1:
            _spoil(found, frame, Problem(frame, "labelled twice", expected="one label a frame"))
    named = {drawing.frame for drawing in drawings} | found.bad
    rest = [frame for frame in found.frames if frame not in named]
    if order.unlabelled == "error":
        for frame in rest:
            cure = "its label, or --unlabelled background|skip"
            _spoil(found, frame, Problem(frame, "frame without a label", expected=cure))
    if order.unlabelled == "background":
        drawings += [LabelledFrame(frame, Annotation(), frame, found.split(frame)) for frame in rest]
    if not drawings and not found.problems:
        wanted = f"frames and labels as {order.form} keeps them"
        raise InputDataError(Problem(found.path, "nothing to import", expected=wanted))
    return [drawing for drawing in drawings if drawing.frame not in found.bad]


def _spoil(found: Source, frame: Path, *problems: Problem | str) -> None:
    found.problems.extend(problems)
    found.bad.add(frame)


def _taken(found: Source, order: Order, drawings: Sequence[LabelledFrame], report: OnProgress) -> list[ImportedFrame]:
    """Checks every frame to the last byte and returns where it goes.

    Raises:
        InputDataError: all that is wrong, unless it may be left out.
    """
    contours = any(drawing.annotation.is_contour for drawing in drawings)
    taken = []
    for done, drawing in enumerate(drawings, 1):
        try:
            taken.append(_take(drawing, order, contours=contours))
        except InputDataError as error:
            _spoil(found, drawing.frame, *error.problems)
        report(done, len(drawings))
    for split in folders.SPLIT_FOLDERS:
        folders.check_names([item.image for item in taken if item.split == split])
    lost = len(found.bad) + found.loose
    if found.problems and (not taken or found.fatal or not order.tolerance.allows(lost, len(found.frames))):
        raise InputDataError(*found.problems)
    return taken


def _take(drawing: LabelledFrame, order: Order, *, contours: bool) -> ImportedFrame:
    data = documents.read_bytes(drawing.frame, images.MAX_BYTES)
    header = frame_file.checked(drawing.frame, data)
    drawn = drawing.annotation
    has_boxes = bool(drawn.boxes) or any(shape.coarse for shape in drawn.polygons)
    automatic = "ps" if drawn.is_contour or (contours and not has_boxes) else "pbs"
    dataset = automatic if order.dataset == "auto" else order.dataset
    if dataset == "ps" and has_boxes and not drawn.is_contour:
        raise InputDataError(Problem(drawing.frame, "boxes only, no contour", expected="--dataset auto or pbs"))
    return ImportedFrame(
        drawing.frame,
        hashlib.sha256(data).hexdigest(),
        tuple(header.oddities(drawing.frame.suffix)),
        drawn,
        (header.height, header.width),
        drawing.origin,
        dataset,
        drawing.split or order.split,
    )


def _details(order: Order, path: Path, found: Source) -> dict[str, Any]:
    """Returns the provenance that is kept with the data set."""
    digest = disk.digest_file(path) if path.is_file() else None
    return {
        "format": order.form,
        "source": str(path.absolute()),
        "source_sha256": digest,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "classes_renamed": dict(order.classes.renamed),
        "left_out": [str(problem) for problem in found.problems],
    }


def _write(folder: Path, taken: Sequence[ImportedFrame], name: str) -> None:
    mask_source = "contour" if name == "ps" else "box"
    for split, place in SPLIT_FOLDER.items():
        frames = sorted((item for item in taken if item.split == split), key=lambda item: item.image.name)
        if frames:
            for item in frames:
                _write_frame(folder, item, place, contour=name == "ps")
            listed = [(item.image.name, item.size, replace(item.annotation, mask=None)) for item in frames]
            info = {"description": "imported by pipe-seg", "mask_source": mask_source}
            content = coco.written(listed, info)
            for image, item in zip(content["images"], frames, strict=True):
                refined = item.annotation.is_refined
                image |= {"mask_source": "refined" if refined else mask_source, "origin": item.origin.name}
                image |= {"drawn_by": item.drawn_by} if item.drawn_by else {}
            _put(folder / "annotations" / f"instances_{place}.json", (json.dumps(content) + "\n").encode())


def _write_frame(folder: Path, item: ImportedFrame, place: str, *, contour: bool) -> None:
    stem = item.image.stem
    data = item.image.read_bytes()
    if hashlib.sha256(data).hexdigest() != item.sha256:
        raise InputDataError(Problem(item.image, "changed while it was imported", expected="the import run again"))
    _put(folder / "images" / place / item.image.name, data)
    boxes = item.annotation.boxes
    if item.annotation.is_refined:
        return
    drawn = replace(item.annotation, boxes=()) if contour else item.annotation
    if contour or drawn.mask is not None or drawn.polygons or drawn.regions:
        mask = raster.rasterise(drawn, *item.size)
        _put(folder / "masks" / place / f"{stem}_mask.png", images.encode(mask * 255, ".png"))
    if boxes or not (contour or drawn.mask is not None):
        text = "".join(f"{yolo.line(box, item.size)}\n" for box in boxes)
        _put(folder / "labels" / place / f"{stem}.txt", text.encode())


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def export(form: str, *, layout: Layout, out: Path) -> list[str]:
    """Writes a data set's labels and frames for a tool; returns what the format could not keep.

    Raises:
        InputDataError: every frame that cannot be used.
        ConflictError: there is something at ``out``.
    """
    if out.resolve().is_relative_to(layout.root.resolve()):
        raise ConfigError(Problem(out, "inside the data set that is exported", expected="another --to"))
    problems: list[Problem | str] = []
    found: dict[str, list[tuple[Path, Size, Annotation]]] = defaultdict(list)
    for path in layout.all_images():
        try:
            frame, drawn = layout.frame(path).load(documents.read_bytes(path, images.MAX_BYTES))
            drawn = replace(drawn, mask=None) if layout.mask_source == "box" and drawn.labels else drawn
            if drawn.is_refined:
                drawn = replace(drawn, boxes=tuple(box for box in drawn.boxes if not box.refined))
            size = (frame.segmentation_mask.shape[0], frame.segmentation_mask.shape[1])
            found[SPLIT_FOLDER.get(layout.split_of(path) or "", "")].append((path, size, drawn))
        except InputDataError as error:
            problems += error.problems
    if problems:
        raise InputDataError(*problems)
    lost = []
    with artifacts.writing(out, component="export_labels", details={"format": form}) as folder:
        for place, frames in found.items():
            folders.check_names(path for path, _, _ in frames)
            (folder / place).mkdir(exist_ok=True)
            lost += formats.write(form, [(path.name, size, drawn) for path, size, drawn in frames], folder / place)
            _copy(folder / place, (path for path, _, _ in frames))
    return lost


def _copy(folder: Path, paths: Iterable[Path]) -> None:
    for path in paths:
        shutil.copyfile(path, folder / path.name)
