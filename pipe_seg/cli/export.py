"""``export``: a run's weights as a SavedModel, again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from pipe_seg.cli import options, quiet, results
from pipe_seg.pipeline import models
from pipe_seg.pipeline import runs as run_folder

PRECISIONS = {"auto": "auto", "float32": "float32", "bf16": "bfloat16"}


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--precision",
    type=click.Choice(list(PRECISIONS)),
    default="auto",
    show_default=True,
    help="auto: bf16 where this machine computes in it; float32 runs everywhere.",
)
@click.option(
    "--target-recall",
    type=click.FloatRange(0, 1, min_open=True),
    help="Instead of the run's own threshold, the highest that finds this share of the defect's pixels on validation.",
)
@click.option(
    "--scale",
    type=click.FloatRange(0.5, 4),
    help="Ask the network at so many times the size at which it learnt; the threshold is chosen anew.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["keras", "litert", "onnx", "openvino"]),
    help="The bare network for another runtime too, beside the SavedModel in float32; may be given several times.",
)
@click.option("--int8", is_flag=True, help="With --format litert: 8 bits, if that costs at most 0.005 of IoU.")
@click.option("--out", type=options.FOLDER, required=True, help="The folder to make.")
@options.runs
@options.as_json
def export(
    run: str,
    precision: str,
    target_recall: float | None,
    scale: float | None,
    formats: tuple[str, ...],
    int8: bool,
    out: Path,
    runs: Path,
    as_json: bool,
) -> None:
    """Export RUN's best weights into OUT/saved_model with the run's own operating point, or another.

    Each --format comes with a figure: how far its masks are from the SavedModel's on 50 frames.
    """
    if int8 and set(formats) != {"litert"}:
        raise click.UsageError("--int8 goes with --format litert alone")
    found = run_folder.find_run(run, runs)
    before = found.model.facts
    quiet.tensorflow()
    model = models.export(
        found,
        precision="float32" if formats and precision == "auto" else PRECISIONS[precision],
        target_recall=target_recall,
        scale=scale,
        formats=formats,
        int8=int8,
        out=out,
    )
    if as_json:
        click.echo(json.dumps({"model": str(model.path), **model.facts}))
        return
    click.echo(f"{model.saved_model}  {model.facts['precision']}")
    for name in formats:
        click.echo(_parity(out, model.facts[name]))
    if target_recall is not None or scale is not None:
        click.echo("\n".join(_cost(before, model.facts)))


def _parity(out: Path, told: dict[str, Any]) -> str:
    """Returns a line on one format."""
    line = f"{out / told['file']}  mask IoU {told['mask_iou']:.4f} with the SavedModel in float32"
    line += f", at least {told['mask_iou_least']:.4f}, on {told['frames']} frames"
    return f"{line}; int8 costs {told['iou_lost']:+.4f} of IoU" if told["int8"] else line


def _cost(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Yields what another operating point costs, a line each."""
    for name, point in (("before", before["operating_point"]), ("now", now["operating_point"])):
        yield f"{name:<8} {results.operating_point(point)}"
