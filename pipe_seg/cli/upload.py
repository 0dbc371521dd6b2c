"""``upload``: a blessed model into a store."""

import json
import sys
from pathlib import Path

import click

from pipe_seg.cli import options, results
from pipe_seg.errors import ConfigError, PipeSegError, Problem, invocation
from pipe_seg.pipeline import models as pipeline_models
from pipe_seg.pipeline.runs import find_run
from pipe_seg.serving import store
from pipe_seg.serving.store import version_labels
from pipe_seg.serving.store.location import StoreLocation


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--to", "target", metavar="STORE", help="A folder, s3://, gs://, sftp:// or mlflow: [default: pusher.store]."
)
@click.option("--yes", is_flag=True, help="Answer the question; it never stands in for a blessing.")
@click.option(
    "--unblessed", is_flag=True, help="Publish though the evaluator did not bless it; written into the manifest."
)
@options.runs
@options.as_json
def upload(run: str, target: str | None, yes: bool, unblessed: bool, runs: Path, as_json: bool) -> None:
    """Publish RUN's model as the next version: staged, verified in a fresh process, then renamed."""
    found = find_run(run, runs)
    settings = found.config
    if found.scores is None:
        raise ConfigError(Problem(found.path, "this run was not evaluated", expected="a run that ended well"))
    where = store.at(target or settings.pusher.store)
    options.log(results.summary(found))
    options.log(served_now(where))
    answered = not yes and ask(blessed=bool(found.scores["blessed"]))
    if not yes and not answered:
        options.log("not saved")
        return
    pushed = pipeline_models.push(settings, found, store=target, unblessed=unblessed or answered)
    if as_json:
        click.echo(json.dumps({"version": pushed.uri}))
        return
    click.echo(f"saved      {pushed.uri}, labelled candidate")
    click.echo(f"next       {invocation('models', 'promote', '--store', where.name)}")


def ask(*, blessed: bool) -> bool:
    """Returns the answer to *Save the model to the server?*; the default comes from the blessing.

    A person may answer yes against the advice; the manifest then records that it was not blessed.

    Raises:
        ConfigError: stdin is not a terminal.
    """
    if not sys.stdin.isatty():
        raise ConfigError(Problem("upload", "nobody to ask", expected="--yes"))
    if not blessed:
        options.log("The scores are poor: better refrain.")
    return click.confirm("Save the model to the server? (--yes)", default=blessed, err=True)


def served_now(location: StoreLocation) -> str:
    """Returns the scores of a store's stable version, or of the newest if none is stable."""
    number = version_labels.read(location).get(version_labels.STABLE) or max(location.versions(), default=None)
    if number is None:
        return f"served now nothing in {location.name}"
    try:
        manifest = store.manifest(location, number)
        scores, words = manifest["scores"], results.rendered(manifest)
    except (PipeSegError, KeyError):
        return f"served now version {number}, without a readable manifest"
    return f"served now version {number}: {words}" + "  ".join(
        f"{key} {value:.3f}" for key, value in scores.items() if value is not None
    )
