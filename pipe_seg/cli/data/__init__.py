"""``data import|export|check|split|build|preview|crop|refine|prune``: frames and labels."""

import click

from pipe_seg.cli.data.build import build, preview
from pipe_seg.cli.data.check import check, split
from pipe_seg.cli.data.crop import crop
from pipe_seg.cli.data.prune import prune
from pipe_seg.cli.data.refine import refine
from pipe_seg.cli.data.transfer import export, import_


@click.group()
def data() -> None:
    """Import, check, split, build, refine and look at the data."""


for command in (import_, export, check, split, build, preview, crop, refine, prune):
    data.add_command(command)
