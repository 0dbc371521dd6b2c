"""The exported model on held-out frames → scores, slices, a report and a blessing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipe_seg import artifacts, disk
from pipe_seg.artifacts import Dataset, Evaluation, Model
from pipe_seg.components.evaluator import report, tables
from pipe_seg.components.evaluator.frames import FrameResult, judge
from pipe_seg.config import EvaluatorSection
from pipe_seg.data import examples as data
from pipe_seg.serving.saved_model import LoadedModel

SCORES = "scores.json"
REPORT = "report.html"


def run(section: EvaluatorSection, *, model: Model, dataset: Dataset, split: str, seed: int, out: Path) -> Evaluation:
    """Score the exported ``model`` on a split, at each frame's own resolution.

    ``out`` gets ``scores.json`` and ``report.html``. The threshold is the model's unless the section
    gives one. Blessed means: scored against contours, with an IoU of at least ``minimum_iou`` and above
    that of the filled boxes where there are boxes; never on rendered frames or on boxes cut out of frames.
    """
    threshold = model.threshold if section.threshold == "auto" else section.threshold
    loaded = LoadedModel(model.saved_model)
    frames = data.load(dataset.path, split).as_numpy_iterator()
    results = [judge(loaded, example, threshold, section.minimum_blob_area_px) for example in frames]
    name = dataset.name
    about = {
        "dataset": name,
        "split": split,
        "truth": results[0].mask_source,
        "rendered": name.endswith("/synthetic"),
        "cropped": dataset.crop_margin is not None,
        "data_digest": dataset.digest,
        "resolution": "each frame's own",
        "threshold": threshold,
        "threshold_chosen": model.facts["threshold_chosen"] if section.threshold == "auto" else "given",
        "threshold_chosen_here": section.threshold == "auto"
        and model.facts["threshold_chosen"].endswith(f"{name}, {split}"),
        "precision": model.facts["precision"],
        "empty": section.empty,
    }
    scores = {**about, **tables.summarise(results, section, seed)}
    blessed, reason = _blessing(scores, section)
    headline = {key: value["value"] for key, value in scores["headline"].items()}
    details: dict[str, Any] = {"blessed": blessed, "reason": reason, "scores": headline, "rendered": about["rendered"]}
    inputs = {"model": model.digest, "dataset": dataset.digest or ""}
    with artifacts.writing(
        out, component="evaluator", section=section.model_dump(), inputs=inputs, details=details
    ) as folder:
        disk.write_json(folder / SCORES, {**scores, "blessed": blessed, "reason": reason, "frames": _rows(results)})
        page = report.render(scores, results, blessed=blessed, reason=reason)
        (folder / REPORT).write_text(page, "utf-8")
    return Evaluation(out)


def _blessing(scores: dict[str, Any], section: EvaluatorSection) -> tuple[bool, str]:
    iou, boxes = scores["headline"]["iou"]["value"], scores["anchors"]["filled_boxes_iou"]
    if scores["rendered"]:
        return False, "rendered frames prove nothing about real ones"
    if scores["cropped"]:
        return False, "boxes cut out of their frames say nothing about whole frames"
    if scores["truth"] == "box":
        return False, "scored against filled boxes, not against contours"
    if iou is None or iou < section.minimum_iou:
        return False, f"iou {tables.shown(iou)} is below evaluator.minimum_iou {section.minimum_iou}"
    if boxes is not None and iou <= boxes:
        return False, f"iou {iou:.3f} is not above that of the filled boxes, {boxes:.3f}"
    return True, f"iou {iou:.3f}"


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
