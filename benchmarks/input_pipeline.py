"""Input pipeline with full augmentation against the training step it feeds.

    python benchmarks/input_pipeline.py

Rendered PBS at 256 x 256, batch 4, the network of the default configuration. The second epoch is timed:
frames are decoded and fitted once, then kept. Prints images a second and the ratio.
"""

import time
from pathlib import Path

import tensorflow as tf

from pipe_seg import devices
from pipe_seg.components import example_gen, transform
from pipe_seg.components.trainer.loop import Loop
from pipe_seg.config import Config, DatasetSection, TransformSection
from pipe_seg.data.training_data import TrainingData

BATCH, STEPS = 4, 12


def main() -> None:
    config = Config(
        transform=TransformSection(image_height_px=256, image_width_px=256), pbs=DatasetSection(batch_size=BATCH)
    )
    dataset = example_gen.run(config.example_gen, name="pbs", manual_dir=Path("datasets"), rendered=True)
    data = TrainingData("pbs", {"pbs": dataset})
    batches = transform.run(config, data=data, split="train", batch_size=BATCH)
    endless = iter(batches.batches(0, 0))
    for _ in range(batches.steps):
        next(endless)
    started = time.perf_counter()
    for _ in range(batches.steps):
        next(endless)
    pipeline = batches.steps * BATCH / (time.perf_counter() - started)

    precision, strategy = devices.precision("auto"), devices.strategy("one")
    loop = Loop(config, config.pbs, steps=1000, batch_size=BATCH, precision=precision, strategy=strategy)
    iterator = loop.batches(batches, 2, 0)
    loop.steps(iterator, tf.constant(2)).numpy()
    started = time.perf_counter()
    loop.steps(iterator, tf.constant(STEPS)).numpy()
    step = STEPS * BATCH / (time.perf_counter() - started)
    print(f"pipeline {pipeline:.0f} images/s   training step {step:.1f} images/s   ratio {pipeline / step:.1f}")


if __name__ == "__main__":
    main()
