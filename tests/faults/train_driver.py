"""Kill trainings and let them go on. One JSON line a trial.

``python -m tests.faults.train_driver random N SEED DATASETS FOLDER`` kills at N random moments, again and again
until the training is through; ``… points DATASETS FOLDER`` kills at every rename and unlink of one checkpoint, by
strace; ``… terminate N SEED DATASETS FOLDER`` sends SIGTERM at N random moments.

TensorFlow is imported once; every training is a fork that has run nothing yet.
"""

import json
import os
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

from pipe_seg import cli
from tests import tiny_training
from tests.faults.processes import fork, kill_at, kill_later, nothing, traced, wait


def main() -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow  # noqa: F401

    import tfds_builders.ps.ps_dataset_builder  # noqa: F401
    from pipe_seg.components import trainer, transform  # noqa: F401

    kind, *rest = sys.argv[1:]
    bench = Bench(Path(rest[-2]), Path(rest[-1]), *(["ps.epochs=3"] if kind == "points" else []))
    if kind == "points":
        bench.points()
        return
    number, rng = int(rest[0]), random.Random(int(rest[1]))
    if kind == "random":
        bench.kills(number, rng)
    else:
        bench.terminations(number, rng)


class Bench:
    """A small dataset, and what a training on it comes to when nobody disturbs it."""

    def __init__(self, manual_dir: Path, root: Path, *overrides: str) -> None:
        self.root, self.run = root, root / "run"
        self.settings = tiny_training.settings(*overrides)
        assert wait(fork(lambda: tiny_training.build(manual_dir, root / "tfds"))) == 0
        self.dataset = tiny_training.Dataset(next((root / "tfds/pipe_seg/example_gen").glob("[0-9a-f]*")))
        started = time.monotonic()
        assert wait(self.start(nothing)) == 0
        self.seconds = time.monotonic() - started
        self.expected = tiny_training.outcome(self.run)
        say({"trial": "undisturbed", "seconds": self.seconds, "epochs": len(self.expected["history"])})

    def start(self, before: Callable[[], None]) -> int:
        """Begin, or go on, in a process of its own."""

        def work() -> None:
            signal.signal(signal.SIGTERM, cli._terminated)
            before()
            tiny_training.split_processor()
            tiny_training.train(self.settings, self.dataset, self.run)

        return fork(work)

    def finish(self) -> dict[str, Any]:
        """Go on to the end, or find that it has been reached, and compare."""
        status = wait(self.start(nothing))
        same = status == 0 and tiny_training.outcome(self.run) == self.expected
        junk = sorted(path.name for path in self.run.iterdir() if path.name not in ("trainer", "tensorboard"))
        return {"resumed": status, "same": same, "junk": junk}

    def kills(self, number: int, rng: random.Random) -> None:
        """Kill ``number`` times; whenever a training is through, compare it and begin another."""
        shutil.rmtree(self.run)
        done = 0
        while done < number:
            moment = rng.uniform(0, self.seconds)
            code = kill_later(self.start, moment)
            killed = code == -signal.SIGKILL
            done += killed
            places = sorted(path.name for path in self.run.glob("checkpoints/epoch-*"))
            say({"trial": f"after {moment:.3f} s", "killed": killed, "code": code, "checkpoints": places})
            if not killed or done == number:
                say({"trial": "through", **self.finish()})
                shutil.rmtree(self.run)

    def terminations(self, number: int, rng: random.Random) -> None:
        """Send SIGTERM ``number`` times, from the first checkpoint on."""
        shutil.rmtree(self.run)
        done = 0
        while done < number:
            child = self.start(nothing)
            while not list(self.run.glob("checkpoints/epoch-*")):
                time.sleep(0.05)
            time.sleep(rng.uniform(0, self.seconds / 2))
            os.kill(child, signal.SIGTERM)
            told = time.monotonic()
            code = wait(child)
            through = (self.run / "trainer").is_dir()
            done += not through
            places = sorted(path.name for path in self.run.glob("checkpoints/epoch-*"))
            say({"trial": "SIGTERM", "through": through, "code": code, "s": time.monotonic() - told, "found": places})
            if through or done == number:
                say({"trial": "through", **self.finish()})
                shutil.rmtree(self.run)

    def points(self) -> None:
        """Kill at every call of one rotation: an old checkpoint goes, the next one takes its place."""
        for call, number in self._rotation():
            shutil.rmtree(self.run, ignore_errors=True)
            code = kill_at(self.start, call, number)
            places = sorted(path.name for path in self.run.glob("checkpoints/*"))
            say({"trial": f"{call} {number}", "killed": code == -signal.SIGKILL, "left": places, **self.finish()})

    def _rotation(self) -> list[tuple[str, int]]:
        """Give the calls, each with its number, from the third checkpoint's publishing to the fourth's."""
        shutil.rmtree(self.run)
        process, log = traced(self.start, self.root / "strace.log")
        counts: Counter[str] = Counter()
        found, published = [], 0
        for call, what in re.findall(rf"^{process} +(\w+)\((.*)", log, re.MULTILINE):
            counts[call] += 1
            if published == 3:
                found.append((call, counts[call]))
            published += bool(
                "rename" in call and ".partial" in what and re.search(r'/epoch-[^/"]*"[^"]*\) = 0$', what)
            )
        return found


def say(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
