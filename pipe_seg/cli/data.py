"""``data import|export|check|split|build|preview``: frames and labels, before anything trains."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipe_seg import config as settings
from pipe_seg import progress
from pipe_seg.cli import options, quiet
from pipe_seg.errors import ConfigError, InputDataError, Problem, RefusedError

if TYPE_CHECKING:
    from pipe_seg.components.example_validator import Anomaly
    from pipe_seg.data.statistics import Statistics

FORMATS = ("yolo", "voc", "coco", "labelme", "via", "cvat", "labelstudio", "roboflow", "masks")
WRITTEN = ("coco", "labelme", "cvat", "yolo")
GROUPS = ("auto", "name", "video", "regex", "hash")
SPLITS = ("train", "validation", "test")
SOURCE = click.Path(path_type=Path)

on_bad = click.option(
    "--on-bad",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="Stop, or leave frames out that cannot be used.",
)
max_bad = click.option(
    "--max-bad", default="0", metavar="N|X%", show_default=True, help="How many frames `skip` may leave out."
)
group_by = click.option(
    "--group-by",
    type=click.Choice(GROUPS),
    default="auto",
    show_default=True,
    help="What makes frames one scene: name, bytes and look (auto), or one of them.",
)
pattern = click.option("--pattern", metavar="REGEX", help="For --group-by regex: its first group is the scene.")


@click.group()
def data() -> None:
    """Import, check, split, build and look at the data."""


@data.command("import")
@click.argument("source", type=SOURCE)
@click.option("--from", "form", type=click.Choice(FORMATS), required=True, help="What wrote the labels.")
@click.option("--to", type=options.FOLDER, required=True, help="The folder to hold the data sets, as datasets.")
@click.option("--images", "frames_dir", type=options.FOLDER, help="Where the frames are, if not beside the labels.")
@click.option("--dataset", type=click.Choice(["auto", "pbs", "ps"]), default="auto", show_default=True)
@click.option("--split", type=click.Choice(SPLITS), default="train", show_default=True, help="Unless the source says.")
@click.option("--class-map", "renamed", multiple=True, metavar="NAME=CLASS", help="CLASS - leaves the class out.")
@click.option(
    "--unlabelled",
    type=click.Choice(["error", "background", "skip"]),
    default="error",
    show_default=True,
    help="What a frame is that no label names.",
)
@click.option("--mask-threshold", type=click.IntRange(1, 65535), help="Mask values from here on are defect.")
@on_bad
@max_bad
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
    on_bad: str,
    max_bad: str,
    as_json: bool,
) -> None:
    """Bring other people's labels into the layout of datasets/: a folder, a label file or a ZIP file."""
    from pipe_seg.annotations.classes import Classes
    from pipe_seg.components import importer

    order = importer.Order(
        form,
        Classes(dict(_pair(text) for text in renamed)),
        dataset=dataset,
        split=split,
        unlabelled=unlabelled,
        mask_threshold=mask_threshold,
        skip=on_bad == "skip",
        most=_share(max_bad),
    )
    with progress.bar("importing") as report:
        written = importer.run(order, path=source, frames_dir=frames_dir, to=to, report=report)
    counts = {str(folder.path): _count(folder.path) for folder in written}
    left_out = written[0].record["details"]["left_out"]
    if as_json:
        click.echo(json.dumps({"written": counts, "left_out": left_out}))
        return
    for line in left_out:
        options.say(f"left out: {line}")
    for path, splits in counts.items():
        click.echo(f"{path}  {', '.join(f'{n} {name}' for name, n in splits.items())}")
    click.echo(f"next       python cli.py data check {to}")


@data.command()
@click.argument("folder", type=options.FOLDER)
@click.option("--as", "form", type=click.Choice(WRITTEN), required=True, help="The tool that is to read it.")
@click.option("--to", type=options.FOLDER, required=True, help="The folder to make.")
def export(folder: Path, form: str, to: Path) -> None:
    """Write a data set's labels for a tool, so that a person can correct them there."""
    from pipe_seg.components import importer, statistics_gen

    datasets = statistics_gen.discover(folder)
    if len(datasets) > 1 or not datasets[0].labelled:
        inner = " or ".join(str(dataset.layout.root) for dataset in datasets)
        raise ConfigError(Problem(folder, "not one data set with labels", expected=inner))
    for line in importer.export(form, layout=datasets[0].layout, out=to):
        options.say(f"warning: not kept: {line}")
    click.echo(f"{to}")


@data.command()
@click.argument("folder", type=options.FOLDER)
@group_by
@pattern
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with the pictures.")
@on_bad
@max_bad
@options.as_json
def check(
    folder: Path, group_by: str, pattern: str | None, html: Path | None, on_bad: str, max_bad: str, as_json: bool
) -> None:
    """Read every frame and label of FOLDER: what is in it, and what is wrong. Exit 3 if anything is."""
    from pipe_seg import artifacts, pipeline

    most = _share(max_bad)
    _check_folder(folder, group_by, pattern)
    with progress.bar("checking") as report:
        statistics, anomalies = pipeline.check(folder, group_by=group_by, pattern=pattern, report=report)
    if html:
        from pipe_seg.components.example_validator import page

        with artifacts.environment(html):
            html.write_text(page.render(statistics, anomalies), "utf-8")
    if as_json:
        found = [anomaly.to_json() for anomaly in anomalies]
        click.echo(json.dumps({**statistics.to_json(), "anomalies": found}))
    else:
        _show(statistics, anomalies)
        if html:
            click.echo(f"page       {html}")
    _judge(statistics, anomalies, skip=on_bad == "skip", most=most)


def _judge(statistics: "Statistics", anomalies: "Sequence[Anomaly]", *, skip: bool, most: str) -> None:
    """End with exit 3 (or 6) and the list, unless what is wrong may be left out."""
    errors = [anomaly for anomaly in anomalies if anomaly.severity == "error"]
    unusable = {path for anomaly in errors if anomaly.kind == "unusable" for path in anomaly.frames}
    allowed = float(most[:-1]) / 100 * len(statistics.frames) if most.endswith("%") else float(most)
    if skip and len(unusable) <= allowed:
        errors = [anomaly for anomaly in errors if anomaly.kind != "unusable"]
    if not errors:
        return
    kind: Callable[..., Exception] = RefusedError if any(anomaly.refused for anomaly in errors) else InputDataError
    raise kind(*(anomaly.problem for anomaly in errors))


@data.command()
@click.argument("folder", type=options.FOLDER)
@group_by
@pattern
@click.option("--fractions", default="0.8,0.2", metavar="TRAIN,VALIDATION[,TEST]", show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=42, show_default=True)
@click.option("--legacy-split", is_flag=True, help="Freeze the folders' own split and say how leaky it is.")
@click.option("--replace", is_flag=True, help="Make another split in the place of a frozen one.")
@options.as_json
def split(
    folder: Path,
    group_by: str,
    pattern: str | None,
    fractions: str,
    seed: int,
    legacy_split: bool,
    replace: bool,
    as_json: bool,
) -> None:
    """Freeze which scene trains and which is held out, as splits.json beside each data set's images."""
    from pipe_seg import pipeline

    shares = _fractions(fractions)
    _check_folder(folder, group_by, pattern)
    with progress.bar("grouping") as report:
        statistics, files = pipeline.split(
            folder,
            group_by=group_by,
            pattern=pattern,
            fractions=shares,
            seed=seed,
            legacy=legacy_split,
            replace=replace,
            report=report,
        )
    figures = {
        name: {
            split: {"frames": n, "scenes": len(file.groups(split))}
            for split, n in Counter(entry.split for entry in file.frames.values()).items()
        }
        for name, file in files.items()
    }
    crossing = len(statistics.crossing()) if legacy_split else 0
    if as_json:
        click.echo(json.dumps({"datasets": figures, "scenes": len(set(statistics.groups)), "crossing": crossing}))
        return
    for name, held in figures.items():
        told = ", ".join(f"{split} {n['frames']} frames of {n['scenes']} scenes" for split, n in held.items())
        click.echo(f"{name:<10} {told}")
    if legacy_split:
        click.echo(f"leaky      {crossing} pairs of frames of one scene stand on two sides")


@data.command()
@click.argument("name", type=click.Choice(["pbs", "ps"]))
@options.manual_dir
@on_bad
@max_bad
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
    given = [f"example_gen.on_bad={on_bad}", f"example_gen.max_bad='{_share(max_bad)}'"] if on_bad == "skip" else []
    listed = [*([f"runner={runner}"] if runner else []), *beam]
    if listed:
        given.append(f"example_gen.beam={json.dumps(listed)}")
    loaded = settings.load(preset, (*overrides, *given), unlock=unlock)
    quiet.tensorflow()
    from pipe_seg import pipeline
    from pipe_seg.data import examples

    dataset = pipeline.examples(loaded, name, manual_dir, options.say)
    splits = dataset.card.get("splits", {})
    counts = {split: examples.count(dataset.path, split) for split in splits or ("train", "validation")}
    left_out = dataset.card.get("left_out", {})
    if as_json:
        told: dict[str, Any] = {"path": str(dataset.path), "frames": counts, "left_out": left_out}
        click.echo(json.dumps({**told, "content_digest": dataset.card.get("content_digest")}))
        return
    for problems in left_out.values():
        options.say(f"left out: {'; '.join(problems)}")
    click.echo(f"{dataset.path}  {', '.join(f'{n} {split}' for split, n in counts.items())}")


@data.command()
@click.argument("source", metavar="FOLDER|pbs|ps")
@click.option("--per-class", type=click.IntRange(1, 20), default=3, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default="preview.png", show_default=True)
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
    from pipe_seg import pipeline

    shown = pipeline.preview(loaded, source, manual_dir=manual_dir, per_class=per_class, out=out, say=options.say)
    click.echo(f"{out}  {len(shown)} frames")


def _show(statistics: "Statistics", anomalies: "Sequence[Anomaly]") -> None:
    """Write the table and the warnings; errors are told at the end, on stderr."""
    from rich.console import Console
    from rich.table import Table

    figures = statistics.to_json()
    table = Table("data set", "frames", "unusable", "no defect", "defect area")
    for name, held in figures["datasets"].items():
        frames = ", ".join(f"{split} {n}" for split, n in held["frames"].items())
        area = f"{100 * held['defect_area']:.1f} %"
        table.add_row(name, frames, str(held["unusable"]), str(held["without_defect"]), area)
    console = Console(soft_wrap=True)
    console.print(table)
    classes = {name: held["frames_of_class"] for name, held in figures["datasets"].items()}
    for name, held in classes.items():
        console.print(f"{name}: {', '.join(f'{n} {label}' for label, n in held.items())}", highlight=False)
    links = ", ".join(f"{n} by {why}" for why, n in figures["links"].items()) or "none"
    console.print(
        f"{figures['scenes']} scenes, the largest of {figures['largest_scene']} frames; links: {links}; "
        f"{figures['copies']} copies of another file",
        highlight=False,
    )
    counts = Counter((anomaly.severity, anomaly.kind) for anomaly in anomalies)
    for (severity, kind), n in counts.items():
        console.print(f"{severity:<10} {kind}: {n}", highlight=False)
    for anomaly in [found for found in anomalies if found.severity == "warning"][:20]:
        options.say(f"warning: {anomaly.problem}")


def _count(folder: Path) -> dict[str, int]:
    return {path.name: sum(1 for _ in path.iterdir()) for path in sorted((folder / "images").iterdir())}


def _check_folder(folder: Path, group_by: str, pattern: str | None) -> None:
    import re

    if not folder.is_dir():
        raise InputDataError(Problem(folder, "not there", expected="a folder of frames"))
    if (group_by == "regex") != bool(pattern):
        raise ConfigError(Problem("--pattern", "goes with --group-by regex", expected="both or neither"))
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ConfigError(Problem("--pattern", f"not a regular expression: {error}", got=pattern)) from error


def _pair(text: str) -> tuple[str, str]:
    name, sign, target = text.partition("=")
    if not sign or not name or not target:
        raise ConfigError(Problem("--class-map", "not a pair", got=text, expected="NAME=CLASS"))
    return name, target


def _share(text: str) -> str:
    number = text.removesuffix("%")
    if not number.replace(".", "", 1).isdigit() or not number.isascii() or ("." in number and text == number):
        raise ConfigError(Problem("--max-bad", "not a number or share", got=text, expected="as 5 or 1%"))
    return text


def _fractions(text: str) -> dict[str, float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    fine = 2 <= len(shares) <= len(SPLITS) and all(0 <= share <= 1 for share in shares) and shares[0] > 0
    if not fine or abs(sum(shares) - 1) > 1e-9:
        expected = "two or three shares that add up to 1, as 0.7,0.15,0.15"
        raise ConfigError(Problem("--fractions", "not shares of one whole", got=text, expected=expected))
    return dict(zip(SPLITS, shares, strict=False))
