"""``evaluate``: an exported model on labelled frames."""

import json
import math
from datetime import datetime
from pathlib import Path

import click

from pipe_seg import config as settings
from pipe_seg import pipeline
from pipe_seg.cli import options, quiet, results
from pipe_seg.errors import ConfigError, Problem, RefusedError
from pipe_seg.pipeline import runs as run_folder
from pipe_seg.schema import HEADLINE


@click.command()
@click.argument("model", metavar="RUN|MODEL")
@click.option("--dataset", type=click.Choice(["pbs", "ps"]), default="ps", show_default=True, help="What to score on.")
@click.option("--split", type=click.Choice(["train", "validation", "test"]), default="validation", show_default=True)
@click.option("--threshold", type=float, help="Instead of the model's own, 0.001 … 0.999.")
@click.option(
    "--target-recall",
    type=click.FloatRange(0, 1, min_open=True),
    help="Say also from which probability this share of the defect's pixels is found, and what that costs.",
)
@click.option("--fail-under", multiple=True, metavar="SCORE=VALUE", help="Exit 6 below this, as iou=0.4.")
@click.option("--out", type=options.FOLDER, help="The folder to make [default: beside the model].")
@options.manual_dir
@options.configured
@options.runs
@options.as_json
def evaluate(
    model: str,
    dataset: str,
    split: str,
    threshold: float | None,
    target_recall: float | None,
    fail_under: tuple[str, ...],
    out: Path | None,
    manual_dir: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    unlock: bool,
    runs: Path,
    as_json: bool,
) -> None:
    """Score the exported model of RUN, or a MODEL folder, at each frame's own resolution."""
    bars = dict(_bar(text) for text in fail_under)
    chosen = overrides if threshold is None else (*overrides, f"evaluator.threshold={threshold}")
    loaded = settings.load(preset, chosen, unlock=unlock)
    if target_recall is not None:
        recalls = {"recalls": tuple(sorted({*loaded.evaluator.recalls, target_recall}))}
        loaded = loaded.model_copy(update={"evaluator": loaded.evaluator.model_copy(update=recalls)})
    found = run_folder.find_model(model, runs)
    folder = out or found.path.parent / f"evaluation_{datetime.now():%Y%m%d-%H%M%S}_{dataset}_{split}"
    quiet.tensorflow()
    frames = manual_dir or run_folder.manual_dir_of(found)
    examples = pipeline.examples(loaded, dataset, frames, options.say)
    evaluation = pipeline.evaluate(loaded, found, examples, out=folder, split=split)
    scores = evaluation.scores
    click.echo(json.dumps(scores) if as_json else results.judged(scores, folder))
    if target_recall is not None and not as_json:
        (point,) = (row for row in scores["operating_points"] if row["target_recall"] == target_recall)
        click.echo(f"recall     {results.operating_point(point)}")
        click.echo(f"next       python cli.py export RUN --target-recall {target_recall:g} --out DIR")
        click.echo("           chooses such a threshold on validation, takes no small claims back, and bakes that in")
    _hold(scores, bars)


def _bar(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        bar = float(value)
    except ValueError:
        bar = math.nan
    if not 0 <= bar <= 1:
        raise ConfigError(Problem("--fail-under", "not a bar", got=text, expected="score=0…1, as iou=0.4"))
    if name not in HEADLINE:
        raise ConfigError(Problem("--fail-under", "unknown score", got=name, expected=", ".join(HEADLINE)))
    return name, bar


def _hold(scores: dict[str, object], bars: dict[str, float]) -> None:
    headline = scores["headline"]
    assert isinstance(headline, dict)
    low = [
        Problem(name, "under the bar", got=headline[name]["value"], expected=f"at least {bar}")
        for name, bar in bars.items()
        if headline[name]["value"] is None or headline[name]["value"] < bar
    ]
    if low:
        raise RefusedError(*low)
