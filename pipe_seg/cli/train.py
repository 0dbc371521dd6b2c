"""``train``: one dataset, from frames to an exported, scored model."""

import getpass
import json
import re
from pathlib import Path

import click

from pipe_seg import config as settings
from pipe_seg import pipeline
from pipe_seg.cli import options, quiet, results
from pipe_seg.config import Config
from pipe_seg.errors import ConfigError, Problem
from pipe_seg.pipeline import runs as run_folder
from pipe_seg.pipeline.runs import Run
from pipe_seg.schema import JOINT


@click.command()
@click.option(
    "--dataset", type=click.Choice(["pbs", "ps", JOINT]), help="Boxes, contours, or both; not needed to resume."
)
@options.manual_dir
@options.configured
@click.option("--init", metavar="RUN", help="Start from another run's weights, as PS from PBS.")
@click.option(
    "--resume",
    metavar="RUN|last|auto",
    help="Go on with an interrupted run; auto: with the newest of this very configuration and data, or begin one.",
)
@click.option(
    "--strategy",
    type=click.Choice(["auto", "one", "mirrored", "multiworker"]),
    help="Which devices: same as -s trainer.strategy=.",
)
@click.option(
    "--batch-size",
    metavar="N|auto",
    help="Images a step; auto: the dataset's batch_size, computed in the fewest parts that fit into memory.",
)
@click.option(
    "--deterministic/--no-deterministic",
    default=None,
    help="The same seed, the same weights (default), or what is quickest: -s trainer.deterministic=.",
)
@click.option("--name", "person", metavar="NAME", help="Who trains, in Latin letters [default: your login].")
@options.runs
@options.as_json
def train(
    dataset: str | None,
    manual_dir: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    unlock: bool,
    init: str | None,
    resume: str | None,
    strategy: str | None,
    batch_size: str | None,
    deterministic: bool | None,
    person: str | None,
    runs: Path,
    as_json: bool,
) -> None:
    """Train a UNet, keep the best epoch, export it, and score what was exported against contours."""
    again = run_folder.find_unfinished(resume, runs) if resume not in (None, "auto") else None
    if again:
        dataset, manual_dir, init = _as_before(again, dataset, manual_dir, init)
    if dataset is None:
        raise click.UsageError("Missing option '--dataset'.")
    recipe = "joint" if dataset == JOINT else dataset
    short = {
        "trainer.strategy": strategy,
        "trainer.deterministic": deterministic,
        f"{recipe}.batch_size": None if batch_size == "auto" else batch_size,
    }
    chosen = (*overrides, *(f"{key}={value}" for key, value in short.items() if value is not None))
    if again and not (preset or chosen or unlock):
        loaded = again.config
    else:
        loaded = load(dataset, manual_dir, preset, chosen, unlock=unlock)
    start = run_folder.find_run(init, runs) if init else None
    quiet.tensorflow()
    if batch_size == "auto":
        parts = {"accumulate": pipeline.parts_that_fit(loaded, dataset, options.say)}
        loaded = loaded.model_copy(update={"trainer": loaded.trainer.model_copy(update=parts)})
    run = pipeline.train(
        loaded,
        dataset,
        manual_dir=manual_dir,
        runs=runs,
        person=person or login(),
        init=start,
        say=options.say,
        resume=again or ("auto" if resume else None),
    )
    if as_json:
        click.echo(json.dumps({"run": str(run.path), "scores": run.scores}))
        return
    click.echo(results.summary(run))
    if run.finished:
        click.echo(results.next_steps(run, dataset))


def _as_before(
    run: Run, dataset: str | None, manual_dir: Path | None, init: str | None
) -> tuple[str, Path | None, str | None]:
    """Give dataset, folder and start of an interrupted run, which may be left out but not differ.

    Raises:
        ConfigError: one was given and differs.
    """
    info = run.info
    before = {
        "--dataset": info["dataset"].partition("/")[0],
        "--manual-dir": info["manual_dir"],
        "--init": info["init"],
    }
    now = {"--dataset": dataset, "--manual-dir": str(manual_dir.absolute()) if manual_dir else None}
    wrong = [
        Problem(key, "differs", got=now[key], expected=before[key])
        for key in now
        if now[key] not in (None, before[key])
    ]
    if wrong:
        raise ConfigError(*wrong)
    if init and run_folder.find_run(init, run.path.parent).path.absolute() != Path(before["--init"] or "").absolute():
        raise ConfigError(Problem("--init", "differs", got=init, expected=before["--init"] or "none"))
    folder = Path(before["--manual-dir"]) if before["--manual-dir"] else None
    return before["--dataset"], folder, before["--init"]


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
