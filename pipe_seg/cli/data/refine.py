"""``data refine``: models take over from boxes where they can be believed."""

import json
from pathlib import Path
from typing import Any

import click

from pipe_seg import progress
from pipe_seg.artifacts import Model
from pipe_seg.cli import options, quiet
from pipe_seg.errors import ConfigError, Problem
from pipe_seg.pipeline import MANUAL_DIR
from pipe_seg.pipeline import runs as run_folder
from pipe_seg.schema import FOLDERS

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
    asked for each box alone, others for whole frames. Boxes that fail a gate stay boxes. The new version holds both
    data sets; with --to it is instead the frames the models are least certain of.
    """
    models = [run_folder.find_model(reference, runs) for reference in references]
    root = manual_dir or run_folder.manual_dir_of(models[0]) or MANUAL_DIR
    if not (root / FOLDERS["pbs"] / "images").is_dir():
        cure = f"--manual-dir with a folder that holds {FOLDERS['pbs']}/images"
        raise ConfigError(Problem(root, "no boxes here", expected=cure))
    if out.exists():
        raise ConfigError(Problem(out, "exists already", expected="another --out"))
    if out.resolve().is_relative_to(root.resolve()):
        raise ConfigError(Problem(out, "inside the data that is refined", expected="another --out"))
    quiet.tensorflow()
    from pipe_seg.components import refiner, statistics_gen
    from pipe_seg.components.refiner import page
    from pipe_seg.components.refiner.box_predictor import BoxPredictor

    layouts = {dataset.name: dataset.layout for dataset in statistics_gen.discover(root)}
    gates = refiner.Gates(refiner.usual_fill(layouts.get("ps")), tightness, agreement)
    asked = BoxPredictor(models, threshold)
    checked = refiner.check(None if tool else layouts.get("ps"), asked=asked, gates=gates)
    checked["chosen"] = _chosen(models, threshold)
    with progress.bar("refining") as report:
        frames = list(refiner.run(layouts["pbs"], asked=asked, gates=gates, report=report))
    named = [str(model.path) for model in models]
    if tool:
        told = refiner.write_prelabels(frames, form=tool, number=number, out=out, models=named)
        click.echo(json.dumps({"path": str(out), "frames": told}) if as_json else f"{out}  {told} frames to correct")
        return
    found = refiner.summary(frames)
    details: dict[str, Any] = {
        "models": named,
        "source": str(root.absolute()),
        "gates": gates.to_json(),
        "classes": found,
    }
    details |= {"threshold": threshold, "validation": checked}
    shown = page.render(frames, found, gates, named, checked)
    refiner.write_dataset(frames, root=root, out=out, details=details, page=shown)
    if as_json:
        click.echo(json.dumps({"path": str(out), "frames": len(frames), "classes": found, "validation": checked}))
        return
    _show(found)
    if checked["frames"]:
        click.echo(page.told(checked))
    click.echo(f"report     {out / 'refine.html'}")
    click.echo(f"next       python cli.py train --dataset pbs+ps --manual-dir {out}")


def _chosen(models: list[Model], threshold: float | None) -> list[str]:
    """Give what of the models was chosen on validation frames, which may be those that are asked about."""
    chosen = {name for model in models for name in model.chosen}
    return sorted(chosen if threshold is None else chosen - {"threshold"})


def _show(found: dict[str, dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("class", "boxes", "accepted", "refused by fill", "by tightness", "by agreement")
    for name, row in found.items():
        table.add_row(name, *(str(row[key]) for key in ("boxes", "accepted", "fill", "tightness", "agreement")))
    Console(soft_wrap=True).print(table)
