"""``config show | init | validate``."""

import json
from pathlib import Path

import click

from pipe_seg import config as settings
from pipe_seg.cli import options
from pipe_seg.disk import environment
from pipe_seg.errors import ConflictError, Problem


@click.group()
def config() -> None:
    """Show, write and check the configuration."""


@config.command()
@options.configured
@options.as_json
def show(preset: str | None, overrides: tuple[str, ...], unlock: bool, as_json: bool) -> None:
    """Print the whole configuration; what is printed can be saved and loaded again."""
    loaded = settings.load(preset, overrides, unlock=unlock)
    click.echo(json.dumps(loaded.model_dump(mode="json"), indent=2) if as_json else commented(loaded), nl=as_json)


@config.command()
@click.argument("path", type=options.FILE, default=Path("config.yaml"))
@options.configured
def init(path: Path, preset: str | None, overrides: tuple[str, ...], unlock: bool) -> None:
    """Write a configuration to edit; it is never written over."""
    loaded = settings.load(preset, overrides, unlock=unlock)
    if path.exists():
        raise ConflictError(Problem(path, "exists already", expected="another name"))
    with environment(path):
        path.write_text(commented(loaded), "utf-8")
    click.echo(path)


@config.command()
@click.argument("path", type=options.FILE)
@options.unlock
def validate(path: Path, unlock: bool) -> None:
    """Check a file and print what is wrong, with line and key."""
    settings.load(path, unlock=unlock)
    click.echo(f"{path}: good")


def commented(loaded: settings.Config) -> str:
    """Returns the YAML text with locked values marked as such."""
    locked = settings.locked_fields()
    section, lines = "", []
    for line in loaded.to_yaml().splitlines():
        name = line.strip().partition(":")[0]
        section = name if not line.startswith(" ") else section
        why = locked.get(f"{section}.{name}") if line.startswith("  ") and not line.startswith("   ") else None
        lines.append(f"{line}  # do not touch: {why}" if why else line)
    return "\n".join(lines) + "\n"
