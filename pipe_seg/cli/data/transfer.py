"""``data import`` and ``data export``: other people's label files in, ours out."""

import json
from pathlib import Path

import click

from pipe_seg import progress
from pipe_seg.cli import options
from pipe_seg.cli.data import choices
from pipe_seg.errors import ConfigError, Problem, Tolerance, invocation

FORMATS = ("yolo", "voc", "coco", "labelme", "via", "cvat", "labelstudio", "roboflow", "masks")
WRITTEN = ("coco", "labelme", "cvat", "yolo")


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--from", "form", type=click.Choice(FORMATS), required=True, help="What wrote the labels.")
@click.option("--to", type=options.FOLDER, required=True, help="The folder to hold the data sets, as datasets.")
@click.option("--images", "frames_dir", type=options.FOLDER, help="Where the frames are, if not beside the labels.")
@click.option("--dataset", type=click.Choice(["auto", "pbs", "ps"]), default="auto", show_default=True)
@click.option(
    "--split", type=click.Choice(choices.SPLITS), default="train", show_default=True, help="Unless the source says."
)
@click.option("--class-map", "renamed", multiple=True, metavar="NAME=CLASS", help="CLASS - leaves the class out.")
@click.option(
    "--unlabelled",
    type=click.Choice(["error", "background", "skip"]),
    default="error",
    show_default=True,
    help="What a frame is that no label names.",
)
@click.option("--mask-threshold", type=click.IntRange(1, 65535), help="Mask values from here on are defect.")
@click.option("--prelabels", type=options.FILE, help="The list of `data refine --to`, if not beside the labels.")
@choices.on_bad
@choices.max_bad
@options.as_json
def import_(
    source: Path,
    form: str,
    to: Path,
    frames_dir: Path | None,
    dataset: str,
    split: str,
    renamed: tuple[str, ...],
    unlabelled: str,
    mask_threshold: int | None,
    prelabels: Path | None,
    on_bad: str,
    max_bad: str,
    as_json: bool,
) -> None:
    """Bring other people's labels into the layout of datasets/: a folder, a label file or a ZIP file."""
    from pipe_seg.annotations.classes import Classes
    from pipe_seg.components.importer import Order
    from pipe_seg.pipeline import frames

    order = Order(
        form,
        Classes(dict(_pair(text) for text in renamed)),
        dataset=dataset,
        split=split,
        unlabelled=unlabelled,
        mask_threshold=mask_threshold,
        prelabels=prelabels,
        tolerance=Tolerance(on_bad == "skip", choices.share(max_bad)),
    )
    with progress.bar("importing") as report:
        written = frames.import_(order, path=source, frames_dir=frames_dir, to=to, on_progress=report)
    counts = {str(folder.path): _count(folder.path) for folder in written}
    left_out = written[0].record["details"]["left_out"]
    if as_json:
        click.echo(json.dumps({"written": counts, "left_out": left_out}))
        return
    for line in left_out:
        options.log(f"left out: {line}")
    for path, splits in counts.items():
        click.echo(f"{path}  {', '.join(f'{n} {name}' for name, n in splits.items())}")
    click.echo(f"next       {invocation('data', 'check', to)}")


@click.command()
@click.argument("folder", type=options.FOLDER)
@click.option("--as", "form", type=click.Choice(WRITTEN), required=True, help="The tool that is to read it.")
@click.option("--to", type=options.FOLDER, required=True, help="The folder to make.")
def export(folder: Path, form: str, to: Path) -> None:
    """Write a data set's labels for a tool, so that a person can correct them there."""
    from pipe_seg.pipeline import frames

    for line in frames.export_labels(form, folder=folder, to=to):
        options.log(f"warning: not kept: {line}")
    click.echo(f"{to}")


def _count(folder: Path) -> dict[str, int]:
    return {path.name: sum(1 for _ in path.iterdir()) for path in sorted((folder / "images").iterdir())}


def _pair(text: str) -> tuple[str, str]:
    name, sign, target = text.partition("=")
    if not sign or not name or not target:
        raise ConfigError(Problem("--class-map", "not a pair", got=text, expected="NAME=CLASS"))
    return name, target
