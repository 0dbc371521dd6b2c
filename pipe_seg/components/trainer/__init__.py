"""Examples → a trained model and its log, under any ``tf.distribute`` strategy; resumes."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipe_seg import artifacts, devices, disk
from pipe_seg.artifacts import Dataset, TrainedModel
from pipe_seg.components.trainer.checkpoints import Checkpoints
from pipe_seg.components.trainer.interrupt import Interrupted
from pipe_seg.components.trainer.loop import Loop
from pipe_seg.components.trainer.session import Session
from pipe_seg.components.trainer.tensorboard import TensorBoardLogger
from pipe_seg.components.trainer.validation import Validation
from pipe_seg.components.trainer.workers import Workers
from pipe_seg.config import Config, ModelSection
from pipe_seg.data import batches, lineage
from pipe_seg.data.batches import TransformedExamples
from pipe_seg.data.examples import load
from pipe_seg.data.lineage import LearntFrames
from pipe_seg.data.training_data import TrainingData
from pipe_seg.errors import DivergedError, MachineError, Problem
from pipe_seg.nn import encoders, models

COMPONENT, VERSION = "trainer", 1
NOT_LEARNT: Any = {
    "preset": True,
    "unlocked": True,
    "example_gen": True,
    "cropper": True,
    "refiner": True,
    "infra_validator": True,
    "pusher": True,
    "evaluator": {"bootstrap_draws", "minimum_iou", "min_scenes", "min_component_area_px", "recalls"},
}


def run(
    config: Config,
    *,
    examples: TransformedExamples,
    data: TrainingData,
    out: Path,
    checkpoints: Path,
    tensorboard: Path,
    strategy: Any,
    init: TrainedModel | None = None,
) -> TrainedModel | None:
    """Train and keep the epoch with the best validation ``iou`` at threshold 0.5.

    Args:
        config: the whole configuration; the recipe is that of ``data.name``.
        examples: the training batches, of the size that ``global_batch_size`` returns.
        data: where the batches come from; the ``validation`` split of its contours is scored after every epoch,
            at the frames' own resolution, with the network in the form in which it will be exported.
        out: the folder to make; if it is there, all is done.
        checkpoints: where checkpoints are kept; training goes on from the newest that is whole. It is
            removed when ``out`` stands.
        tensorboard: the folder of TensorBoard's events.
        strategy: from ``devices.strategy``.
        init: start from this model's weights.

    Returns:
        The model; None on a worker that is not the chief.

    Raises:
        ConfigError: ``init`` is of another network, or the checkpoints of another configuration, dataset or machine.
        DivergedError: numbers that are not finite, after going back once; the best epoch, if any, is in ``out``.
        Interrupted: a signal ended it without a person to prompt; a checkpoint stands.
        MachineError: memory or disk did not suffice, or another worker is gone.
        RefusedError: there are checkpoints and not one is whole.
    """
    if out.is_dir():  # trained before, and ended before it had cleared up
        shutil.rmtree(checkpoints, ignore_errors=True)
        return TrainedModel(out)
    prepare(config.seed, deterministic=config.trainer.deterministic)
    workers = Workers(strategy)
    name = data.name
    facts = _facts(config, examples, data, strategy)
    with _memory_told(name, examples.batch_size):
        loop = _loop(config, name, examples, facts["precision"], strategy, init)
        frames = list(load(data.contours.path, "validation").as_numpy_iterator())
        about = {"config": config.model_dump(mode="json"), **facts}
        session = Session(
            config,
            name,
            loop=loop,
            examples=examples,
            validation=Validation(config, loop.average, frames, workers),
            checkpoints=Checkpoints(checkpoints, config.trainer.checkpoints_kept, loop.variables, about),
            board=TensorBoardLogger(tensorboard if workers.chief else None),
            workers=workers,
        )
        ended_early = session.run()
    if not session.best:
        raise ended_early or DivergedError("not one epoch gave finite answers; lower the learning rate")
    if workers.chief and not isinstance(ended_early, Interrupted):
        known = lineage.learnt(data, [init.path] if init else [])
        _publish(
            config, session, loop, out, key_of(config, data, init), facts | {"diverged": ended_early is not None}, known
        )
        shutil.rmtree(checkpoints, ignore_errors=True)
    if ended_early:
        raise ended_early
    return TrainedModel(out) if workers.chief else None


def _facts(config: Config, examples: TransformedExamples, data: TrainingData, strategy: Any) -> dict[str, Any]:
    """Returns what, beside the configuration, has to stay the same for a training to go on."""
    return {
        "precision": devices.precision(config.trainer.precision),
        "replicas": strategy.num_replicas_in_sync,
        "batch_size": examples.batch_size,
        "data_key": data.key,
    }


def _loop(
    config: Config,
    name: str,
    examples: TransformedExamples,
    precision: str,
    strategy: Any,
    init: TrainedModel | None,
) -> Loop:
    recipe, size = config.dataset(name), examples.batch_size
    steps = recipe.epochs * examples.steps
    loop = Loop(config, recipe, steps=steps, batch_size=size, precision=precision, strategy=strategy)
    if init or encoders.begins_elsewhere(config.model):
        loop.load(_weights(config.model, init))
    return loop


def _publish(
    config: Config,
    session: Session,
    loop: Loop,
    out: Path,
    key: str,
    facts: dict[str, Any],
    known: LearntFrames,
) -> None:
    state = session.state
    details = facts | {"best_epoch": state.best_epoch, "best_iou": state.best_iou, "skipped_steps": state.skipped}
    section = config.trainer.model_dump()
    with artifacts.writing(out, component=COMPONENT, section=section, details=details, key=key) as folder:
        loop.average.set_weights(session.best)
        loop.average.save_weights(TrainedModel(folder).weights)
        disk.write_json(TrainedModel(folder).history, state.history)
        known.write(folder)


def key_of(config: Config, data: TrainingData, init: TrainedModel | None) -> str:
    """Returns the key that two trainings share only if they learn the same thing.

    It covers the configuration, the frames of the training splits, the weights it starts from, and, where validation
    chooses the epoch or contours set how much of a box is defect, those frames or that share.
    """
    section = config.model_dump(mode="json", exclude=NOT_LEARNT)
    learnt = data.name.split("+")
    inputs: dict[str, Any] = {"init": init.key if init else None}
    inputs |= {name: _content(data.datasets[name], "train") for name in learnt}
    if config.trainer.chooses:
        inputs["validation"] = _content(data.contours, "validation")
    supervision = config.supervision
    if "pbs" in learnt and supervision.boxes == "routed" and supervision.measure_fill:
        inputs["fill"] = data.contours.card.get("splits", {}).get("train", {}).get("box_against_contour")
    version = f"{VERSION}, batches {batches.VERSION}"
    return artifacts.key_of(COMPONENT, version, {"dataset": data.name, **section}, inputs)


def _content(dataset: Dataset, split: str) -> str:
    return str(dataset.card.get("content_digest", {}).get(split, dataset.key))


@contextmanager
def _memory_told(name: str, batch_size: int) -> Iterator[None]:
    """Raises our error where memory did not suffice."""
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        cure = f"--batch-size auto, or -s {name}.batch_size={max(batch_size // 2, 1)}"
        raise MachineError(Problem(name, "out of memory with batch_size", got=batch_size, expected=cure)) from error


def global_batch_size(config: Config, name: str, strategy: Any, log: Callable[[str], None]) -> int:
    """Returns the recipe's batch size over all replicas, rounded up, with a note, to divide evenly."""
    wanted = config.dataset(name).batch_size
    parts = strategy.num_replicas_in_sync * config.trainer.accumulate
    size: int = -(-wanted // parts) * parts
    if size != wanted:
        log(f"{name}.batch_size {wanted} is rounded up to {size}: {parts} equal parts")
    return size


def prepare(seed: int, *, deterministic: bool) -> None:
    """Make what follows repeatable: the same seed on the same machine gives the same weights."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def _weights(section: ModelSection, init: TrainedModel | None) -> list[np.ndarray]:
    """Returns what training begins with: another run's weights, or an encoder that has seen photographs."""
    network = models.build(section)
    if init is None:
        encoders.load(network, section)
        return list(network.get_weights())
    models.load_weights(network, init.weights)
    weights: list[np.ndarray] = network.get_weights()
    if not all(np.isfinite(weight).all() for weight in weights):
        raise DivergedError(Problem(init.weights, "weights that are not finite", expected="--init with another run"))
    return weights
