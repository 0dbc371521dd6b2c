"""What the training loop costs, and what more processes bring.

    python benchmarks/trainer.py             # batches of 8; BATCH=32 python benchmarks/trainer.py

Five questions, each answered by ratios from one run: the loop (clipping, moving average, counts, the look for
numbers that are not finite) against a bare ``tf.function`` step on the same batch in memory, and with the input
pipeline, which shares the processor; boxes as bounds, alone, with usual places and with neighbours of one colour,
against boxes filled in, which is the plain loss; ``trainer.deterministic`` on against off; what a step frees kept for
the next against given back; two workers on one core each against one process on one core. ``--only "given back"``
answers one of them.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

from turns import Process, compare, work

BATCH, STEPS, ROUNDS = int(os.environ.get("BATCH", "8")), 6, 15
PORTS = (23651, 23652)


def prepared(strategy: str, *settings: str, deterministic: bool = True) -> tuple[Any, Any]:
    """Give the loop of the preset ``cctv`` and its batches."""
    from pipe_seg import config, devices
    from pipe_seg.components import trainer, transform
    from pipe_seg.components.example_gen import run as build
    from pipe_seg.components.trainer.loop import Loop
    from pipe_seg.data.training_data import TrainingData

    chosen = config.load("cctv", (f"trainer.strategy={strategy}", f"pbs.batch_size={BATCH}", *settings))
    made = devices.strategy(strategy)
    trainer.prepare(1, deterministic=deterministic)
    dataset = build(chosen.example_gen, name="pbs", manual_dir=Path("datasets"), rendered=True)
    data = TrainingData("pbs", {"pbs": dataset})
    examples = transform.run(chosen, data=data, split="train", batch_size=BATCH)
    precision = devices.precision("auto")
    loop = Loop(chosen, chosen.pbs, steps=10_000, batch_size=BATCH, precision=precision, strategy=made)
    return loop, loop.batches(examples, 0, 0)


def whole(strategy: str = "one", *, deterministic: bool = True) -> Callable[[], None]:
    import tensorflow as tf

    loop, batches = prepared(strategy, deterministic=deterministic)
    return lambda: loop.steps(batches, tf.constant(STEPS)).numpy()


def given_back() -> Callable[[], None]:
    from pipe_seg.components.trainer import memory

    memory.keep_freed = lambda: None
    return whole()


def same_batch(*settings: str) -> Callable[[], None]:
    import tensorflow as tf

    loop, batches = prepared("one", *settings)
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
                loss = tf.reduce_mean(loop._loss(target, logits))
            loop.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            total += loss
        return total

    return lambda: steps(tf.constant(STEPS)).numpy()


WORKERS: dict[str, Callable[[], Callable[[], None]]] = {
    "loop": whole,
    "given back": given_back,
    "same batch": same_batch,
    "usual place": lambda: same_batch("supervision.shape_prior_weight=8"),
    "one colour": lambda: same_batch("supervision.affinity_weight=1"),
    "filled": lambda: same_batch("supervision.boxes=filled"),
    "bare": bare,
    "not deterministic": lambda: whole(deterministic=False),
    "worker": lambda: whole("multiworker"),
}


QUESTIONS = (
    ("same batch", "bare"),
    ("same batch", "filled"),
    ("usual place", "filled"),
    ("one colour", "filled"),
    ("loop", "bare"),
    ("loop", "not deterministic"),
    ("loop", "given back"),
    ("two workers", "one core"),
)


def side(name: str, *, core: int | None = None, environment: dict[str, str] | None = None) -> Process:
    command = [sys.executable, __file__, "--worker", name]
    return Process(["taskset", "-c", str(core), *command] if core is not None else command, environment)


def pair() -> list[Process]:
    """Give two workers on loopback, a core each."""
    hosts = [f"127.0.0.1:{port}" for port in PORTS]
    told = [{"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}} for index in range(2)]
    return [side("worker", core=n, environment={"TF_CONFIG": json.dumps(task)}) for n, task in enumerate(told)]


def sides(name: str) -> list[Process]:
    if name == "two workers":
        return pair()
    if name == "one core":
        return [side("loop", core=0)]
    return [side(name)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", choices=list(WORKERS), help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=sorted(set(chain(*QUESTIONS))), help="Questions with this side.")
    arguments = parser.parse_args()
    if arguments.worker:
        work(WORKERS[arguments.worker]())
        return
    for question in QUESTIONS:
        if arguments.only in (None, *question):
            tell(*question)


def tell(name: str, other: str) -> None:
    """Print what two sides came to, and the first over the second."""
    seconds = compare({name: sides(name), other: sides(other)}, ROUNDS)
    found = {side: BATCH * STEPS / spent for side, spent in seconds.items()}
    told = "   ".join(f"{side} {rate:.1f} images/s" for side, rate in found.items())
    print(f"{told}   {found[name] / found[other]:.3f} x", flush=True)


if __name__ == "__main__":
    main()
