"""``data build``."""

import json
from pathlib import Path

import click

from pipe_seg import config as settings
from pipe_seg.cli import options, quiet


@click.group()
def data() -> None:
    """Build the datasets."""


@data.command()
@click.argument("name", type=click.Choice(["pbs", "ps"]))
@options.manual_dir
@options.configured
@options.as_json
def build(
    name: str, manual_dir: Path | None, preset: str | None, overrides: tuple[str, ...], unlock: bool, as_json: bool
) -> None:
    """Make the TFDS dataset NAME from your frames, or from rendered ones where there are none."""
    loaded = settings.load(preset, overrides, unlock=unlock)
    quiet.tensorflow()
    from pipe_seg import pipeline
    from pipe_seg.data import examples

    dataset = pipeline.examples(loaded, name, manual_dir, options.say)
    counts = {split: examples.count(dataset.path, split) for split in ("train", "validation")}
    if as_json:
        click.echo(json.dumps({"path": str(dataset.path), "frames": counts}))
        return
    click.echo(f"{dataset.path}  {counts['train']} train, {counts['validation']} validation")
