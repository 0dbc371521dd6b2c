"""``data prune``: shared artifacts that no run refers to."""

import json
from pathlib import Path

import click

from pipe_seg import config as settings
from pipe_seg.cli import options


@click.command()
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
@options.runs
@options.configured
@options.as_json
def prune(
    dry_run: bool, runs: Path, preset: str | None, overrides: tuple[str, ...], unlock: bool, as_json: bool
) -> None:
    """Remove built datasets, crops and refined frames that no run refers to; they can be made again.

    What was made or used within the last hour stays, and so does what runs in other folders refer to.
    """
    from pipe_seg.pipeline import datasets

    found = datasets.prune(settings.load(preset, overrides, unlock=unlock), runs, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps({"removed": not dry_run, "artifacts": [[str(path), size] for path, size in found]}))
        return
    for path, size in found:
        click.echo(f"{path}  {size / 1e6:.1f} MB")
    total = sum(size for _, size in found) / 1e6
    click.echo(f"{'would remove' if dry_run else 'removed'} {len(found)} artifacts, {total:.1f} MB")
