"""``models list | verify | promote | rollback | prune``: what a store holds and which version serves."""

import json
from typing import Any

import click

from pipe_seg.cli import options, results
from pipe_seg.errors import PipeSegError, RefusedError, invocation
from pipe_seg.serving import store
from pipe_seg.serving.store import version_labels
from pipe_seg.serving.store.location import StoreLocation

in_store = click.option(
    "--store", "uri", metavar="STORE", default="models", show_default=True, help="The store that `upload` fills."
)


@click.group()
def models() -> None:
    """List, verify, promote, roll back and prune the versions of a store."""


@models.command("list")
@in_store
@options.as_json
def list_(uri: str, as_json: bool) -> None:
    """Show every version with its labels and scores, oldest first."""
    place = store.at(uri)
    named = version_labels.read(place)
    rows = [_row(place, number, named) for number in place.versions()]
    if as_json:
        click.echo(json.dumps(rows))
        return
    if not rows:
        click.echo(f"no versions in {place.name} yet: {invocation('upload', 'last', '--to', place.name)}")
        return
    results.table(["version", "labels", "from", "iou", "dice", "blessed", ""], [list(row.values()) for row in rows])


@models.command()
@click.argument("version", type=click.IntRange(1), required=False)
@in_store
@options.as_json
def verify(version: int | None, uri: str, as_json: bool) -> None:
    """Compare every byte of VERSION, or of all, with what was published; exit 6 if anything differs."""
    place = store.at(uri)
    numbers = place.versions() if version is None else [version]
    problems: dict[str, list[str]] = {}
    for number in numbers:
        try:
            store.verify(place, number)
            problems[str(number)] = []
        except RefusedError as error:
            problems[str(number)] = error.lines()
    if as_json:
        click.echo(json.dumps(problems))
    for name, lines in () if as_json else problems.items():
        click.echo(f"version {name}: {'as published' if not lines else f'{len(lines)} faults'}")
    wrong = [line for lines in problems.values() for line in lines]
    if wrong:
        raise RefusedError(*wrong)


@models.command()
@click.argument("version", type=click.IntRange(1), required=False)
@click.option("--unblessed", is_flag=True, help="Promote though the evaluator did not bless it.")
@in_store
@options.as_json
def promote(version: int | None, unblessed: bool, uri: str, as_json: bool) -> None:
    """Put VERSION, or the candidate, into service: `stable` names it from now on."""
    now, before = version_labels.promote(store.at(uri), version, unblessed=unblessed)
    _moved(now, before, as_json=as_json)


@models.command()
@in_store
@options.as_json
def rollback(uri: str, as_json: bool) -> None:
    """Put back into service what was in service before."""
    now, before = version_labels.rollback(store.at(uri))
    _moved(now, before, as_json=as_json)


@models.command()
@click.option("--keep", type=click.IntRange(1), required=True, metavar="N", help="How many of the newest stay.")
@in_store
@options.as_json
def prune(keep: int, uri: str, as_json: bool) -> None:
    """Remove old versions; the newest N and those with a label stay."""
    gone = version_labels.prune(store.at(uri), keep)
    click.echo(json.dumps(gone) if as_json else f"removed    {', '.join(map(str, gone)) or 'nothing'}")


def _moved(now: int, before: int | None, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"stable": now, "before": before}))
    elif now == before:
        click.echo(f"stable     {now}, as it was")
    else:
        click.echo(f"stable     {now}{f', was {before}' if before else ''}")


def _row(place: StoreLocation, number: int, named: dict[str, int]) -> dict[str, Any]:
    try:
        told, fault = store.manifest(place, number), ""
    except PipeSegError as error:
        told, fault = {}, error.lines()[0]
    scores = told.get("scores", {})
    return {
        "version": number,
        "labels": " ".join(sorted(label for label, labelled in named.items() if labelled == number)),
        "from": told.get("run"),
        "iou": scores.get("iou"),
        "dice": scores.get("dice"),
        "blessed": told.get("blessed"),
        "fault": fault or results.rendered({"rendered": False} | told).strip(),
    }
