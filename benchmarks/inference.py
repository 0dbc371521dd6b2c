"""Exported graph against a plain ``model.export`` of the same weights, interleaved, batch 1.

    python benchmarks/inference.py

Width 32, 256 x 256. Prints images a second, ratios, and the largest difference of probability. How much
bfloat16 brings depends on the processor: AMX multiplies it about eight times as fast as float32,
AVX512-BF16 at best twice. The first line says what this one has.
"""

import statistics
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

from pipe_seg import devices
from pipe_seg.components import export
from pipe_seg.config import ModelSection
from pipe_seg.nn import folding, models

SIZE, ROUNDS = (256, 256), 20


def main() -> None:
    flags = sorted(devices.cpu_flags() & devices.BFLOAT16_FLAGS)
    print(f"bfloat16 on this processor: {', '.join(flags) or 'none'}")
    keras.utils.set_random_seed(1)
    section = ModelSection()
    network = models.build(section)
    frames = [np.random.default_rng(i).uniform(0, 255, (1, *SIZE, 3)).astype(np.float32) for i in range(4)]
    for frame in frames:
        network(frame, training=True)
    with tempfile.TemporaryDirectory() as folder:
        network.export(folder, verbose=False)
        plain = tf.saved_model.load(folder)  # kept: its function does not hold its variables
        graphs = {"plain export": plain.serve}
        for precision in ("float32", "bfloat16"):
            frozen = export.freeze(folding.fold(section, network, precision=precision), SIZE)
            graphs[f"ours, {precision}"] = tf.function(frozen)
        measure(graphs, [tf.constant(frame) for frame in frames])


def measure(graphs: dict, frames: list) -> None:
    answers = {name: [tf.sigmoid(graph(frame)).numpy() for frame in frames] for name, graph in graphs.items()}
    seconds = {name: [] for name in graphs}
    for index in range(ROUNDS):
        for name, graph in graphs.items():
            started = time.perf_counter()
            graph(frames[index % len(frames)]).numpy()
            seconds[name].append(time.perf_counter() - started)
    rates = {name: 1 / statistics.median(values) for name, values in seconds.items()}
    for name, rate in rates.items():
        pairs = zip(answers[name], answers["plain export"], strict=True)
        difference = max(float(np.abs(a - b).max()) for a, b in pairs)
        print(
            f"{name:<16}{rate:7.2f} images/s   {rate / rates['plain export']:.2f} x plain   max |Δp| {difference:.5f}"
        )


if __name__ == "__main__":
    main()
