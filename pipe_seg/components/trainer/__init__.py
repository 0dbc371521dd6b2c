"""Examples → a trained model and its log, under any local ``tf.distribute`` strategy."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipe_seg import artifacts
from pipe_seg.artifacts import Dataset, TrainedModel, TransformedExamples
from pipe_seg.components.trainer import tensorboard
from pipe_seg.components.trainer.interrupt import Interrupted, Watch, watching
from pipe_seg.components.trainer.loop import Loop, Progress
from pipe_seg.components.trainer.progress import Reporter, reporting
from pipe_seg.config import Config, ModelSection
from pipe_seg.data import examples as data
from pipe_seg.errors import ConfigError, DivergedError, Problem
from pipe_seg.nn import folding, models
from pipe_seg.nn.scores import FrameScore, image_mean
from pipe_seg.serving import devices
from pipe_seg.serving.scoring import score_frame
from pipe_seg.serving.signatures import Predictor

SHOWN_FRAMES = 12
WATCHED_THRESHOLD = 0.5


@dataclass
class _State:
    """The best epoch so far."""

    best_iou: float = -1.0
    best_epoch: int = 0
    best_weights: list[np.ndarray] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)


def run(
    config: Config,
    *,
    name: str,
    examples: TransformedExamples,
    validation: Dataset,
    out: Path,
    board: Path,
    init: TrainedModel | None = None,
) -> TrainedModel:
    """Train and keep the epoch with the best validation ``iou`` at threshold 0.5.

    Args:
        config: the whole configuration; the recipe is that of ``name``.
        name: ``pbs`` or ``ps``.
        examples: the training batches.
        validation: the dataset whose ``validation`` split is scored after every epoch, at the frames'
            own resolution, with the network in the form in which it will be exported.
        out: the folder to make.
        board: the folder of TensorBoard's events.
        init: start from this model's weights.

    Raises:
        ConfigError: the weights of ``init`` are of another network.
        DivergedError: the loss is no longer a number; the best epoch before that, if any, is in ``out``.
        Interrupted: a signal ended it and nobody was there to ask; the best epoch, if any, is in ``out``.
    """
    prepare(config.seed)
    recipe = config.recipe(name)
    precision = devices.precision(config.trainer.precision)
    strategy = devices.strategy(config.trainer.strategy)
    replicas = strategy.num_replicas_in_sync
    if recipe.batch_size % replicas:
        cure = f"a multiple of {replicas}, or --strategy one"
        raise ConfigError(
            Problem("-s", f"{name}.batch_size on {replicas} devices", got=recipe.batch_size, expected=cure)
        )
    loop = Loop(config, recipe, steps=recipe.epochs * examples.steps, precision=precision, strategy=strategy)
    if init:
        loop.load(_weights(init, config.model))
    details: dict[str, Any] = {"precision": precision, "replicas": replicas}
    inputs = {"validation": str(validation.path), "init": str(init.path) if init else ""}
    with artifacts.writing(
        out, component="trainer", section=config.trainer.model_dump(), inputs=inputs, details=details
    ) as folder:
        session = _Session(config, name, loop, examples, validation, board)
        ended_early = session.run()
        if ended_early and not session.state.best_weights:
            raise ended_early  # before the first validation there is nothing worth keeping
        loop.average.set_weights(session.state.best_weights)
        loop.average.save_weights(TrainedModel(folder).weights)
        artifacts.write_json(TrainedModel(folder).history, session.state.history)
        details |= {"best_epoch": session.state.best_epoch, "best_iou": max(session.state.best_iou, 0.0)}
    if ended_early:
        raise ended_early
    return TrainedModel(out)


def prepare(seed: int) -> None:
    """Make what follows repeatable: the same seed on the same machine gives the same weights."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _weights(trained: TrainedModel, section: ModelSection) -> list[np.ndarray]:
    network = models.build(section)
    models.load_weights(network, trained.weights)
    return list(network.get_weights())


class _Session:
    """One training: epochs, validation after each, the best kept."""

    def __init__(
        self, config: Config, name: str, loop: Loop, examples: TransformedExamples, validation: Dataset, board: Path
    ) -> None:
        self.config = config
        self.recipe = config.recipe(name)
        self.loop = loop
        self.examples = examples
        self.validation = list(data.load(validation.path, "validation").as_numpy_iterator())
        self.board = tensorboard.Board(board)
        self.state = _State()
        size = (config.transform.image_height_px, config.transform.image_width_px)
        exported = devices.precision(config.export.precision)
        self._folded = folding.fold(config.model, loop.average, precision=exported)
        self._predictor = Predictor(self._folded, size)
        self._settings = _settings(config, name)

    def run(self) -> Interrupted | DivergedError | None:
        """Train to the end, to the stop, or to what ended it early, which is given back."""
        with watching() as watch, reporting(self.recipe.epochs, self.examples.steps) as reporter:
            try:
                for number in range(self.recipe.epochs):
                    stopped = self._epoch(number, watch, reporter)
                    if stopped or self._patience_is_over(number):
                        break
                watch.stop(reporter.paused)
            except (Interrupted, DivergedError) as ended:
                return ended
            finally:
                self.board.close()
        return None

    def _patience_is_over(self, number: int) -> bool:
        return number + 1 - self.state.best_epoch >= self.config.trainer.early_stopping_epochs

    def _epoch(self, number: int, watch: Watch, reporter: Reporter) -> bool:
        batches = iter(self.loop.strategy.experimental_distribute_dataset(self.examples.epoch(number)))
        if number == 0:
            concrete = self.loop.steps.get_concrete_function(batches, tf.constant(1))
            self.board.start(self._settings, concrete.graph)
        progress, rate, stopped = Progress(), 0.0, False
        for steps in _calls(self.examples.steps, self.config.trainer.steps_per_call):
            sums = self.loop.steps(batches, tf.constant(steps)).numpy()
            progress = progress.add(steps * self.recipe.batch_size, sums)
            if not np.isfinite(progress.loss):
                raise DivergedError(
                    f"epoch {number + 1}: the loss is {progress.loss}; lower the learning rate "
                    f"({self.recipe.learning_rate}) or use -s trainer.precision=float32"
                )
            rate = reporter.step(steps, progress.images, progress.scores())
            stopped = watch.stop(reporter.paused)
            if stopped:
                break
        self._validate(number, rate, progress, reporter)
        return stopped

    def _validate(self, number: int, rate: float, progress: Progress, reporter: Reporter) -> None:
        folding.refill(self._folded, self.loop.average)
        frames: list[FrameScore] = []
        panels: list[np.ndarray] = []
        for example in self.validation:
            probability = self._predictor.probability(example["image"]).numpy()
            frames.append(score_frame(probability, example))
            if len(panels) < SHOWN_FRAMES:
                panels.append(tensorboard.panel(example["image"], example["segmentation_mask"], probability))
        train, validation = progress.scores(), _scores(frames)
        best = validation["iou"] > self.state.best_iou
        if best:
            self.state.best_iou, self.state.best_epoch = validation["iou"], number + 1
            self.state.best_weights = self.loop.average.get_weights()
        scalars = {f"train/{key}": value for key, value in train.items()}
        scalars |= {f"validation/{key}": value for key, value in validation.items()}
        scalars |= {"train/learning_rate": self.loop.learning_rate, "train/images_per_second": rate}
        self.state.history.append({"epoch": number + 1, **scalars})
        self.board.epoch(number + 1, scalars, frames, panels)
        reporter.epoch(number + 1, rate, train, validation, best)


def _calls(steps: int, per_call: int) -> list[int]:
    """Give the number of steps of each call of an epoch."""
    return [min(per_call, steps - start) for start in range(0, steps, per_call)]


def _scores(frames: list[FrameScore]) -> dict[str, float]:
    counts = [frame.counts(WATCHED_THRESHOLD) for frame in frames]
    pooled = sum(counts[1:], counts[0])
    scores = {
        "iou": image_mean([count.iou for count in counts]),
        "dice": image_mean([count.dice for count in counts]),
        "iou_pooled": pooled.iou,
        "dice_pooled": pooled.dice,
    }
    return {key: 0.0 if math.isnan(value) else value for key, value in scores.items()}


def _settings(config: Config, name: str) -> Mapping[str, Any]:
    """Give the six values of the experiment, flat, for HParams."""
    recipe = config.recipe(name)
    return {
        "dataset": name,
        "seed": config.seed,
        "epochs": recipe.epochs,
        "learning_rate": recipe.learning_rate,
        "batch_size": recipe.batch_size,
        "optimizer": recipe.optimizer.name,
        "criterion": recipe.criterion.name,
    }
