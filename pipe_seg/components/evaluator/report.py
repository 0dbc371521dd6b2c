"""The evaluation as one self-contained page."""

import base64
import math
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from pipe_seg.components.evaluator.frames import FrameResult
from pipe_seg.components.evaluator.tables import shown
from pipe_seg.nn import scores
from pipe_seg.schema import CLASS_NAMES

WORST, BEST = 8, 4
PLOT_SIZE = 300


def render(summary: dict[str, Any], results: Sequence[FrameResult], *, blessed: bool, reason: str) -> str:
    """Returns the HTML: headline, slices, precision-recall curve, worst and best frames."""
    environment = Environment(
        loader=PackageLoader("pipe_seg.components.evaluator"), autoescape=select_autoescape(default=True)
    )
    environment.filters["shown"] = shown
    ordered = sorted((r for r in results if not math.isnan(r.counts.iou)), key=lambda r: r.counts.iou)
    worst = ordered[:WORST]
    best = ordered[len(worst) :][::-1][:BEST]
    return environment.get_template("report.html").render(
        summary=summary,
        blessed=blessed,
        reason=reason,
        worst=[_card(result) for result in worst],
        best=[_card(result) for result in best],
        curve=_curve(results),
        reliability=_reliability(summary["reliability"]),
        plot_size=PLOT_SIZE,
    )


def _card(result: FrameResult) -> dict[str, Any]:
    unlabelled = "class unknown" if result.counts.tp + result.counts.fn else "no defect"
    return {
        "name": result.file_name,
        "labels": ", ".join(CLASS_NAMES[label] for label in result.labels) or unlabelled,
        "iou": result.counts.iou,
        "dice": result.counts.dice,
        "picture": base64.b64encode(result.picture).decode("ascii"),
    }


def _reliability(bins: Sequence[dict[str, float]]) -> list[tuple[float, float, float]]:
    """Returns each bin as a dot: x, y and radius px."""
    return [
        (bin_["probability"] * PLOT_SIZE, (1 - bin_["frequency"]) * PLOT_SIZE, 2 + 18 * math.sqrt(bin_["share"]))
        for bin_ in bins
    ]


def _curve(results: Sequence[FrameResult]) -> str:
    """Returns the pooled precision-recall curve as the points of an SVG polyline."""
    precision, recall = scores.precision_recall([result.score for result in results])
    points = zip(recall * PLOT_SIZE, (1 - precision) * PLOT_SIZE, strict=True)
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
