"""Kill builds and look at what is left. One JSON line a trial.

``python -m tests.faults.build_driver random N SEED FOLDER`` kills at N random moments;
``python -m tests.faults.build_driver points FOLDER`` kills at every rename, mkdir, unlink and rmdir, by strace.

TensorFlow is imported once; every build is a fork that has run nothing yet.
"""

import json
import random
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.processes import Start, fork, kill_at, kill_later, nothing, traced, wait


def main() -> None:
    import tensorflow  # noqa: F401

    import tfds_builders.ps.ps_dataset_builder  # noqa: F401
    from pipe_seg.components import example_gen  # noqa: F401

    kind, *rest = sys.argv[1:]
    bench = Bench(Path(rest[-1]))
    if kind == "random":
        rng = random.Random(int(rest[1]))
        for _ in range(int(rest[0])):
            moment = rng.uniform(0, bench.seconds * 1.05)
            bench.trial(f"after {moment:.3f} s", lambda start, moment=moment: kill_later(start, moment))
        return
    for call, times in bench.points().items():
        for number in range(1, times + 1):
            bench.trial(f"{call} {number}", lambda start, call=call, number=number: kill_at(start, call, number))


class Bench:
    """A folder of frames in two versions, the old one built, and what the store holds after a clean build of each."""

    def __init__(self, root: Path) -> None:
        from tests.bad_inputs.case import jpeg, mask, png

        self.root, self.source, self.data = root, root / "datasets", root / "tfds"
        inner = self.source / "PipeSegmentation"
        for split, names in (("train", "abcdef"), ("val", "xyz")):
            for name in names:
                write(inner / "images" / split / f"{name}.jpg", jpeg(ord(name)))
                write(inner / "masks" / split / f"{name}_mask.png", png(mask()))
        self.finish()
        self.old = shape(self.data)
        shutil.copytree(self.data, root / "old")
        write(inner / "images" / "train" / "g.jpg", jpeg(103))
        write(inner / "masks" / "train" / "g_mask.png", png(mask()))
        started = time.monotonic()
        self.finish()
        self.seconds = time.monotonic() - started
        self.new = shape(self.data)
        assert self.old != self.new

    def finish(self) -> int:
        """Build in a process of its own, to the end."""
        return wait(self.start(nothing))

    def start(self, before: Callable[[], None]) -> int:
        def work() -> None:
            before()
            from pipe_seg.components import example_gen
            from pipe_seg.config import ExampleGenSection

            section = ExampleGenSection(data_dir=str(self.data))
            example_gen.run(section, name="ps", manual_dir=self.source, rendered=False)

        return fork(work)

    def trial(self, name: str, kill: Callable[[Start], int]) -> None:
        """Start with the old dataset, kill the build of the new one, look, build again, look again."""
        shutil.rmtree(self.data)
        shutil.copytree(self.root / "old", self.data)
        code = kill(self.start)
        left = shape(self.data)
        rerun = self.finish()
        after = shape(self.data)
        outcome: dict[str, Any] = {
            "trial": name,
            "killed": code == -signal.SIGKILL,
            "code": code,
            "left": "old" if left == self.old else "new" if left == self.new else "neither",
            "rerun": rerun,
            "after": "new" if after == self.new else "other",
            "junk": sorted(path.name for path in datasets(self.data).iterdir() if path.name not in after),
        }
        print(json.dumps(outcome), flush=True)

    def points(self) -> Counter[str]:
        """Count the calls that a build makes, by name."""
        shutil.rmtree(self.data)
        shutil.copytree(self.root / "old", self.data)
        _, log = traced(self.start, self.root / "strace.log")
        return Counter(re.findall(r"^\d+ +(\w+)\(", log, re.MULTILINE))


def datasets(data: Path) -> Path:
    return data / "pipe_seg" / "example_gen"


def shape(data: Path) -> dict[str, Any]:
    """What tells built datasets from others, by key: their files with their sizes, and the digest of their frames.

    The bytes of records are not compared: TensorFlow orders a record's map in any order.
    """
    return {path.name: shape_of(path) for path in datasets(data).iterdir() if not path.name.startswith(".")}


def shape_of(built: Path) -> dict[str, Any]:
    files = {path.name: path.stat().st_size for path in built.rglob("*") if "tfrecord" in path.name}
    names = sorted(path.name for path in built.rglob("*"))
    card = json.loads((built / "data_card.json").read_text())
    return {"records": files, "names": names, "content": card["content_digest"]}


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


if __name__ == "__main__":
    main()
