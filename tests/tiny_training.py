"""A training of seconds with everything in it that could differ after a restart."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipe_seg import config
from pipe_seg.artifacts import Dataset
from pipe_seg.config import Config
from pipe_seg.data.batches import TransformedExamples
from pipe_seg.data.training_data import TrainingData

SETTINGS = (
    "transform.image_height_px=64",
    "transform.image_width_px=80",
    "model.width=4",
    "model.depth=1",
    "model.dropout=0.2",
    "ps.epochs=10",
    "ps.batch_size=4",
    "ps.learning_rate=0.01",
    "trainer.early_stopping_epochs=6",
    "trainer.precision=bfloat16",
    "trainer.strategy=mirrored",
    "trainer.steps_per_call=1",
    "trainer.checkpoint_every_s=0",
)


def settings(*overrides: str) -> Config:
    """Returns the configuration: dropout, augmentation, shuffle, early stopping, bfloat16, two replicas."""
    return config.load(None, (*SETTINGS, *overrides), unlock=True)


def build(manual_dir: Path, data_dir: Path) -> Dataset:
    """Build the dataset of a folder's contours."""
    from pipe_seg.components import example_gen

    section = config.ExampleGenSection(data_dir=str(data_dir))
    return example_gen.run(section, name="ps", manual_dir=manual_dir, rendered=False)


def split_processor() -> None:
    """Make two devices of the one processor; once a process, before TensorFlow is used."""
    import tensorflow as tf

    device = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * 2)


def train(
    chosen: Config,
    dataset: Dataset,
    run: Path,
    planted: Callable[[TransformedExamples], TransformedExamples] = lambda examples: examples,
) -> None:
    """Train in ``run`` to the end, or go on there; ``planted`` may spoil the batches."""
    from pipe_seg import devices
    from pipe_seg.components import trainer, transform

    strategy = devices.strategy(chosen.trainer.strategy)
    size = trainer.global_batch_size(chosen, "ps", strategy, lambda text: None)
    data = TrainingData("ps", {"ps": dataset})
    trainer.run(
        chosen,
        examples=planted(transform.run(chosen, data=data, split="train", batch_size=size)),
        data=data,
        out=run / "trainer",
        checkpoints=run / "checkpoints",
        tensorboard=run / "tensorboard",
        strategy=strategy,
    )


def weights(run: Path) -> dict[str, np.ndarray]:
    """Returns every array in the weights that a run keeps, by name."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(run / "trainer" / "weights.weights.h5") as file:
        file.visititems(
            lambda name, item: found.__setitem__(name, item[()]) if isinstance(item, h5py.Dataset) else None
        )
    return found


def outcome(run: Path) -> dict[str, Any]:
    """Returns what has to come out the same: a digest of every weight, the history, the best metric."""
    digest = hashlib.sha256()
    for name, value in weights(run).items():
        assert np.isfinite(value).all(), name
        digest.update(name.encode() + value.tobytes())
    record = json.loads((run / "trainer" / "artifact.json").read_text())
    history = json.loads((run / "trainer" / "history.json").read_text())
    details = {key: record["details"][key] for key in ("best_iou", "best_epoch", "skipped_steps", "replicas")}
    return {"weights": digest.hexdigest(), "history": history, **details}
