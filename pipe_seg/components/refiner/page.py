"""What was refined, as one self-contained page: shares by class, and frames before and after."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape

from pipe_seg import images
from pipe_seg.annotations import raster
from pipe_seg.components.refiner.proposals import REASONS, Gates, RefinedFrame
from pipe_seg.schema import CLASS_NAMES, Annotation

SHOWN_OF_A_CLASS = 4
PICTURE_WIDTH_PX = 300
BOX_COLOUR = (60, 160, 255)
CONTOUR_COLOUR = (80, 220, 80)
REFUSED_COLOUR = (90, 90, 255)


def sentence(checked: Mapping[str, Any]) -> str:
    """Returns what ``check`` found, and what validation frames ``chosen`` before, as a sentence."""
    accepted = "" if checked["iou_accepted"] is None else f", {checked['iou_accepted']:.3f} where it is accepted"
    chosen = ""
    if checked["chosen"]:
        chosen = f"; biased upwards if they, or crops of them, chose the {', '.join(checked['chosen'])}"
    return (
        f"validation: what is found in the boxes of {checked['frames']} frames with contours has IoU "
        f"{checked['iou']:.3f}{accepted}; the filled boxes have {checked['filled_boxes_iou']:.3f}{chosen}"
    )


def render(
    frames: Sequence[RefinedFrame],
    summary: Mapping[str, Mapping[str, Any]],
    gates: Gates,
    models: Sequence[str],
    checked: Mapping[str, Any],
) -> str:
    """Returns the HTML; of each class it shows the first accepted and the first refused frames."""
    environment = Environment(
        loader=PackageLoader("pipe_seg.components.refiner"), autoescape=select_autoescape(default=True)
    )
    sections = [
        {"title": f"{name}, {title}", "cards": [_card(frame) for frame in _of(frames, label, accepted=accepted)]}
        for label, name in enumerate(CLASS_NAMES)
        for title, accepted in (("accepted", True), ("left as boxes", False))
    ]
    return environment.get_template("refine.html").render(
        summary=summary,
        reasons=REASONS[1:],
        sections=[section for section in sections if section["cards"]],
        gates=gates,
        fill={CLASS_NAMES[label]: limits for label, limits in gates.fill.items()},
        models=models,
        frames=len(frames),
        checked=sentence(checked) if checked["frames"] else None,
    )


def _of(frames: Sequence[RefinedFrame], label: int, *, accepted: bool) -> list[RefinedFrame]:
    """Returns the first frames that have a box of the class that was accepted, or was not."""
    found = (
        frame
        for frame in frames
        if any(p.box.label == label and (p.verdict == "accepted") == accepted for p in frame.proposals)
    )
    return [frame for frame, _ in zip(found, range(SHOWN_OF_A_CLASS), strict=False)]


def _card(frame: RefinedFrame) -> dict[str, Any]:
    pixels = images.decode(frame.path.read_bytes())
    verdicts = [
        f"{CLASS_NAMES[p.box.label]}: {_verdict(p.verdict)}; fill {p.fill:.2f}, tightness {p.tightness:.2f}, "
        f"agreement {p.agreement:.2f}"
        for p in frame.proposals
    ]
    return {
        "name": frame.path.name,
        "verdicts": verdicts,
        "before": _boxes(pixels, frame),
        "after": _contours(pixels, frame),
    }


def _verdict(verdict: str) -> str:
    return verdict if verdict == "accepted" else f"refused by {verdict}"


def _boxes(pixels: np.ndarray, frame: RefinedFrame) -> str:
    shown, mask = _small(pixels, raster.rasterise(frame.before, *frame.size))
    images.outline(shown, mask, BOX_COLOUR)
    return _encoded(shown)


def _contours(pixels: np.ndarray, frame: RefinedFrame) -> str:
    shown, _ = _small(pixels, np.zeros(frame.size, np.uint8))
    for proposal in frame.proposals:
        mask = raster.rasterise(Annotation(regions=(proposal.region,)), *frame.size)
        colour = CONTOUR_COLOUR if proposal.verdict == "accepted" else REFUSED_COLOUR
        images.outline(shown, _small(pixels, mask)[1], colour)
    return _encoded(shown)


def _small(pixels: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shown = np.ascontiguousarray(images.narrow(pixels, PICTURE_WIDTH_PX))
    height, width = shown.shape[:2]
    return shown, np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST))


def _encoded(pixels: np.ndarray) -> str:
    return base64.b64encode(images.encode(pixels, ".jpg", 80)).decode("ascii")
