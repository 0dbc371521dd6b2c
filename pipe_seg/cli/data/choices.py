"""Options that several verbs of ``data`` share, and how their values are read."""

import re
from pathlib import Path

import click

from pipe_seg.errors import ConfigError, InputDataError, Problem

GROUPS = ("auto", "name", "video", "regex", "hash")
SPLITS = ("train", "validation", "test")

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


def share(text: str) -> str:
    """Returns a number of frames or a share of them, as it was written."""
    number = text.removesuffix("%")
    if not number.replace(".", "", 1).isdigit() or not number.isascii() or ("." in number and text == number):
        raise ConfigError(Problem("--max-bad", "not a number or share", got=text, expected="as 5 or 1%"))
    return text


def check_folder(folder: Path, group_by: str, pattern: str | None) -> None:
    """Make sure that there is a folder, and a pattern exactly where one is needed."""
    if not folder.is_dir():
        raise InputDataError(Problem(folder, "not there", expected="a folder of frames"))
    if (group_by == "regex") != bool(pattern):
        raise ConfigError(Problem("--pattern", "goes with --group-by regex", expected="both or neither"))
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ConfigError(Problem("--pattern", f"not a regular expression: {error}", got=pattern)) from error


def fractions(text: str) -> dict[str, float]:
    """Returns the share of each split."""
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    fine = 2 <= len(shares) <= len(SPLITS) and all(0 <= share <= 1 for share in shares) and shares[0] > 0
    if not fine or abs(sum(shares) - 1) > 1e-9:
        expected = "two or three shares that add up to 1, as 0.7,0.15,0.15"
        raise ConfigError(Problem("--fractions", "not shares of one whole", got=text, expected=expected))
    return dict(zip(SPLITS, shares, strict=False))
