"""``data refine``: models take over from boxes where they can be believed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from pipe_seg import progress
from pipe_seg.cli import options, quiet, results
from pipe_seg.config import RefinerSection
from pipe_seg.errors import invocation
from pipe_seg.pipeline import runs as run_folder
from pipe_seg.pipeline.datasets import MANUAL_DIR
from pipe_seg.pipeline.frames import crop_source
from pipe_seg.pipeline.runs import Run

TOOLS = ("cvat", "labelme")


@click.command()
@click.argument("references", metavar="RUN...", nargs=-1, required=True)
@click.option("--out", type=options.FOLDER, required=True, help="The folder to make.")
@click.option("--to", "tool", type=click.Choice(TOOLS), help="Write pre-labels for a person instead of a data set.")
@click.option("--number", type=click.IntRange(1), default=30, show_default=True, help="Frames to pre-label.")
@click.option("--tightness", type=click.FloatRange(0, 1), default=0.3, show_default=True)
@click.option("--agreement", type=click.FloatRange(0, 1), default=0.5, show_default=True)
@click.option(
    "--threshold", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="[default: each model's own]"
)
@options.manual_dir
@options.runs
@options.as_json
def refine(
    references: tuple[str, ...],
    out: Path,
    tool: str | None,
    number: int,
    tightness: float,
    agreement: float,
    threshold: float | None,
    manual_dir: Path | None,
    runs: Path,
    as_json: bool,
) -> None:
    """Put the contours that models find into the training boxes of PBS, where they pass the gates.

    Each RUN is a run, an exported model, or last; several judge each other. A model that learnt from `data crop` is
    run on each box alone, others on whole frames. Boxes that fail a gate stay boxes. The new version holds both
    data sets; with --to it is instead the frames the models are least certain of.
    """
    models = [run_folder.find_model(reference, runs) for reference in references]
    first = run_folder.run_of(models[0])
    root = manual_dir or _frames_of(first) or MANUAL_DIR
    section = RefinerSection(tightness=tightness, agreement=agreement, threshold=threshold)
    quiet.tensorflow()
    from pipe_seg.components.refiner import page
    from pipe_seg.pipeline import frames

    with progress.bar("refining") as report:
        if tool:
            number = frames.prelabel(
                section, models=models, root=root, out=out, form=tool, number=number, on_progress=report
            )
        else:
            made = frames.refine(section, models=models, root=root, out=out, on_progress=report)
    if tool:
        text = json.dumps({"path": str(out), "frames": number}) if as_json else f"{out}  {number} frames to correct"
        click.echo(text)
        return
    if as_json:
        content = {"frames": made.frames, "classes": made.classes, "validation": made.validation}
        click.echo(json.dumps({"path": str(out), **content}))
        return
    _show(made.classes)
    if made.validation["frames"]:
        click.echo(page.sentence(made.validation))
    click.echo(f"report     {out / 'refine.html'}")
    preset = ["--preset", first.info["preset"]] if first and first.info["preset"] != "default" else []
    where = [] if runs == results.DEFAULT_RUNS else ["--runs", runs]
    click.echo(f"next       {invocation('train', '--dataset', 'pbs+ps', *preset, '--manual-dir', out, *where)}")


def _frames_of(run: Run | None) -> Path | None:
    """Returns the frames that a run learnt from, or that its crops were cut from; None for rendered ones."""
    if run is None or run.rendered:
        return None
    folder = Path(run.info["manual_dir"])
    return crop_source(folder) or folder


def _show(found: Mapping[str, Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("class", "boxes", "accepted", "refused by fill", "by tightness", "by agreement")
    for name, row in found.items():
        table.add_row(name, *(str(row[key]) for key in ("boxes", "accepted", "fill", "tightness", "agreement")))
    Console(soft_wrap=True).print(table)
