"""Options that several verbs share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)

preset = click.option("--preset", metavar="NAME|FILE", help="A preset's name, or your own YAML file.")
overrides = click.option("-s", "overrides", multiple=True, metavar="KEY=VALUE", help="Set one value, as pbs.epochs=20.")
unlock = click.option("--unlock", is_flag=True, help="Let locked values be changed; it is written into the run.")
manual_dir = click.option(
    "--manual-dir", type=FOLDER, help="The folder with PipeBoxSegmentation/ and PipeSegmentation/ [default: datasets]."
)
runs = click.option("--runs", type=FOLDER, default=Path("runs"), show_default=True, help="Where runs are kept.")
as_json = click.option("--json", "as_json", is_flag=True, help="The result as JSON on stdout.")


def configured(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--preset``, ``-s`` and ``--unlock``."""
    return preset(overrides(unlock(command)))


def log(text: str) -> None:
    """Write a line for the person on stderr."""
    click.echo(text, err=True)
