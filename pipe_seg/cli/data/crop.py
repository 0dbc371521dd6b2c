"""``data crop``: contours as a network sees them that is to draw inside boxes."""

import json
from pathlib import Path

import click

from pipe_seg import progress
from pipe_seg.cli import options, quiet
from pipe_seg.errors import ConfigError, Problem
from pipe_seg.pipeline import MANUAL_DIR
from pipe_seg.schema import FOLDERS


@click.command()
@click.option("--out", type=options.FOLDER, required=True, help="The folder to make; train with it as --manual-dir.")
@click.option(
    "--margin", type=click.FloatRange(0, 1), default=0.25, show_default=True, help="On each side, as share of the box."
)
@options.manual_dir
@options.as_json
def crop(out: Path, margin: float, manual_dir: Path | None, as_json: bool) -> None:
    """Cut each box of the frames with contours out, with its surroundings, as a data set of its own.

    What trains on it draws the contour inside a box: more surely than what has to find the defect first. `data refine`
    then has it draw inside the boxes of PBS.
    """
    root = manual_dir or MANUAL_DIR
    if out.resolve() == root.resolve() or out.resolve().is_relative_to((root / FOLDERS["ps"]).resolve()):
        raise ConfigError(Problem(out, "inside the data that is cropped", expected="another --out"))
    quiet.tensorflow()
    from pipe_seg.components import cropper, statistics_gen

    layouts = {dataset.name: dataset.layout for dataset in statistics_gen.discover(root)}
    if "ps" not in layouts:
        raise ConfigError(Problem(root, "no contours here", expected=f"a folder with {FOLDERS['ps']}"))
    with progress.bar("cropping") as report:
        made = cropper.run(layouts["ps"], margin=margin, out=out, report=report)
    if as_json:
        click.echo(json.dumps({"path": str(out), "crops": made}))
        return
    click.echo(f"{out}  {', '.join(f'{number} {split}' for split, number in made.items())}")
    click.echo(f"next       python cli.py train --dataset ps --preset cctv --manual-dir {out}")
    click.echo(f"then       python cli.py data refine last --manual-dir {root} --out REFINED")
