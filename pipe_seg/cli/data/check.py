"""``data check`` and ``data split``: a folder's content, its errors, and which scenes are held out."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipe_seg import disk, progress
from pipe_seg.cli import options
from pipe_seg.cli.data import choices
from pipe_seg.errors import InputDataError, RefusedError, Tolerance

if TYPE_CHECKING:
    from pipe_seg.components.example_validator import Anomaly
    from pipe_seg.data.statistics import Statistics


@click.command()
@click.argument("folder", type=options.FOLDER)
@choices.group_by
@choices.pattern
@click.option("--html", type=options.FILE, help="Write a page with the pictures.")
@choices.on_bad
@choices.max_bad
@options.as_json
def check(
    folder: Path, group_by: str, pattern: str | None, html: Path | None, on_bad: str, max_bad: str, as_json: bool
) -> None:
    """Read every frame and label of FOLDER: what is in it, and what is wrong. Exit 3 if anything is."""
    from pipe_seg.pipeline import frames

    tolerance = Tolerance(on_bad == "skip", choices.share(max_bad))
    choices.check_folder(folder, group_by, pattern)
    with progress.bar("checking") as report:
        statistics, anomalies = frames.check(folder, group_by=group_by, pattern=pattern, on_progress=report)
    if html:
        from pipe_seg.components.example_validator import page

        with disk.environment(html):
            html.write_text(page.render(statistics, anomalies), "utf-8", errors="backslashreplace")
    if as_json:
        found = [anomaly.to_json() for anomaly in anomalies]
        click.echo(json.dumps({**statistics.to_json(), "anomalies": found}))
    else:
        _show(statistics, anomalies)
        if html:
            click.echo(f"page       {html}")
    _judge(statistics, anomalies, tolerance)


def _judge(statistics: "Statistics", anomalies: "Sequence[Anomaly]", tolerance: Tolerance) -> None:
    """End with exit 3 (or 6) and the list, unless what is wrong may be left out."""
    errors = [anomaly for anomaly in anomalies if anomaly.severity == "error"]
    unusable = {path for anomaly in errors if anomaly.kind == "unusable" for path in anomaly.frames}
    if tolerance.allows(len(unusable), len(statistics.frames)):
        errors = [anomaly for anomaly in errors if anomaly.kind != "unusable"]
    if not errors:
        return
    kind: Callable[..., Exception] = RefusedError if any(anomaly.refused for anomaly in errors) else InputDataError
    raise kind(*(anomaly.problem for anomaly in errors))


@click.command()
@click.argument("folder", type=options.FOLDER)
@choices.group_by
@choices.pattern
@click.option("--fractions", default="0.8,0.2", metavar="TRAIN,VALIDATION[,TEST]", show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=42, show_default=True)
@click.option("--legacy-split", is_flag=True, help="Freeze the folders' own split and say how leaky it is.")
@click.option("--replace", is_flag=True, help="Make another split in the place of a frozen one.")
@click.option("--folds", type=click.IntRange(2), help="Instead, this many folders in --out for cross-validation.")
@click.option("--out", type=options.FOLDER, help="Where --folds puts them: OUT/0, OUT/1 … are --manual-dir folders.")
@options.as_json
def split(
    folder: Path,
    group_by: str,
    pattern: str | None,
    fractions: str,
    seed: int,
    legacy_split: bool,
    replace: bool,
    folds: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Freeze which scene trains and which is held out, as splits.json beside each data set's images."""
    from pipe_seg.pipeline import frames

    shares = choices.fractions(fractions)
    choices.check_folder(folder, group_by, pattern)
    if (folds is None) != (out is None):
        raise click.UsageError("--folds and --out belong together")
    if folds and out:
        with progress.bar("grouping") as report:
            made = frames.folds(
                folder, group_by=group_by, pattern=pattern, number=folds, seed=seed, out=out, on_progress=report
            )
        paths = [str(path) for path in made]
        click.echo(json.dumps({"folds": paths}) if as_json else "\n".join(paths))
        return
    with progress.bar("grouping") as report:
        statistics, files = frames.split(
            folder,
            group_by=group_by,
            pattern=pattern,
            fractions=shares,
            seed=seed,
            legacy=legacy_split,
            replace=replace,
            on_progress=report,
        )
    figures = {
        name: {
            split: {"frames": n, "scenes": len(file.groups(split))}
            for split, n in Counter(entry.split for entry in file.frames.values()).items()
        }
        for name, file in files.items()
    }
    crossing = statistics.crossing_pairs() if legacy_split else 0
    if as_json:
        click.echo(json.dumps({"datasets": figures, "scenes": len(set(statistics.groups)), "crossing": crossing}))
        return
    for name, held in figures.items():
        told = ", ".join(f"{split} {n['frames']} frames of {n['scenes']} scenes" for split, n in held.items())
        click.echo(f"{name:<10} {told}")
    if legacy_split:
        click.echo(f"leaky      {crossing} pairs of frames of one scene stand on two sides")


def _show(statistics: "Statistics", anomalies: "Sequence[Anomaly]") -> None:
    """Writes the table and the warnings; errors are printed at the end, on stderr."""
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
        options.log(f"warning: {anomaly.problem}")
