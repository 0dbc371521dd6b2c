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
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipe_seg import cli
from tests import tiny_training
from tests.faults.build_driver import attach, held

CALLS = "rename,renameat,renameat2,unlink,unlinkat,rmdir"
Start = Callable[[Callable[[], None]], int]


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
        wait(fork(lambda: tiny_training.build(manual_dir, root / "tfds")), expected=0)
        self.dataset = tiny_training.Dataset(next((root / "tfds/ps/default").glob("[0-9]*")))
        started = time.monotonic()
        wait(self.start(lambda: None), expected=0)
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
        status = os.waitstatus_to_exitcode(os.waitpid(self.start(lambda: None), 0)[1])
        same = status == 0 and tiny_training.outcome(self.run) == self.expected
        junk = sorted(path.name for path in self.run.iterdir() if path.name not in ("trainer", "tensorboard"))
        return {"resumed": status, "same": same, "junk": junk}

    def kills(self, number: int, rng: random.Random) -> None:
        """Kill ``number`` times; whenever a training is through, compare it and begin another."""
        shutil.rmtree(self.run)
        done = 0
        while done < number:
            moment = rng.uniform(0, self.seconds)
            child = self.start(lambda: None)
            time.sleep(moment)
            os.kill(child, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
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
            child = self.start(lambda: None)
            while not list(self.run.glob("checkpoints/epoch-*")):
                time.sleep(0.05)
            time.sleep(rng.uniform(0, self.seconds / 2))
            os.kill(child, signal.SIGTERM)
            told = time.monotonic()
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            through = (self.run / "trainer").is_dir()
            done += not through
            places = sorted(path.name for path in self.run.glob("checkpoints/epoch-*"))
            say({"trial": "SIGTERM", "through": through, "code": code, "s": time.monotonic() - told, "found": places})
            if through or done == number:
                say({"trial": "through", **self.finish()})
                shutil.rmtree(self.run)

    def points(self) -> None:
        """Kill at every rename and unlink of the fourth checkpoint, the first that takes an old one's place."""
        for call, number in self._calls():
            shutil.rmtree(self.run, ignore_errors=True)
            child, release = held(self.start)
            tracer = attach(child, ["-e", f"trace={CALLS}", "-e", f"inject={call}:signal=SIGKILL:when={number}"])
            release()
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            tracer.wait()
            places = sorted(path.name for path in self.run.glob("checkpoints/*"))
            killed = code == -signal.SIGKILL
            say({"trial": f"{call} {number}", "killed": killed, "left": places, **self.finish()})

    def _calls(self) -> list[tuple[str, int]]:
        shutil.rmtree(self.run)
        log = self.root / "strace.log"
        child, release = held(self.start)
        tracer = attach(child, ["-e", f"trace={CALLS}", "-o", str(log)])
        release()
        os.waitpid(child, 0)
        tracer.wait()
        counts: dict[str, int] = {}
        found, published = [], 0
        for line in log.read_text().splitlines():
            made = re.match(rf"{child} +(\w+)\((.*)", line)
            if not made:
                continue
            call, what = made.groups()
            counts[call] = counts.get(call, 0) + 1
            if published == 3 or (published == 4 and "publish" not in what):
                found.append((call, counts[call]))
            if call == "rename" and ".partial" in what and re.search(r'/epoch-[^/"]*"\) = 0$', what):
                published += 1
            if published == 5:
                break
        return found


def fork(work: Callable[[], object]) -> int:
    """Do ``work`` in a child; its exit code is 0, or what the command line would give."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException as error:
        code = getattr(error, "exit_code", getattr(error, "code", None))
        if code is None:
            traceback.print_exc()
        os._exit(code or 1)
    os._exit(0)


def wait(child: int, expected: int) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == expected, code


def say(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
