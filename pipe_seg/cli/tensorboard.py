"""``tensorboard``: the runs in a browser, on this machine only."""

import os
import sys
from pathlib import Path

import click

from pipe_seg.cli import options


@click.command()
@options.runs
@click.option("--port", type=click.IntRange(1, 65535), default=6006, show_default=True)
def tensorboard(runs: Path, port: int) -> None:
    """Start TensorBoard on the runs, reachable from this machine only."""
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(runs),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    os.execv(sys.executable, command)  # noqa: S606 - replaces this process, so Ctrl-C reaches TensorBoard
