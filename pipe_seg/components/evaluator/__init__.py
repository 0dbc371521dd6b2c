"""The exported model on held-out frames → scores, slices, a report and a blessing."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipe_seg import artifacts, disk
from pipe_seg.artifacts import Dataset, Evaluation, Model
from pipe_seg.components.evaluator import frame_scores, report, tables
from pipe_seg.components.evaluator.frames import FrameResult, judge
from pipe_seg.config import EvaluatorSection
from pipe_seg.data import examples as data
from pipe_seg.data import lineage
from pipe_seg.data.lineage import LearntFrames
from pipe_seg.inference.saved_model import LoadedModel

COMPONENT, VERSION = "evaluator", 1
SCORES = "scores.json"
REPORT = "report.html"


def run(section: EvaluatorSection, *, model: Model, dataset: Dataset, split: str, seed: int, out: Path) -> Evaluation:
    """Scores the exported ``model`` on a split, at each frame's own resolution.

    ``out`` gets ``scores.json``, ``frame_scores.npz`` and ``report.html``. The threshold is the model's unless the
    section sets one. Where a split has contours, only they are scored: filled and refined boxes are no truth. Blessed
    (approved for serving) means: scored against contours of at least ``min_scenes`` scenes, with an IoU of at least
    ``minimum_iou`` and above that of the filled boxes where there are boxes; never on rendered frames, on boxes cut out
    of frames, or on frames that the model learnt from.
    """
    threshold = model.threshold if section.threshold == "auto" else section.threshold
    loaded = LoadedModel(model.saved_model)
    frames = data.load(dataset.path, split).as_numpy_iterator()
    judged = [judge(loaded, example, threshold, section.min_component_area_px) for example in frames]
    sources = Counter(result.mask_source for result in judged)
    truth = next(source for source in ("contour", "box", "refined") if sources[source])
    results = [result for result in judged if result.mask_source == truth] if truth == "contour" else judged
    known = LearntFrames.of(model.extras)
    frames_scored = lineage.fingerprints(dataset.path, split)
    chosen = model.chosen if lineage.shared(known.chose, frames_scored) else set()
    about = {
        "dataset": dataset.name,
        "split": split,
        "truth": truth,
        "frames_of_source": dict(sources),
        "rendered": dataset.rendered,
        "cropped": dataset.crop_margin is not None,
        "dataset_key": dataset.key,
        "resolution": "each frame's own",
        "threshold": threshold,
        "threshold_chosen": model.facts["threshold_chosen"] if section.threshold == "auto" else "given",
        "chosen_here": sorted(chosen if section.threshold == "auto" else chosen - {"threshold"}),
        "n_learnt": lineage.shared(known.learnt, frames_scored),
        "precision": model.facts["precision"],
        "empty": section.empty,
    }
    scores = {**about, **tables.summarise(results, section, seed)}
    blessed, reason = _blessing(scores, section)
    headline = {key: value["value"] for key, value in scores["headline"].items()}
    details: dict[str, Any] = {"blessed": blessed, "reason": reason, "scores": headline, "rendered": about["rendered"]}
    inputs = {"model": model.digest, "dataset": dataset.key or ""}
    key = artifacts.key_of(COMPONENT, VERSION, {**section.model_dump(), "split": split, "seed": seed}, inputs)
    with artifacts.writing(
        out, component=COMPONENT, section=section.model_dump(), inputs=inputs, details=details, key=key
    ) as folder:
        disk.write_json(folder / SCORES, {**scores, "blessed": blessed, "reason": reason, "frames": _rows(results)})
        frame_scores.write(folder, [result.score for result in results])
        page = report.render(scores, results, blessed=blessed, reason=reason)
        (folder / REPORT).write_text(page, "utf-8")
    return Evaluation(out)


def _blessing(scores: dict[str, Any], section: EvaluatorSection) -> tuple[bool, str]:
    iou, boxes = scores["headline"]["iou"]["value"], scores["anchors"]["filled_boxes_iou"]
    refusals = (
        (scores["n_learnt"] > 0, f"it learnt from {scores['n_learnt']} of these {scores['n_images']} frames"),
        (scores["rendered"], "rendered frames prove nothing about real ones"),
        (scores["cropped"], "boxes cut out of their frames say nothing about whole frames"),
        (scores["truth"] != "contour", "scored against boxes, not against contours"),
        (iou is None, "no frame has a defect, so there is no IoU"),
        (
            scores["n_groups"] < section.min_scenes,
            f"{scores['n_groups']} scenes are fewer than evaluator.min_scenes {section.min_scenes}",
        ),
        (
            iou is not None and iou < section.minimum_iou,
            f"iou {tables.shown(iou)} is below evaluator.minimum_iou {section.minimum_iou}",
        ),
        (
            None not in (iou, boxes) and iou <= boxes,
            f"iou {tables.shown(iou)} is not above that of the filled boxes, {tables.shown(boxes)}",
        ),
    )
    reason = next((reason for holds, reason in refusals if holds), None)
    return reason is None, reason or f"iou {iou:.3f}"


def _rows(results: Sequence[FrameResult]) -> list[dict[str, Any]]:
    return [
        {
            "file_name": result.file_name,
            "group_id": result.group_id,
            "labels": list(result.labels),
            "tp": result.counts.tp,
            "fp": result.counts.fp,
            "fn": result.counts.fn,
            "tn": result.counts.tn,
            "iou": tables.finite(result.counts.iou),
            "dice": tables.finite(result.counts.dice),
        }
        for result in results
    ]
