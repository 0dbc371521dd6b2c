"""From judged frames to the tables of the report."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipe_seg.components.evaluator.frames import FrameResult
from pipe_seg.config import EvaluatorSection
from pipe_seg.nn import scores
from pipe_seg.nn.scores import Counts
from pipe_seg.schema import CLASS_NAMES

IOU, DICE, TP, FP, FN, CLASSES = 0, 1, 2, 3, 4, 5
Statistic = Callable[[np.ndarray], float]


def summarise(results: Sequence[FrameResult], section: EvaluatorSection, seed: int) -> dict[str, Any]:
    """Returns every table of one evaluation; None where a number is not defined."""
    rows = np.array([_row(result) for result in results], np.float64)
    groups = [result.group_id for result in results]
    pooled = sum((result.counts for result in results[1:]), results[0].counts)
    statistics = _statistics(section)

    enough = len(set(groups)) >= section.min_scenes

    def interval(statistic: Statistic) -> dict[str, float | None]:
        if not enough:
            return {"value": finite(statistic(rows)), "low": None, "high": None}
        low, high = scores.bootstrap_interval(rows, groups, section.bootstrap_draws, seed, statistic)
        return {"value": finite(statistic(rows)), "low": finite(low), "high": finite(high)}

    few = f"no interval: {len(set(groups))} scenes, fewer than {section.min_scenes}"
    return {
        **({} if enough else {"no_interval": few}),
        "n_images": len(results),
        "n_groups": len(set(groups)),
        "n_skipped": int(np.isnan(rows[:, IOU]).sum()),
        "headline": {name: interval(statistic) for name, statistic in statistics.items()},
        "second": _second(results, pooled, section),
        "per_class": _per_class(rows, section),
        "per_size": _per_size(results, section),
        "clean_frames": _clean_frames(results),
        "anchors": _anchors(results, section),
        "origin_compat": _origin(results),
        "operating_points": _operating_points(results, section),
        "reliability": _reliability(results),
    }


def _row(result: FrameResult) -> list[float]:
    counts = result.counts
    belongs = [float(label in result.labels) for label in range(len(CLASS_NAMES))]
    return [counts.iou, counts.dice, counts.tp, counts.fp, counts.fn, *belongs]


def _statistics(section: EvaluatorSection) -> dict[str, Statistic]:
    def macro(rows: np.ndarray) -> float:
        members = (rows[rows[:, CLASSES + label] > 0, IOU] for label in range(len(CLASS_NAMES)))
        means = [scores.image_mean(values, section.empty) for values in members if len(values)]
        return float(np.nanmean(means)) if means else math.nan

    def pooled(rows: np.ndarray) -> Counts:
        return Counts(*(int(total) for total in rows[:, TP:CLASSES].sum(0)))

    return {
        "iou": lambda rows: scores.image_mean(rows[:, IOU], section.empty),
        "dice": lambda rows: scores.image_mean(rows[:, DICE], section.empty),
        "iou_pooled": lambda rows: pooled(rows).iou,
        "dice_pooled": lambda rows: pooled(rows).dice,
        "iou_macro": macro,
    }


def _second(results: Sequence[FrameResult], pooled: Counts, section: EvaluatorSection) -> dict[str, float | None]:
    probability, truth = (np.concatenate(parts) for parts in zip(*(r.calibration for r in results), strict=True))
    frames = [result.score for result in results]
    values = {
        "precision": scores.image_mean([result.counts.precision for result in results]),
        "recall": scores.image_mean([result.counts.recall for result in results]),
        "precision_pooled": pooled.precision,
        "recall_pooled": pooled.recall,
        "boundary_iou": scores.image_mean([result.boundary_iou for result in results], section.empty),
        "nsd_2px": scores.image_mean([result.nsd_2px for result in results], section.empty),
        "nsd_5px": scores.image_mean([result.nsd_5px for result in results], section.empty),
        "average_precision": scores.average_precision(frames),
        "ece": scores.calibration_error(probability, truth) if len(truth) else math.nan,
        "iou_at_0.5": scores.image_mean([result.at_half.iou for result in results], section.empty),
    }
    return {name: finite(value) for name, value in values.items()}


def _operating_points(results: Sequence[FrameResult], section: EvaluatorSection) -> list[dict[str, float | None]]:
    """Returns what it costs to find ever more of the defect's pixels."""
    frames = [result.score for result in results]
    thresholds = {recall: scores.threshold_of_recall(frames, recall) for recall in section.recalls}
    return [
        {"target_recall": recall, **scores.operating_point(frames, threshold, section.empty)}
        for recall, threshold in thresholds.items()
    ]


def _reliability(results: Sequence[FrameResult]) -> list[dict[str, float]]:
    """Returns, per bin, the predicted probability around the defects and how often it was true."""
    probability, truth = (np.concatenate(parts) for parts in zip(*(r.calibration for r in results), strict=True))
    confidence, frequency, share = scores.reliability(probability, truth)
    names = ("probability", "frequency", "share")
    return [dict(zip(names, values, strict=True)) for values in zip(confidence, frequency, share, strict=True)]


def _per_class(rows: np.ndarray, section: EvaluatorSection) -> dict[str, dict[str, Any]]:
    table = {}
    for label, name in enumerate(CLASS_NAMES):
        members = rows[rows[:, CLASSES + label] > 0]
        table[name] = {
            "n": len(members),
            "iou": finite(scores.image_mean(members[:, IOU], section.empty)),
            "dice": finite(scores.image_mean(members[:, DICE], section.empty)),
        }
    return table


def _per_size(results: Sequence[FrameResult], section: EvaluatorSection) -> dict[str, dict[str, Any]]:
    """Returns the terciles by the share of the frame that is defect."""
    defects = sorted((r for r in results if r.counts.tp + r.counts.fn), key=_share)
    thirds = np.array_split(np.arange(len(defects)), 3)
    table = {}
    for name, third in zip(("small", "medium", "large"), thirds, strict=True):
        members = [defects[index] for index in third]
        table[name] = {
            "n": len(members),
            "largest_share": finite(_share(members[-1])) if members else None,
            "iou": finite(scores.image_mean([member.counts.iou for member in members], section.empty)),
        }
    return table


def _share(result: FrameResult) -> float:
    counts = result.counts
    return (counts.tp + counts.fn) / (counts.tp + counts.fp + counts.fn + counts.tn)


def _clean_frames(results: Sequence[FrameResult]) -> dict[str, Any]:
    clean = [result for result in results if not result.counts.tp + result.counts.fn]
    alarms = sum(result.false_alarm for result in clean)
    return {"n": len(clean), "false_alarm_rate": alarms / len(clean) if clean else None}


def _anchors(results: Sequence[FrameResult], section: EvaluatorSection) -> dict[str, float | None]:
    boxes = [result.box_counts.iou for result in results if result.box_counts]
    drawn = results[0].mask_source != "box"
    return {"filled_boxes_iou": finite(scores.image_mean(boxes, section.empty)) if boxes and drawn else None}


def _origin(results: Sequence[FrameResult]) -> dict[str, float]:
    """Returns the original experiment's scores, for comparison only: its Dice is derived from mean IoU."""
    iou = float(np.mean([result.origin_iou for result in results]))
    return {"iou": iou, "dice": 2 * iou / (1 + iou)}


def finite(value: float) -> float | None:
    """Returns the number, or None for NaN: JSON has no NaN."""
    return None if math.isnan(value) else float(value)


def shown(value: float | None) -> str:
    """Returns three decimals, or a dash."""
    return "–" if value is None else f"{value:.3f}"
