"""``predict``: masks for images and folders."""

import json
from pathlib import Path
from typing import Literal

import click

from pipe_seg.cli import options, quiet
from pipe_seg.pipeline import runs as run_folder

MASK_VALUES = {"0/255": 255, "0/1": 1}


@click.command()
@click.argument("model", metavar="RUN|MODEL")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=options.FOLDER, required=True, help="Where masks, overlays and the table go.")
@click.option("--mask-values", type=click.Choice(list(MASK_VALUES)), default="0/255", show_default=True)
@click.option(
    "--engine",
    type=click.Choice(["auto", "tf", "openvino"]),
    default="tf",
    show_default=True,
    help="tf gives the very masks that were scored; auto: OpenVINO where it is installed, without a GPU.",
)
@options.runs
@options.as_json
def predict(
    model: str,
    sources: tuple[Path, ...],
    out: Path,
    mask_values: str,
    engine: Literal["auto", "tf", "openvino"],
    runs: Path,
    as_json: bool,
) -> None:
    """Write <stem>_mask.png, <stem>_overlay.jpg and predictions.csv for images and folders of images."""
    found = run_folder.find_model(model, runs)
    if found.crop_margin is not None:
        options.log(
            "warning: this model learnt to draw inside boxes, for `data refine`; it was not taught to find them"
        )
    quiet.tensorflow()
    from pipe_seg.components import bulk_inferrer

    rows = []
    answers = bulk_inferrer.run(found, sources=sources, out=out, mask_value=MASK_VALUES[mask_values], engine=engine)
    for row in answers:
        rows.append(row)
        options.log(f"{row['file']}  {100 * row['defect_area_fraction']:.1f} % defect")
    click.echo(json.dumps(rows) if as_json else f"{len(rows)} images → {out}")
