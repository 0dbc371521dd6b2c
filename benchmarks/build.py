"""How long a build takes against reading the same bytes: python benchmarks/build.py --manual-dir DIR.

Ratios are from one run, in turns, in one process, caches warm; TensorFlow is imported before the clock starts.
"""

import hashlib
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from pipe_seg import images

ROUNDS = 3


@click.command()
@click.option("--manual-dir", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--name", default="pbs", show_default=True)
def main(manual_dir: Path, name: str) -> None:
    """Time the build and its parts."""
    import tensorflow as tf

    from pipe_seg.components import example_gen
    from pipe_seg.config import ExampleGenSection

    tf.constant(0)
    logging.disable(logging.WARNING)
    folder = manual_dir / example_gen.builder_class(name).FOLDER
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    frames = [path for path in files if path.suffix in images.SUFFIXES and "images" in path.parts]

    def build() -> None:
        with tempfile.TemporaryDirectory() as data_dir:
            example_gen.run(ExampleGenSection(data_dir=data_dir), name=name, manual_dir=manual_dir, rendered=False)

    parts: dict[str, Callable[[], object]] = {
        "read and sha256": lambda: [hashlib.sha256(path.read_bytes()).digest() for path in files],
        "the same, each JPEG checked to the last byte": lambda: [images.check(path.read_bytes()) for path in frames],
        "build": build,
    }
    times: dict[str, list[float]] = {part: [] for part in parts}
    for _ in range(ROUNDS):
        for part, run in parts.items():
            started = time.perf_counter()
            run()
            times[part].append(time.perf_counter() - started)
    base = statistics.median(times["read and sha256"])
    for part, found in times.items():
        middle = statistics.median(found)
        click.echo(f"{part:<48} {middle:7.3f} s  {middle / len(frames) * 1000:6.2f} ms a frame  {middle / base:6.1f} x")


if __name__ == "__main__":
    main()
