"""``experiment``: the guided run people know. Every question has a flag that answers it."""

import sys
from pathlib import Path

import click

from pipe_seg.cli import config as config_verb
from pipe_seg.cli import options, quiet, results, upload
from pipe_seg.cli.train import load
from pipe_seg.config import Config, locked_fields, value_of
from pipe_seg.errors import ConfigError, InputDataError, Problem
from pipe_seg.pipeline import comparison, datasets, models, recipe, runner
from pipe_seg.pipeline.runner import Request
from pipe_seg.pipeline.runs import PERSON, Run
from pipe_seg.schema import FOLDERS


@click.command()
@click.option("--name", "person", metavar="NAME", help="Your name in Latin letters.")
@options.manual_dir
@options.configured
@click.option("--to", "target", metavar="STORE", help="The model store [default: pusher.store].")
@click.option("--save/--no-save", default=None, help="Answers: Save the model to the server?")
@click.option("--yes", is_flag=True, help="Answers: Continue? And saves what is blessed, unless --no-save.")
@options.runs
def experiment(
    person: str | None,
    manual_dir: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    unlock: bool,
    target: str | None,
    save: bool | None,
    yes: bool,
    runs: Path,
) -> None:
    """Name, settings, PBS, then PS; look at the results; save the model to the server, or refrain."""
    settings = load("pbs", manual_dir, preset, overrides, unlock=unlock)
    if len({datasets.uses_rendered(dataset, manual_dir) for dataset in FOLDERS}) > 1:
        both = " and ".join(FOLDERS.values())
        cure = f"both {both}, or neither"
        raise InputDataError(Problem(datasets.MANUAL_DIR, "one of two data sets", expected=cure))
    name = ask_name(person)
    options.log(f"Hello, {name}.\n\n{tunable(settings)}\nDo not touch:\n{locked(settings)}\n")
    if not yes and not _confirm("Continue?", default=True, flag="--yes"):
        return
    quiet.tensorflow()
    rendered = datasets.uses_rendered("pbs", manual_dir)
    chosen = preset or ("quick" if rendered else None)
    request = Request(recipe.load("original"), chosen, overrides, unlock, manual_dir, name)
    run = runner.run(request, runs_dir=runs, log=options.log)
    first = runner.folder_of(run, request.recipe, 1)
    click.echo(results.summary(Run(first)))
    click.echo(results.summary(run))
    click.echo(beside_best(run, runs))
    if not _save_wanted(run, save=save, yes=yes):
        options.log("not saved")
        return
    pushed = models.push(settings, run, store=target, unblessed=not yes or bool(save))
    click.echo(f"saved      {pushed.uri}")


def ask_name(person: str | None) -> str:
    """Returns a name in Latin letters; prompts on a terminal until the answer is one.

    Raises:
        ConfigError: the flag's name will not do, or there is neither a flag nor a person.
    """
    if person is not None:
        if PERSON.fullmatch(person):
            return person
        raise ConfigError(Problem("--name", "not a name", got=person, expected="Latin letters, digits, - and _"))
    if not sys.stdin.isatty():
        raise ConfigError(Problem("experiment", "nobody to ask for a name", expected="--name NAME"))
    while True:
        answer = str(click.prompt("Your name, in Latin letters (--name)", err=True)).strip()
        if PERSON.fullmatch(answer):
            return answer
        options.log("Latin letters only, please: it becomes the name of a folder. As Anna or ivan-petrov.")


def tunable(settings: Config) -> str:
    """Returns what the experiment is about: the seed and the two recipes."""
    text = config_verb.commented(settings)
    wanted, kept = {"seed", "pbs", "ps"}, []
    section = ""
    for line in text.splitlines():
        section = line.partition(":")[0] if not line.startswith(" ") else section
        if section in wanted:
            kept.append(line)
    return "\n".join(kept)


def locked(settings: Config) -> str:
    """Returns the locked values, a line each."""
    return "\n".join(f"  {key}: {value_of(settings, key)}" for key in locked_fields())


def beside_best(run: Run, runs: Path) -> str:
    """Returns the result beside the best earlier one on the same frames."""
    scores = run.scores
    if scores is None or scores["headline"]["iou"]["value"] is None:
        return "no score to compare"
    best, words = comparison.previous_best(runs, run), results.rendered(scores)
    if best is None:
        return "best yet   no earlier run on these frames"
    earlier, iou = best
    difference = scores["headline"]["iou"]["value"] - iou
    return f"best yet   {words}IoU {iou:.3f} ({earlier.path.name}); this one {difference:+.3f}"


def _save_wanted(run: Run, *, save: bool | None, yes: bool) -> bool:
    blessed = bool(run.scores and run.scores["blessed"])
    if save is not None:
        return save
    if yes:
        if not blessed:
            options.log("The scores are poor. (--save saves it all the same.)")
        return blessed
    return upload.ask(blessed=blessed)


def _confirm(question: str, *, default: bool, flag: str) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError(Problem("experiment", f"nobody to ask: {question}", expected=flag))
    return click.confirm(f"{question} ({flag})", default=default, err=True)
