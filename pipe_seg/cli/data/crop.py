"""``data crop``: contours as a network sees them that is to draw inside boxes."""

import json
from pathlib import Path

import click

from pipe_seg import progress
from pipe_seg.cli import options, quiet
from pipe_seg.errors import invocation
from pipe_seg.pipeline.datasets import MANUAL_DIR


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
    quiet.tensorflow()
    from pipe_seg.config import CropperSection
    from pipe_seg.pipeline import frames

    with progress.bar("cropping") as report:
        made = frames.crop(CropperSection(margin=margin), root=root, out=out, on_progress=report)
    if as_json:
        click.echo(json.dumps({"path": str(out), "crops": made}))
        return
    click.echo(f"{out}  {', '.join(f'{number} {split}' for split, number in made.items())}")
    click.echo(f"next       {invocation('train', '--dataset', 'ps', '--preset', 'cctv', '--manual-dir', out)}")
    click.echo(f"then       {invocation('data', 'refine', 'last', '--manual-dir', root, '--out', 'refined')}")
