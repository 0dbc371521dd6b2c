"""Tables of an ablation: each variant's scores, and what it adds to the variant below it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipe_seg.nn.scores import Counts, FrameScore, best_threshold
from pipe_seg.pipeline.ablation import Plan, Result, Variant
from pipe_seg.schema import CLASS_NAMES


@dataclass(frozen=True)
class Answers:
    """One variant on every scored frame: ``iou`` and ``dice`` `(seeds, frames)`, NaN if undefined; counts."""

    iou: np.ndarray
    dice: np.ndarray
    counts: list[list[Counts]]
    thresholds: list[float]


def summarise(plan: Plan, results: Sequence[Result], boxes: Mapping[str, float]) -> dict[str, Any]:
    """Returns the table as plain values.

    Scores are image means at a threshold that was chosen on other frames: those of the other folds, or of the other
    scenes; on ``split: test``, on validation. ``added`` is the difference to the mean of the variant below, with the
    95 % interval of a bootstrap that draws the same scenes and seeds anew for both.
    """
    answers = {variant.name: _answers(plan, variant, results) for variant in plan.variants}
    frames = _frames(plan.variants[0], plan.seeds[0], results)
    rows = [_row(plan, variant, answers, frames) for variant in plan.variants]
    anchor = [boxes[frame.file_name] for frame in frames if frame.file_name in boxes]
    return {
        "frames": len(frames),
        "scenes": len({frame.group_id for frame in frames}),
        "folds": plan.folds,
        "split": plan.split,
        "seeds": list(plan.seeds),
        "filled_boxes_iou": float(np.mean(anchor)) if anchor else None,
        "filled_boxes_per_class": _per_class(np.array([[boxes.get(f.file_name, np.nan) for f in frames]]), frames),
        "variants": rows,
    }


def _of(variant: Variant, seed: int, results: Sequence[Result]) -> list[Result]:
    return [
        result for result in results if result.training.variant.name == variant.name and result.training.seed == seed
    ]


def _frames(variant: Variant, seed: int, results: Sequence[Result]) -> list[FrameScore]:
    """Returns the scored frames in a fixed order, by name."""
    return sorted((frame for result in _of(variant, seed, results) for frame in result.frames), key=_name)


def _name(frame: FrameScore) -> str:
    return frame.file_name


def _answers(plan: Plan, variant: Variant, results: Sequence[Result]) -> Answers:
    counts, thresholds = [], []
    for seed in plan.seeds:
        judged: dict[str, Counts] = {}
        for part, threshold in _parts(plan, _of(variant, seed, results)):
            judged |= {frame.file_name: frame.counts(threshold) for frame in part}
            thresholds.append(threshold)
        counts.append([judged[name] for name in sorted(judged)])
    iou = np.array([[count.iou for count in row] for row in counts])
    dice = np.array([[count.dice for count in row] for row in counts])
    return Answers(iou, dice, counts, thresholds)


def _parts(plan: Plan, results: Sequence[Result]) -> list[tuple[list[FrameScore], float]]:
    """Returns frames with the threshold that was chosen without them."""
    if plan.split == "test":
        return [(result.frames, result.threshold) for result in results]
    if plan.folds:
        parts = [result.frames for result in results]
    else:
        every = results[0].frames
        parts = [[f for f in every if f.group_id == scene] for scene in sorted({f.group_id for f in every})]
    return [
        (part, best_threshold([frame for other in parts if other is not part for frame in other])) for part in parts
    ]


def _row(plan: Plan, variant: Variant, answers: Mapping[str, Answers], frames: Sequence[FrameScore]) -> dict[str, Any]:
    own, below = answers[variant.name], plan.under(variant)
    pooled = [sum(row[1:], row[0]) for row in own.counts]
    groups = [frame.group_id for frame in frames]
    return {
        "name": variant.name,
        "what": variant.what,
        "over": below,
        "iou": _mean(own.iou),
        "iou_of_seeds": np.nanmean(own.iou, 1).tolist(),
        "iou_interval": _interval(own.iou, groups, plan),
        "dice": _mean(own.dice),
        "iou_pooled": float(np.mean([count.iou for count in pooled])),
        "dice_pooled": float(np.mean([count.dice for count in pooled])),
        "per_class": _per_class(own.iou, frames),
        "thresholds": [min(own.thresholds), max(own.thresholds)],
        "added": _added(own.iou, answers[below].iou, groups, plan) if below else None,
    }


def _added(own: np.ndarray, below: np.ndarray, groups: Sequence[str], plan: Plan) -> dict[str, float]:
    low, high = _interval(own, groups, plan, below)
    return {"iou": _mean(own) - _mean(below), "low": low, "high": high}


def _mean(iou: np.ndarray) -> float:
    return float(np.nanmean(iou, 1).mean())


def _interval(
    values: np.ndarray, groups: Sequence[str], plan: Plan, below: np.ndarray | None = None
) -> tuple[float, float]:
    """Returns the 95 % interval of the mean over (seeds, frames) when scenes and seeds are drawn again.

    With ``below`` that of the difference of the two means, both of the same draw. A clean frame that one variant leaves
    clean has no IoU and the other's false positive on it has 0, so frames are not subtracted one by one.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(index == group) for group in range(len(names))]
    rng = np.random.default_rng(plan.fold_seed)
    drawn = []
    for _ in range(plan.draws):
        scenes = np.concatenate([members[group] for group in rng.integers(0, len(members), len(members))])
        seeds = rng.integers(0, len(values), len(values))
        places = np.ix_(seeds, scenes)
        drawn.append(_mean(values[places]) - (_mean(below[places]) if below is not None else 0.0))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _per_class(iou: np.ndarray, frames: Sequence[FrameScore]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for label, name in enumerate(CLASS_NAMES):
        chosen = [index for index, frame in enumerate(frames) if label in frame.labels]
        values = iou[:, chosen]
        found[name] = float(np.nanmean(values)) if values.size and not np.isnan(values).all() else None
    return found
