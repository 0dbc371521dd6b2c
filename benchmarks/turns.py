"""Things to be timed, each in a process of its own, taking turns: a machine that slows down slows all of them.

Plain Python and nothing else: it also runs in environments that lack this project.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

WARM_UP = 3


def work(step: Callable[[], None]) -> None:
    """Answer each line on stdin with the seconds that ``step`` took."""
    for _ in range(WARM_UP):
        step()
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        step()
        print(time.perf_counter() - started, flush=True)


class Process:
    """A command that ends in ``work``."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env={**os.environ, **(environment or {})}, **pipes)

    def ready(self) -> None:
        while self._process.stdout.readline().strip() != "ready":
            if self._process.poll() is not None:
                sys.exit(f"{' '.join(self._process.args)}: ended before it was ready")

    def begin(self) -> None:
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> float:
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()


def compare(sides: Mapping[str, Sequence[Process]], rounds: int) -> dict[str, float]:
    """Give each side's median seconds; a side of several processes has ended when the last of them has."""
    everyone = [process for processes in sides.values() for process in processes]
    for process in everyone:
        process.ready()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, processes in sides.items():
            for process in processes:
                process.begin()
            seconds[name].append(max(process.end() for process in processes))
    for process in everyone:
        process.close()
    return {name: statistics.median(values) for name, values in seconds.items()}
