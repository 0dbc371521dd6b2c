"""The model card: what a version is, how good it is, what it is not, and how to call it."""

from typing import Any

from jinja2 import Environment, PackageLoader

from pipe_seg.artifacts import Dataset, Evaluation, InfraBlessing, Model
from pipe_seg.schema import CLASS_NAMES, MODEL_NAME

NAME = "README.md"
MEGA = 1_000_000


def render(model: Model, evaluation: Evaluation, infra: InfraBlessing, data: Dataset) -> str:
    """Returns the card as Markdown, as it lies in a version under the name ``NAME``."""
    environment = Environment(
        loader=PackageLoader("pipe_seg.components.pusher"), autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"interval": _interval, "number": _number}
    details, scores, asked = evaluation.record["details"], evaluation.scores, infra.record["details"]
    return environment.get_template("MODEL_CARD.md").render(
        model_name=MODEL_NAME,
        run=model.path.parent.name,
        model=model.facts,
        blessed=details["blessed"],
        reason=details["reason"],
        scores=scores,
        words="rendered " if scores["rendered"] else "",
        classes=CLASS_NAMES,
        megabytes=sum(path.stat().st_size for path in model.saved_model.rglob("*") if path.is_file()) / MEGA,
        milliseconds=asked.get("milliseconds"),
        device=asked.get("device", ""),
        card=data.card,
        data_digest=evaluation.record["inputs"]["dataset"],
    )


def _interval(score: dict[str, Any]) -> str:
    value, low, high = score["value"], score["low"], score["high"]
    return _number(value) if None in (value, low, high) else f"{value:.3f} [{low:.3f} … {high:.3f}]"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
