"""Boxes and models → the pixels of the boxes that can be believed, as a new version of the data set.

A model trained on contours is asked for every training frame with boxes: for the whole frame, or, if it learnt from
crops, for each box with its surroundings. What it finds takes the place of the filled box if it passes three gates: a
share of the box that contours of this class have, a bounding box that is the box, and models that agree. The other
boxes stay boxes.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from pipe_seg import artifacts, disk, images
from pipe_seg.annotations import coco, documents, formats, prelabels, raster
from pipe_seg.annotations.folders import Layout
from pipe_seg.annotations.shapes import Size
from pipe_seg.components.refiner.box_predictor import BoxPredictor
from pipe_seg.errors import ConfigError, Problem
from pipe_seg.progress import Report
from pipe_seg.schema import CLASS_NAMES, FOLDERS, Annotation, Box, Region

REASONS = ("accepted", "fill", "tightness", "agreement")
STABILITY_OFFSET = 1.0
WHOLE_RANGE = (0.02, 0.95)


@dataclass(frozen=True)
class Gates:
    """What a box's pixels must pass.

    Attributes:
        fill: for each class id, the least and the greatest share of the box that may be defect.
        tightness: the least IoU of the box and the bounding box of the pixels found.
        agreement: the least IoU of two models' pixels; of one model alone, of its pixels when every logit is one
            lower and one higher (the stability score of Segment Anything, Kirillov et al. 2023, appendix B).
    """

    fill: Mapping[int, tuple[float, float]]
    tightness: float = 0.3
    agreement: float = 0.5

    def to_json(self) -> dict[str, Any]:
        """Give it as plain values."""
        fill = {CLASS_NAMES[label]: list(limits) for label, limits in self.fill.items()}
        return {"fill": fill, "tightness": self.tightness, "agreement": self.agreement}


@dataclass(frozen=True)
class Proposal:
    """What models found in one box: ``verdict`` is one of ``REASONS``, the first gate that was not passed."""

    box: Box
    region: Region
    fill: float
    tightness: float
    agreement: float
    verdict: str


@dataclass(frozen=True)
class Refined:
    """One frame with what was found in its boxes."""

    path: Path
    size: Size
    before: Annotation
    proposals: tuple[Proposal, ...]

    @property
    def after(self) -> Annotation:
        """The frame's annotation with the accepted boxes refined; unchanged where none was."""
        accepted = [proposal for proposal in self.proposals if proposal.verdict == "accepted"]
        if not accepted:
            return self.before
        boxes = tuple(replace(p.box, refined=p.verdict == "accepted") for p in self.proposals)
        return replace(self.before, boxes=boxes, regions=tuple(p.region for p in accepted))

    @property
    def drawn(self) -> Annotation:
        """All that was found, as a person would have drawn it; a box where nothing was found."""
        found = tuple(p.region for p in self.proposals if p.fill)
        return Annotation(tuple(p.box for p in self.proposals if not p.fill), regions=found)

    @property
    def agreement(self) -> float:
        """Mean over the boxes, 0…1."""
        return fmean(proposal.agreement for proposal in self.proposals)


def usual_fill(contours: Layout | None) -> dict[int, tuple[float, float]]:
    """Give the range of the share of a box that is defect, for each class, from training frames with both.

    Half the least that was seen, and midway from the greatest to 1; 0.02 … 0.95 for a class that was never seen.
    """
    seen: dict[int, list[float]] = {}
    for frame in contours.frames("train") if contours else ():
        found = frame.read().agreement
        if found:
            seen.setdefault(found.label, []).append(found.fill_ppm / 1_000_000)
    known = {label: (min(fills) / 2, (max(fills) + 1) / 2) for label, fills in seen.items()}
    return {label: known.get(label, WHOLE_RANGE) for label in range(len(CLASS_NAMES))}


def run(boxes: Layout, *, asked: BoxPredictor, gates: Gates, report: Report) -> Iterator[Refined]:
    """Give every training frame that has boxes and no contour by hand, with what the models found.

    What was refined before is found anew.

    Raises:
        InputDataError: a frame cannot be used.
        ConfigError: no frame has boxes to refine.
    """
    frames = boxes.frames("train")
    asked_for = 0
    for done, waiting in enumerate(frames, 1):
        data = documents.read_bytes(waiting.image, images.MAX_BYTES)
        frame, drawn = waiting.load(data)
        if drawn.boxes and (drawn.is_refined or not (drawn.regions or drawn.polygons)):
            size: Size = (frame.segmentation_mask.shape[0], frame.segmentation_mask.shape[1])
            bare = tuple(replace(box, refined=False) for box in drawn.boxes)
            asked_for += 1
            yield Refined(waiting.image, size, Annotation(bare), proposals(data, bare, asked, gates))
        report(done, len(frames))
    if not asked_for:
        raise ConfigError(Problem(boxes.root, "no training frame has boxes to refine", expected="PBS with boxes"))


def proposals(data: bytes, boxes: Sequence[Box], asked: BoxPredictor, gates: Gates) -> tuple[Proposal, ...]:
    """Ask the models for the frame whose file holds ``data``; give what is found in each box."""
    answers = zip(boxes, asked.margins(data, boxes), strict=True)
    return tuple(propose(box, margins, gates) for box, margins in answers)


def propose(box: Box, margins: Sequence[np.ndarray], gates: Gates) -> Proposal:
    """Find the defect's pixels in one box and judge them.

    Args:
        box: where to look.
        margins: for each model, (height, width) logits above its threshold; their mean decides.
        gates: what the pixels must pass.
    """
    height, width = margins[0].shape
    place = raster.inside(box, height, width)
    within = [margin[place] for margin in margins]
    found = np.mean(within, axis=0) > 0
    mask = np.zeros((height, width), np.uint8)
    mask[place] = found
    told = {
        "fill": float(found.mean()),
        "tightness": _tightness(found),
        "agreement": _agreement(within),
    }
    low, high = gates.fill[box.label]
    passed = {
        "fill": low <= told["fill"] <= high,
        "tightness": told["tightness"] >= gates.tightness,
        "agreement": told["agreement"] >= gates.agreement,
    }
    verdict = next((name for name in REASONS[1:] if not passed[name]), "accepted")
    return Proposal(box, raster.region(mask, box.label), **told, verdict=verdict)


def check(contours: Layout | None, *, asked: BoxPredictor, gates: Gates) -> dict[str, Any]:
    """Give how well what is found in boxes fits contours, on the frames of the validation split that have both.

    Returns:
        ``frames``; ``iou``: mean over them of what was found in their boxes, and ``filled_boxes_iou`` of the boxes
        themselves; ``iou_accepted``: mean over those whose boxes all pass the gates. None where there is no frame.

    Raises:
        InputDataError: a frame cannot be used.
    """
    found, filled, accepted = [], [], []
    for waiting in contours.frames("validation") if contours and contours.paths("validation") else ():
        frame = waiting.read()
        boxes = [box for box in frame.boxes if box.label in frame.labels]
        if not boxes:
            continue
        proposed = proposals(frame.image, boxes, asked, gates)
        truth = frame.segmentation_mask > 0
        drawn = raster.rasterise(Annotation(regions=tuple(p.region for p in proposed)), *truth.shape)
        found.append(_iou(drawn > 0, truth))
        filled.append(_iou(raster.rasterise(Annotation(tuple(boxes)), *truth.shape) > 0, truth))
        if all(proposal.verdict == "accepted" for proposal in proposed):
            accepted.append(found[-1])
    means = {"iou": found, "filled_boxes_iou": filled, "iou_accepted": accepted}
    return {"frames": len(found), **{name: fmean(values) if values else None for name, values in means.items()}}


def write_dataset(frames: Sequence[Refined], *, root: Path, out: Path, details: dict[str, Any], page: str) -> None:
    """Write the new version: every data set of ``root`` with its splits, the training boxes refined, and the report.

    Raises:
        ConflictError: there is something at ``out``.
    """
    with artifacts.writing(out, component="refiner", details=details) as folder:
        for name in FOLDERS.values():
            if (root / name).is_dir():
                shutil.copytree(root / name, folder / name, copy_function=disk.link)
        _relabel(folder / FOLDERS["pbs"], root / FOLDERS["pbs"], frames)
        (folder / "refine.html").write_text(page, "utf-8")


def write_prelabels(frames: Sequence[Refined], *, form: str, number: int, out: Path, models: Sequence[str]) -> int:
    """Write the ``number`` frames whose models agree least, for a person to correct; give how many they are.

    ``prelabels.csv`` lists them, the least certain first, with the digest that tells later what was corrected.

    Raises:
        ConflictError: there is something at ``out``.
    """
    chosen = sorted(frames, key=lambda frame: (frame.agreement, frame.path.name))[:number]
    with artifacts.writing(out, component="prelabels", details={"format": form, "models": list(models)}) as folder:
        formats.write(form, [(frame.path.name, frame.size, frame.drawn) for frame in chosen], folder)
        for frame in chosen:
            shutil.copyfile(frame.path, folder / frame.path.name)
        rows = [(frame.path.name, frame.agreement, frame.drawn, frame.size) for frame in chosen]
        prelabels.write(folder / prelabels.NAME, rows, models)
    return len(chosen)


def summary(frames: Sequence[Refined]) -> dict[str, dict[str, Any]]:
    """Give, for each class: boxes, how many were accepted or refused by which gate, the accepted ones' mean fill."""
    found = {}
    for label, name in enumerate(CLASS_NAMES):
        boxes = [p for frame in frames for p in frame.proposals if p.box.label == label]
        verdicts = Counter(proposal.verdict for proposal in boxes)
        fills = [proposal.fill for proposal in boxes if proposal.verdict == "accepted"]
        if boxes:
            counts = {reason: verdicts[reason] for reason in REASONS}
            found[name] = {"boxes": len(boxes), **counts, "mean_fill": fmean(fills) if fills else None}
    return found


def _relabel(target: Path, source: Path, frames: Sequence[Refined]) -> None:
    """Take the label files of the refined frames away and write one COCO file for each folder of frames."""
    layout = Layout(source, "box")
    changed = {frame.path: frame for frame in frames if frame.after.is_refined}
    for folder in sorted({path.parent for path in changed}):
        place = folder.relative_to(source / "images").as_posix()
        listed = []
        for path in (path for path in layout.all_images() if path.parent == folder):
            refined = changed.get(path)
            if refined:
                _forget(layout, path, target)
                listed.append((path.name, refined.size, refined.after))
            elif layout.frame(path).draw:
                frame, drawn = layout.frame(path).load(path.read_bytes())
                height, width = frame.segmentation_mask.shape
                listed.append((path.name, (height, width), replace(drawn, mask=None)))
        content = coco.written(listed, {"description": "refined by pipe-seg"})
        for image in content["images"]:
            image["mask_source"] = "refined" if folder / image["file_name"] in changed else "box"
        (target / "annotations" / f"via_{place}.csv").unlink(missing_ok=True)
        path = target / "annotations" / f"instances_{place}.json"
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.write_json(path, content)


def _forget(layout: Layout, path: Path, target: Path) -> None:
    """Remove what the label files of one frame say, which would come before the refined boxes."""
    frame = layout.frame(path)
    for file in (frame.label, frame.mask):
        if file:
            (target / file.relative_to(layout.root)).unlink()


def _agreement(within: Sequence[np.ndarray]) -> float:
    if len(within) > 1:
        return min(_iou(first > 0, second > 0) for first, second in combinations(within, 2))
    return _iou(within[0] > STABILITY_OFFSET, within[0] > -STABILITY_OFFSET)


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    either = int((first | second).sum())
    return int((first & second).sum()) / either if either else 0.0


def _tightness(found: np.ndarray) -> float:
    """Give the IoU of the whole array and the bounding box of what is found in it."""
    rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
    if not len(rows):
        return 0.0
    return float((rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1) / found.size)
