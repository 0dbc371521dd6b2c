"""``train``: one dataset, from frames to an exported, scored model."""

import getpass
import json
import re
from pathlib import Path

import click

from pipe_seg import config as settings
from pipe_seg import pipeline, run_folder
from pipe_seg.cli import options, quiet, results
from pipe_seg.config import Config


@click.command()
@click.option("--dataset", type=click.Choice(["pbs", "ps"]), required=True, help="Filled boxes, or contours.")
@options.manual_dir
@options.configured
@click.option("--init", metavar="RUN", help="Start from another run's weights, as PS from PBS.")
@click.option(
    "--strategy", type=click.Choice(["auto", "one", "mirrored"]), help="Which devices: same as -s trainer.strategy=."
)
@click.option("--name", "person", metavar="NAME", help="Who trains, in Latin letters [default: your login].")
@options.runs
@options.as_json
def train(
    dataset: str,
    manual_dir: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    unlock: bool,
    init: str | None,
    strategy: str | None,
    person: str | None,
    runs: Path,
    as_json: bool,
) -> None:
    """Train a UNet, keep the best epoch, export it, and score what was exported against contours."""
    chosen = (*overrides, f"trainer.strategy={strategy}") if strategy else overrides
    loaded = load(dataset, manual_dir, preset, chosen, unlock=unlock)
    start = run_folder.find_run(init, runs) if init else None
    quiet.tensorflow()
    run = pipeline.train(
        loaded, dataset, manual_dir=manual_dir, runs=runs, person=person or login(), init=start, say=options.say
    )
    if as_json:
        click.echo(json.dumps({"run": str(run.path), "scores": run.scores}))
        return
    click.echo(results.summary(run))
    click.echo(results.next_steps(run, dataset))


def load(
    dataset: str, manual_dir: Path | None, preset: str | None, overrides: tuple[str, ...], *, unlock: bool
) -> Config:
    """Give the configuration; rendered frames are trained on with the preset ``quick`` unless another is named."""
    if preset is None and pipeline.uses_rendered(dataset, manual_dir):
        preset = "quick"
    return settings.load(preset, overrides, unlock=unlock)


def login() -> str:
    """Give the login name in the letters a run's folder may have."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):
        name = ""
    kept = re.sub(r"[^A-Za-z0-9_-]", "", name).lstrip("0123456789_-")
    return kept or "someone"
