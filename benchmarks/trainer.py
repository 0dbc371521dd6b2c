"""What the training loop costs, and what more processes bring.

    python benchmarks/trainer.py             # batches of 8; BATCH=32 python benchmarks/trainer.py

Three questions, each answered by ratios from one run: the loop (clipping, moving average, counts, the look for
numbers that are not finite) against a bare ``tf.function`` step on the same batch in memory, and with the input
pipeline, which shares the processor; ``trainer.deterministic`` on against off; two workers on one core each against
one process on one core.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH, STEPS, ROUNDS = int(os.environ.get("BATCH", "8")), 6, 9


def prepared(strategy: str, *, deterministic: bool = True) -> tuple[Any, Any]:
    """Give the loop of the preset ``cctv`` and its batches."""
    from pipe_seg import config
    from pipe_seg.components import trainer, transform
    from pipe_seg.components.example_gen import run as build
    from pipe_seg.components.trainer.loop import Loop
    from pipe_seg.serving import devices

    chosen = config.load("cctv", (f"trainer.strategy={strategy}", f"pbs.batch_size={BATCH}"))
    made = devices.strategy(strategy)
    trainer.prepare(1, deterministic=deterministic)
    dataset = build(chosen.example_gen, name="pbs", manual_dir=Path("datasets"), rendered=True)
    examples = transform.run(chosen.transform, dataset=dataset, split="train", seed=1, batch_size=BATCH)
    precision = devices.precision("auto")
    loop = Loop(chosen, chosen.pbs, steps=10_000, batch_size=BATCH, precision=precision, strategy=made)
    return loop, loop.batches(examples, 0, 0)


def whole(strategy: str = "one", *, deterministic: bool = True) -> Callable[[], None]:
    import tensorflow as tf

    loop, batches = prepared(strategy, deterministic=deterministic)
    return lambda: loop.steps(batches, tf.constant(STEPS)).numpy()


def same_batch() -> Callable[[], None]:
    import tensorflow as tf

    loop, batches = prepared("one")
    endless = iter(tf.data.Dataset.from_tensors(next(batches)).repeat())
    return lambda: loop.steps(endless, tf.constant(STEPS)).numpy()


def bare() -> Callable[[], None]:
    import tensorflow as tf

    loop, batches = prepared("one")
    image, target = next(batches)
    variables = loop.network.trainable_variables

    @tf.function
    def steps(number: Any) -> Any:
        total = 0.0
        for _ in tf.range(number):
            with tf.GradientTape() as tape:
                logits = loop.network(tf.cast(image, tf.float32), training=True)
                loss = tf.reduce_mean(loop._loss.call(target, logits))
            loop.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            total += loss
        return total

    return lambda: steps(tf.constant(STEPS)).numpy()


WORKERS: dict[str, Callable[[], Callable[[], None]]] = {
    "loop": whole,
    "same batch": same_batch,
    "bare": bare,
    "not deterministic": lambda: whole(deterministic=False),
    "worker": lambda: whole("multiworker"),
}


def work(name: str) -> None:
    """Answer each line on stdin with the seconds that ``STEPS`` steps took."""
    call = WORKERS[name]()
    for _ in range(2):
        call()
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        call()
        print(time.perf_counter() - started, flush=True)


class Process:
    """One side of a comparison, in a process of its own."""

    def __init__(self, name: str, *, core: int | None = None, environment: dict[str, str] | None = None) -> None:
        command = [sys.executable, __file__, "--worker", name]
        pinned = ["taskset", "-c", str(core), *command] if core is not None else command
        self._process = subprocess.Popen(
            pinned, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
        )

    def ready(self) -> None:
        while self._process.stdout.readline().strip() != "ready":
            if self._process.poll() is not None:
                sys.exit("a process ended before it was ready")

    def begin(self) -> None:
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> float:
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()


def pair() -> list[Process]:
    """Give two workers on loopback, a core each."""
    sockets = [socket.socket() for _ in range(2)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    told = [{"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}} for index in range(2)]
    return [Process("worker", core=n, environment={"TF_CONFIG": json.dumps(task)}) for n, task in enumerate(told)]


def compare(sides: dict[str, list[Process]]) -> dict[str, float]:
    """Let the sides take turns; give each one's images a second."""
    for processes in sides.values():
        for process in processes:
            process.ready()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, processes in sides.items():
            for process in processes:
                process.begin()
            seconds[name].append(max(process.end() for process in processes))
    for processes in sides.values():
        for process in processes:
            process.close()
    return {name: BATCH * STEPS / statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", choices=list(WORKERS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker)
        return
    rates = compare({name: [Process(name)] for name in ("same batch", "loop", "bare")})
    for name in ("same batch", "loop"):
        print(
            f"{name} {rates[name]:.1f} images/s   bare step {rates['bare']:.1f}   {rates[name] / rates['bare']:.3f} x"
        )
    rates = compare({"on": [Process("loop")], "off": [Process("not deterministic")]})
    print(f"deterministic {rates['on']:.1f} images/s   not {rates['off']:.1f}   {rates['on'] / rates['off']:.3f} x")
    rates = compare({"one": [Process("loop", core=0)], "two": pair()})
    each = rates["two"] / rates["one"]
    print(f"one core {rates['one']:.1f} images/s   two workers {rates['two']:.1f}   {each:.2f} x, {each / 2:.0%} each")


if __name__ == "__main__":
    main()
