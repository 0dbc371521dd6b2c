"""``data build`` and ``data preview``: the TFDS dataset, and what it looks like."""

import json
from pathlib import Path
from typing import Any

import click

from pipe_seg import config as settings
from pipe_seg.cli import options, quiet
from pipe_seg.cli.data import choices
from pipe_seg.errors import ConfigError, Problem


@click.command()
@click.argument("name", type=click.Choice(["pbs", "ps"]))
@options.manual_dir
@choices.on_bad
@choices.max_bad
@click.option("--runner", metavar="NAME", help="A Beam runner, as DirectRunner; without it this process builds.")
@click.option("--beam-option", "beam", multiple=True, metavar="KEY=VALUE", help="An option of Beam's.")
@options.configured
@options.as_json
def build(
    name: str,
    manual_dir: Path | None,
    on_bad: str,
    max_bad: str,
    runner: str | None,
    beam: tuple[str, ...],
    preset: str | None,
    overrides: tuple[str, ...],
    unlock: bool,
    as_json: bool,
) -> None:
    """Make the TFDS dataset NAME from your frames, or from rendered ones where there are none."""
    given = (
        [f"example_gen.on_bad={on_bad}", f"example_gen.max_bad='{choices.share(max_bad)}'"] if on_bad == "skip" else []
    )
    listed = [*([f"runner={runner}"] if runner else []), *beam]
    if listed:
        given.append(f"example_gen.beam={json.dumps(listed)}")
    loaded = settings.load(preset, (*overrides, *given), unlock=unlock)
    quiet.tensorflow()
    from pipe_seg.data import examples
    from pipe_seg.pipeline import datasets

    dataset = datasets.examples(loaded, name, manual_dir, options.log)
    copy = datasets.publish(loaded, dataset)
    splits = dataset.card.get("splits", {})
    counts = {split: examples.count(dataset.path, split) for split in splits or ("train", "validation")}
    left_out = dataset.card.get("left_out", {})
    if as_json:
        made: dict[str, Any] = {"path": str(copy), "key": dataset.key, "frames": counts, "left_out": left_out}
        click.echo(json.dumps({**made, "content_digest": dataset.card.get("content_digest")}))
        return
    for problems in left_out.values():
        options.log(f"left out: {'; '.join(problems)}")
    click.echo(f"{copy}  {', '.join(f'{n} {split}' for split, n in counts.items())}")


@click.command()
@click.argument("source", metavar="FOLDER|pbs|ps")
@click.option("--per-class", type=click.IntRange(1, 20), default=3, show_default=True)
@click.option("--out", type=options.FILE, default="preview.png", show_default=True)
@options.manual_dir
@options.configured
def preview(
    source: str,
    per_class: int,
    out: Path,
    manual_dir: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    unlock: bool,
) -> None:
    """Draw a contact sheet: frames of each class, as they are, as fed to the network, as augmented."""
    loaded = settings.load(preset, overrides, unlock=unlock)
    if source not in ("pbs", "ps") and not Path(source).is_dir():
        raise ConfigError(Problem(source, "not there", expected="a folder of frames, pbs or ps"))
    quiet.tensorflow()
    from pipe_seg.pipeline import frames

    shown = frames.preview(loaded, source, manual_dir=manual_dir, per_class=per_class, out=out, log=options.log)
    click.echo(f"{out}  {len(shown)} frames")
