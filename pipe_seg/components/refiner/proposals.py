"""What models find in a frame's boxes, and the gates that it must pass to replace a filled box."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from pipe_seg import images
from pipe_seg.annotations import documents, raster
from pipe_seg.annotations.folders import Layout, contour_frames
from pipe_seg.annotations.shapes import Size
from pipe_seg.components.refiner.box_predictor import BoxPredictor
from pipe_seg.errors import ConfigError, Problem
from pipe_seg.progress import OnProgress
from pipe_seg.schema import CLASS_NAMES, Annotation, Box, Region

REASONS = ("accepted", "fill", "tightness", "agreement")
STABILITY_OFFSET = 1.0
WHOLE_RANGE = (0.02, 0.95)


@dataclass(frozen=True)
class Gates:
    """What a box's pixels must pass.

    Attributes:
        fill: For each class id, the least and the greatest share of the box that may be defect.
        tightness: The least IoU of the box and the bounding box of the pixels found.
        agreement: The least IoU of two models' pixels; of one model alone, of its pixels when every logit is one
            lower and one higher (the stability score of Segment Anything, Kirillov et al. 2023, appendix B).
    """

    fill: Mapping[int, tuple[float, float]]
    tightness: float = 0.3
    agreement: float = 0.5

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        fill = {CLASS_NAMES[label]: list(limits) for label, limits in self.fill.items()}
        return {"fill": fill, "tightness": self.tightness, "agreement": self.agreement}


@dataclass(frozen=True)
class Proposal:
    """What models found in one box; ``verdict`` is one of ``REASONS``, the first gate that was not passed."""

    box: Box
    region: Region
    fill: float
    tightness: float
    agreement: float
    verdict: str


@dataclass(frozen=True)
class RefinedFrame:
    """One frame with what was found in its boxes."""

    path: Path
    size: Size
    before: Annotation
    proposals: tuple[Proposal, ...]

    @property
    def after(self) -> Annotation:
        """The frame's annotation with the accepted boxes refined; unchanged where none was accepted."""
        accepted = [proposal for proposal in self.proposals if proposal.verdict == "accepted"]
        if not accepted:
            return self.before
        boxes = tuple(replace(p.box, refined=p.verdict == "accepted") for p in self.proposals)
        return replace(self.before, boxes=boxes, regions=tuple(p.region for p in accepted))

    @property
    def found(self) -> Annotation:
        """All pixels that were found, as regions; a box where nothing was found."""
        regions = tuple(p.region for p in self.proposals if p.fill)
        return Annotation(tuple(p.box for p in self.proposals if not p.fill), regions=regions)

    @property
    def agreement(self) -> float:
        """Mean over the boxes, 0…1."""
        return fmean(proposal.agreement for proposal in self.proposals)


def usual_fill(contours: Layout | None) -> dict[int, tuple[float, float]]:
    """Returns, for each class, the range of the defect's share of a box in training frames with both.

    Half the least that was seen, and midway from the greatest to 1; 0.02 … 0.95 for a class that was never seen.
    Scenes that are held out do not count.
    """
    seen: dict[int, list[float]] = {}
    for frame in contour_frames(contours)["train"] if contours else ():
        agreement = frame.read().agreement
        if agreement:
            seen.setdefault(agreement.label, []).append(agreement.fill_ppm / 1_000_000)
    known = {label: (min(fills) / 2, (max(fills) + 1) / 2) for label, fills in seen.items()}
    return {label: known.get(label, WHOLE_RANGE) for label in range(len(CLASS_NAMES))}


def refine_frames(
    boxes: Layout, *, predictor: BoxPredictor, gates: Gates, on_progress: OnProgress
) -> Iterator[RefinedFrame]:
    """Yields every training frame that has boxes and no contour by hand, with what the models found.

    Boxes that were refined before are refined anew.

    Raises:
        InputDataError: A frame cannot be used.
        ConfigError: No frame has boxes to refine.
    """
    frames, number = boxes.frames("train"), 0
    for done, source in enumerate(frames, 1):
        data = documents.read_bytes(source.image, images.MAX_BYTES)
        frame, annotation = source.load(data)
        if annotation.boxes and (annotation.is_refined or not (annotation.regions or annotation.polygons)):
            size: Size = (frame.segmentation_mask.shape[0], frame.segmentation_mask.shape[1])
            bare = tuple(replace(box, refined=False) for box in annotation.boxes)
            number += 1
            yield RefinedFrame(source.image, size, Annotation(bare), proposals(data, bare, predictor, gates))
        on_progress(done, len(frames))
    if not number:
        raise ConfigError(Problem(boxes.root, "no training frame has boxes to refine", expected="PBS with boxes"))


def proposals(data: bytes, boxes: Sequence[Box], predictor: BoxPredictor, gates: Gates) -> tuple[Proposal, ...]:
    """Returns what the models find in each box of the frame whose file holds ``data``."""
    margins = zip(boxes, predictor.margins(data, boxes), strict=True)
    return tuple(propose(box, of_models, gates) for box, of_models in margins)


def propose(box: Box, margins: Sequence[np.ndarray], gates: Gates) -> Proposal:
    """Returns the defect's pixels in one box, and which gates they pass.

    Args:
        box: The box.
        margins: For each model, `(height, width)` logits above its threshold; their mean decides.
        gates: What the pixels must pass.
    """
    height, width = margins[0].shape
    inside = raster.inside(box, height, width)
    within = [margin[inside] for margin in margins]
    found = np.mean(within, axis=0) > 0
    mask = np.zeros((height, width), np.uint8)
    mask[inside] = found
    measured = {"fill": float(found.mean()), "tightness": _tightness(found), "agreement": _agreement(within)}
    low, high = gates.fill[box.label]
    passed = {
        "fill": low <= measured["fill"] <= high,
        "tightness": measured["tightness"] >= gates.tightness,
        "agreement": measured["agreement"] >= gates.agreement,
    }
    verdict = next((name for name in REASONS[1:] if not passed[name]), "accepted")
    return Proposal(box, raster.region(mask, box.label), **measured, verdict=verdict)


def check(contours: Layout | None, *, predictor: BoxPredictor, gates: Gates) -> dict[str, Any]:
    """Returns how well what is found in boxes fits contours, on the validation frames that have both.

    Returns:
        ``frames``; ``iou``, the mean over them of what was found in their boxes; ``filled_boxes_iou``, that of their
        boxes; ``iou_accepted``, the mean over those whose boxes all pass the gates. None where there is no frame.

    Raises:
        InputDataError: A frame cannot be used.
    """
    found, filled, accepted = [], [], []
    for source in contours.frames("validation") if contours and contours.paths("validation") else ():
        frame = source.read()
        boxes = [box for box in frame.boxes if box.label in frame.labels]
        if not boxes:
            continue
        proposed = proposals(frame.image, boxes, predictor, gates)
        truth = frame.segmentation_mask > 0
        predicted = raster.rasterise(Annotation(regions=tuple(p.region for p in proposed)), *truth.shape)
        found.append(_iou(predicted > 0, truth))
        filled.append(_iou(raster.rasterise(Annotation(tuple(boxes)), *truth.shape) > 0, truth))
        if all(proposal.verdict == "accepted" for proposal in proposed):
            accepted.append(found[-1])
    means = {"iou": found, "filled_boxes_iou": filled, "iou_accepted": accepted}
    return {"frames": len(found), **{name: fmean(values) if values else None for name, values in means.items()}}


def _agreement(within: Sequence[np.ndarray]) -> float:
    if len(within) > 1:
        return min(_iou(first > 0, second > 0) for first, second in combinations(within, 2))
    return _iou(within[0] > STABILITY_OFFSET, within[0] > -STABILITY_OFFSET)


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    either = int((first | second).sum())
    return int((first & second).sum()) / either if either else 0.0


def _tightness(found: np.ndarray) -> float:
    """Returns the IoU of the whole array and the bounding box of what is found in it."""
    rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
    if not len(rows):
        return 0.0
    return float((rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1) / found.size)
