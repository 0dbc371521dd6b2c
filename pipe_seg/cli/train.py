"""``train``: one dataset or a whole recipe, from frames to an exported, scored model."""

import getpass
import json
import re
from pathlib import Path
from typing import Any

import click

from pipe_seg import config as settings
from pipe_seg.cli import options, quiet, results
from pipe_seg.config import Config
from pipe_seg.errors import ConfigError, Problem
from pipe_seg.pipeline import datasets, recipe, runner, training
from pipe_seg.pipeline import runs as run_folder
from pipe_seg.pipeline.runner import Request
from pipe_seg.pipeline.runs import Run
from pipe_seg.schema import JOINT


@click.command()
@click.option(
    "--recipe", "recipe_name", metavar="NAME|FILE", help=f"Several stages in one run: {', '.join(recipe.names())}."
)
@click.option("--dataset", type=click.Choice(["pbs", "ps", JOINT]), help="One stage: boxes, contours, or both.")
@options.manual_dir
@options.configured
@click.option("--init", metavar="RUN", help="Start from another run's weights, as PS from PBS.")
@click.option(
    "--resume",
    metavar="RUN|last|auto",
    help="Continue an interrupted run; auto: the newest of this very configuration and data, or a new one.",
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
    help="The same seed, the same weights (default), or the quickest: -s trainer.deterministic=.",
)
@click.option("--name", "person", metavar="NAME", help="Who trains, in Latin letters [default: your login].")
@options.runs
@options.as_json
def train(
    recipe_name: str | None,
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
    """Train a UNet, keep the best epoch, export it, and score what was exported against contours.

    --recipe runs several stages in one run folder; the same command continues it after any interruption.
    """
    again = run_folder.find_unfinished(resume, runs) if resume not in (None, "auto") else None
    single = {"init": init, "strategy": strategy, "batch_size": batch_size, "deterministic": deterministic}
    if recipe_name or (again and "request" in again.info):
        _refuse_single(dataset, single)
        configured = (preset, overrides, unlock)
        run = _run_recipe(recipe_name, again, manual_dir, configured, person or login(), runs)
    else:
        run = _run_single(
            dataset, manual_dir, preset, overrides, person or login(), runs, resume, again, single, unlock=unlock
        )
    if as_json:
        click.echo(json.dumps({"run": str(run.path), "scores": run.scores}))
        return
    click.echo(results.summary(run))
    if run.finished:
        click.echo(results.next_steps(run, runs))


def _refuse_single(dataset: str | None, single: dict[str, Any]) -> None:
    given = [
        f"--{name.replace('_', '-')}" for name, value in {"dataset": dataset, **single}.items() if value is not None
    ]
    if given:
        cure = "-s section.key=value, which goes for every stage"
        raise ConfigError(*(Problem(flag, "goes with one dataset, not with a recipe", expected=cure) for flag in given))


def _run_recipe(
    name: str | None,
    again: Run | None,
    manual_dir: Path | None,
    configured: tuple[str | None, tuple[str, ...], bool],
    person: str,
    runs: Path,
) -> Run:
    preset, overrides, unlock = configured
    if again:
        request = runner.request_of(again, manual_dir)
        given = bool(preset or overrides or unlock) or (name and recipe.load(name) != request.recipe)
        if given:
            cure = "no --recipe, --preset, -s or --unlock with --resume, or another training"
            raise ConfigError(Problem(again.path, "continues with the settings it began with", expected=cure))
    else:
        wanted = recipe.load(str(name))
        request = Request(wanted, _preset(preset, wanted, manual_dir), overrides, unlock, manual_dir, person)
    quiet.tensorflow()
    return runner.run(request, runs_dir=runs, log=options.log, resume=again)


def _preset(preset: str | None, wanted: recipe.Recipe, manual_dir: Path | None) -> str | None:
    """Returns the preset of stages that name none: ``quick`` for rendered frames unless another is given."""
    rendered = wanted.rendered or datasets.uses_rendered(wanted.stages[-1].dataset or "ps", manual_dir)
    return preset or ("quick" if rendered else None)


def _run_single(
    dataset: str | None,
    manual_dir: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    person: str,
    runs: Path,
    resume: str | None,
    again: Run | None,
    single: dict[str, Any],
    *,
    unlock: bool,
) -> Run:
    init, batch_size = single["init"], single["batch_size"]
    if again:
        dataset, init = _as_before(again, dataset, init)
    if dataset is None:
        raise click.UsageError("Missing option '--dataset' or '--recipe'.")
    section = "joint" if dataset == JOINT else dataset
    short = {
        "trainer.strategy": single["strategy"],
        "trainer.deterministic": single["deterministic"],
        f"{section}.batch_size": None if batch_size == "auto" else batch_size,
    }
    chosen = (*overrides, *(f"{key}={value}" for key, value in short.items() if value is not None))
    if again and not (preset or chosen or unlock):
        loaded = again.config
    else:
        loaded = load(dataset, manual_dir, preset, chosen, unlock=unlock)
    start = run_folder.find_run(init, runs) if init else None
    quiet.tensorflow()
    if batch_size == "auto":
        parts = {"accumulate": training.parts_that_fit(loaded, dataset, options.log)}
        loaded = loaded.model_copy(update={"trainer": loaded.trainer.model_copy(update=parts)})
    return training.train(
        loaded,
        dataset,
        manual_dir=manual_dir,
        runs_dir=runs,
        person=person,
        init=start,
        log=options.log,
        resume=again or ("auto" if resume else None),
    )


def _as_before(run: Run, dataset: str | None, init: str | None) -> tuple[str, str | None]:
    """Returns dataset and start of an interrupted run; they may be left out but not differ.

    Raises:
        ConfigError: One was given and differs.
    """
    info = run.info
    before, start = info["dataset"].partition("/")[0], info["init"]
    if dataset not in (None, before):
        raise ConfigError(Problem("--dataset", "differs", got=dataset, expected=before))
    if init and run_folder.find_run(init, run.path.parent).path.absolute() != Path(start or "").absolute():
        raise ConfigError(Problem("--init", "differs", got=init, expected=start or "none"))
    return before, start


def load(
    dataset: str, manual_dir: Path | None, preset: str | None, overrides: tuple[str, ...], *, unlock: bool
) -> Config:
    """Returns the configuration; rendered frames use the preset ``quick`` unless another is named."""
    if preset is None and datasets.uses_rendered(dataset, manual_dir):
        preset = "quick"
    return settings.load(preset, overrides, unlock=unlock)


def login() -> str:
    """Returns the login name in the letters that a run's folder may have."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):
        name = ""
    kept = re.sub(r"[^A-Za-z0-9_-]", "", name).lstrip("0123456789_-")
    return kept or "someone"


@click.command(runner.STAGE_VERB, hidden=True)
@click.argument("run", type=options.FOLDER)
@click.argument("number", type=click.IntRange(1))
@options.manual_dir
@click.option("--reuse", type=options.FOLDER)
def run_stage(run: Path, number: int, manual_dir: Path | None, reuse: Path | None) -> None:
    """Take one stage of a recipe's run; ``train --recipe`` calls this in a process of its own."""
    quiet.tensorflow()
    from pipe_seg.pipeline import stages

    stages.run_stage(Run(run), number, manual_dir=manual_dir, reuse=reuse, log=options.log)
