"""An ablation as a page for people: a Markdown table and a picture."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader

from pipe_seg.schema import CLASS_NAMES


def markdown(summary: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Returns the tables."""
    return _environment().get_template("ablation.md").render(s=summary, about=about, classes=CLASS_NAMES) + "\n"


def picture(summary: Mapping[str, Any]) -> str:
    """Returns an SVG: each variant's IoU with its interval, seeds as dots, and the filled boxes as a line."""
    ends = [value for variant in summary["variants"] for value in (*variant["iou_interval"], *variant["iou_of_seeds"])]
    ends += [summary["filled_boxes_iou"]] if summary["filled_boxes_iou"] is not None else []
    low, high = max(min(ends) - 0.03, 0.0), min(max(ends) + 0.03, 1.0)
    ticks = [tick / 20 for tick in range(21) if low <= tick / 20 <= high]
    return _environment().get_template("ablation.svg").render(s=summary, low=low, high=high, ticks=ticks)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipe_seg.pipeline"), autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["shown"] = lambda value: "–" if value is None else f"{value:.3f}"
    environment.filters["signed"] = lambda value: f"{value:+.3f}"
    return environment
