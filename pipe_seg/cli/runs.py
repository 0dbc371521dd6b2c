"""``runs list | show | compare``."""

import json
from pathlib import Path
from typing import Any

import click

from pipe_seg.cli import options, results
from pipe_seg.errors import PipeSegError, invocation
from pipe_seg.pipeline import comparison
from pipe_seg.pipeline import runs as run_folder
from pipe_seg.pipeline.runs import Run


@click.group()
def runs() -> None:
    """List, show and compare runs."""


@runs.command("list")
@options.runs
@options.as_json
def list_(runs: Path, as_json: bool) -> None:
    """Show every run with its dataset and scores, oldest first; of a damaged run, what is wrong."""
    rows = [_row(run) for run in run_folder.list_runs(runs)]
    if as_json:
        click.echo(json.dumps(rows))
        return
    if not rows:
        click.echo(f"no runs in {runs}/ yet: {invocation('train', '--dataset', 'pbs')}")
        return
    header = ["run", "trained on", "finished", "scored on", "iou", "dice", "blessed", ""]
    results.table(header, [list(row.values()) for row in rows])


@runs.command()
@click.argument("run", metavar="RUN")
@options.runs
@options.as_json
def show(run: str, runs: Path, as_json: bool) -> None:
    """Show one run: what it was made from and how good it is."""
    found = run_folder.find_run(run, runs)
    if as_json:
        click.echo(json.dumps({"path": str(found.path), "run": found.info, "scores": found.scores}))
        return
    info = found.info
    click.echo(results.summary(found))
    click.echo(f"trained on {info['dataset']}, from {info['init'] or 'scratch'}, preset {info['preset']}")
    for stage in info.get("stages", []):
        click.echo(f"stage      {stage['name']}  {stage['component']}  {stage['key'][:12]}")
    click.echo(f"unlocked   {', '.join(info['unlocked']) or 'nothing'}")
    changed = ", with uncommitted changes" if info.get("uncommitted_changes") else ""
    click.echo(f"code       {info['commit'] or 'no commit known'}{changed}")


@runs.command()
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@options.runs
@options.as_json
def compare(first: str, second: str, runs: Path, as_json: bool) -> None:
    """Show what differs between two runs in configuration, code, machine, data, training and scores."""
    a, b = (run_folder.find_run(reference, runs) for reference in (first, second))
    differences = comparison.compare(a, b)
    if as_json:
        click.echo(json.dumps(differences))
        return
    rows = [
        [f"{part}: {key}", *map(results.text, pair)] for part, keys in differences.items() for key, pair in keys.items()
    ]
    results.table(["", a.path.name, b.path.name], rows)


def _row(run: Run) -> dict[str, Any]:
    row = dict.fromkeys(("run", "trained_on", "finished", "scored_on", "iou", "dice", "blessed"), None)
    row["run"] = run.path.name
    try:
        info, scores = run.info, run.scores
    except PipeSegError as error:
        return row | {"fault": error.lines()[0]}
    row |= {"trained_on": info.get("recipe") or info["dataset"], "finished": run.finished}
    if scores:
        row["scored_on"] = f"{results.rendered(scores)}{scores['dataset']}"
        row |= {name: scores["headline"][name]["value"] for name in ("iou", "dice")} | {"blessed": scores["blessed"]}
    return row | {"fault": ""}
