"""How well relatives are found by look alone: python -m benchmarks.near_duplicates [--manual-dir DIR].

Planted ones among 500 rendered frames, for three seeds; and, in DIR, the augmented siblings that names give away
(000123_0 and 000123_2), their names not looked at.
"""

import tempfile
import time
from collections import Counter
from itertools import combinations
from pathlib import Path

import click

from pipe_seg.annotations.folders import group_of
from pipe_seg.components import statistics_gen
from pipe_seg.schema import FOLDERS
from tests import planted

SCENES, SEEDS = 100, (1, 2, 3)


@click.command()
@click.option("--manual-dir", type=click.Path(path_type=Path, exists=True))
def main(manual_dir: Path | None) -> None:
    """Count what is found and what is confused."""
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            click.echo(f"seed {seed}: {rendered(Path(folder), seed)}")
    if manual_dir:
        click.echo(real(manual_dir / FOLDERS["pbs"]))


def rendered(folder: Path, seed: int) -> str:
    frames, groups = planted.grouped(folder, SCENES, seed)
    first = {frame.scene: groups[name] for name, frame in frames.items() if frame.kind == "first"}
    together = Counter(frame.kind for name, frame in frames.items() if groups[name] == first[frame.scene])
    merged = SCENES - len({groups[name] for name, frame in frames.items() if frame.kind == "first"})
    shares = ", ".join(f"{kind} {n / SCENES:.0%}" for kind, n in together.items() if kind != "first")
    return f"{shares}; scenes merged with a stranger {merged} of {SCENES}"


def real(root: Path) -> str:
    started = time.perf_counter()
    found = statistics_gen.run(root, group_by="hash")
    spent = time.perf_counter() - started
    names = [group_of(frame.path.stem) for frame in found.frames]
    looks = [link for link in found.links if link.why == "look"]
    pairs = {(link.first, link.second) for link in looks}
    everyone = combinations(range(len(names)), 2)
    siblings = [(one, other) for one, other in everyone if names[one] == names[other]]
    share = sum(pair in pairs for pair in siblings) / max(len(siblings), 1)
    unrelated = {tuple(sorted((names[link.first], names[link.second]))) for link in found.links}
    unrelated = {pair for pair in unrelated if pair[0] != pair[1]}
    lowest = min((link.likeness for link in looks), default=0.0)
    return (
        f"{len(names)} real frames in {spent:.0f} s: {share:.0%} of {len(siblings)} sibling pairs by look; "
        f"{len(unrelated)} pairs of scenes under unrelated numbers; lowest likeness of a pair {lowest:.2f}"
    )


if __name__ == "__main__":
    main()
