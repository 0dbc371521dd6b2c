"""``evaluate``: an exported model on labelled frames."""

import json
import math
from datetime import datetime
from pathlib import Path

import click

from pipe_seg import config as settings
from pipe_seg.artifacts import Dataset
from pipe_seg.cli import options, quiet, results
from pipe_seg.errors import ConfigError, Problem, RefusedError, invocation
from pipe_seg.pipeline import datasets, models
from pipe_seg.pipeline import runs as run_folder
from pipe_seg.pipeline.runs import Run
from pipe_seg.schema import HEADLINE
from pipe_seg.serving.store import location as store


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
    found = run_folder.find_model(model, runs)
    run = run_folder.run_of(found)
    chosen = overrides if threshold is None else (*overrides, f"evaluator.threshold={threshold}")
    own = run.path / "config.yaml" if run and preset is None else preset
    loaded = settings.load(own, chosen, unlock=unlock)
    if target_recall is not None:
        recalls = {"recalls": tuple(sorted({*loaded.evaluator.recalls, target_recall}))}
        loaded = loaded.model_copy(update={"evaluator": loaded.evaluator.model_copy(update=recalls)})
    folder = out or found.path.parent / f"evaluation_{datetime.now():%Y%m%d-%H%M%S}_{dataset}_{split}"
    if out is None and (found.path / store.MANIFEST).is_file():
        cure = "--out DIR: nothing is added to a model store"
        raise ConfigError(Problem(found.path, "is a version in a model store", expected=cure))
    quiet.tensorflow()
    examples = _examples(loaded, run, dataset, manual_dir)
    evaluation = models.evaluate(loaded, found, examples, out=folder, split=split)
    scores = evaluation.scores
    click.echo(json.dumps(scores) if as_json else results.judged(scores, folder))
    if target_recall is not None and not as_json:
        (point,) = (row for row in scores["operating_points"] if row["target_recall"] == target_recall)
        click.echo(f"recall     {results.operating_point(point)}")
        if run:
            again = invocation("export", run.path, "--target-recall", f"{target_recall:g}", "--out", "exported")
            click.echo(f"next       {again}")
            click.echo("           chooses such a threshold on validation and bakes it in; small components are kept")
    _hold(scores, bars)


def _examples(loaded: settings.Config, run: Run | None, dataset: str, manual_dir: Path | None) -> Dataset:
    """Returns the frames to score on: those of ``manual_dir`` if given, else the very ones of the run."""
    if run and manual_dir is None and dataset in run.info.get("datasets", {}):
        return datasets.dataset_of(run, dataset)
    folder = manual_dir
    if run and folder is None:
        recorded = run.info.get("source", run.info).get("manual_dir")
        folder = Path(recorded) if recorded and Path(recorded).is_dir() else None
    return datasets.examples(loaded, dataset, folder, options.log)


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
