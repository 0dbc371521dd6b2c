"""The inner loop: several steps a call, on one device or mirrored over many."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipe_seg.config import Config, Recipe
from pipe_seg.nn import losses, metrics, models, optimizers


@dataclass(frozen=True)
class Progress:
    """Sums over the images seen so far in an epoch."""

    images: int = 0
    loss: float = 0.0
    iou: float = 0.0
    counted: float = 0.0
    intersection: float = 0.0
    union: float = 0.0

    def add(self, images: int, sums: np.ndarray) -> "Progress":
        """Give the sums with another call's five numbers."""
        old = (self.loss, self.iou, self.counted, self.intersection, self.union)
        return Progress(self.images + images, *(float(a + b) for a, b in zip(old, sums, strict=True)))

    def scores(self) -> dict[str, float]:
        """Give mean ``loss``, image-mean ``iou`` and ``iou_pooled`` at the network's resolution."""
        return {
            "loss": self.loss / max(self.images, 1),
            "iou": self.iou / max(self.counted, 1.0),
            "iou_pooled": self.intersection / max(self.union, 1.0),
        }


class Loop:
    """A network, its moving average, its optimizer and its loss under one strategy.

    ``network`` learns; ``average`` holds the exponential moving average of all its variables, batch
    statistics too, and is what is validated and kept.
    """

    def __init__(self, config: Config, recipe: Recipe, *, steps: int, precision: str, strategy: Any) -> None:
        """Build everything inside ``strategy``'s scope; ``steps`` is the length of the schedule."""
        section = config.trainer
        self.strategy = strategy
        self._batch_size = recipe.batch_size
        self._clip_norm = section.gradient_clip_norm
        self._momentum = section.ema_momentum
        warmup = round(steps * section.warmup_share)
        self.schedule = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if warmup else recipe.learning_rate,
            decay_steps=max(steps - warmup, 1),
            alpha=section.final_rate_share,
            warmup_target=recipe.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
        with strategy.scope():
            self.network = models.build(config.model, precision=precision)
            self.average = models.build(config.model, precision=precision)
            self.average.set_weights(self.network.get_weights())
            self.optimizer = optimizers.build(recipe.optimizer, self.schedule)
            self.optimizer.build(self.network.trainable_variables)
        self._loss = losses.build(recipe.criterion)

    def load(self, weights: list[np.ndarray]) -> None:
        """Start from ``weights``, in the order of ``network.get_weights()``."""
        self.network.set_weights(weights)
        self.average.set_weights(weights)

    @property
    def learning_rate(self) -> float:
        """The rate of the last step."""
        return float(self.schedule(max(int(keras.ops.convert_to_numpy(self.optimizer.iterations)) - 1, 0)))

    @tf.function(reduce_retracing=True)
    def steps(self, iterator: Any, number: Any) -> Any:
        """Take ``number`` steps; give five sums: loss, IoU, images counted, intersection, union."""
        total = tf.zeros((5,), tf.float64)
        for _ in tf.range(number):
            sums = self.strategy.run(self._step, args=next(iterator))
            total += self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)
        return total

    def _step(self, image: Any, target: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = self.network(tf.cast(image, tf.float32), training=True)
            per_image = self._loss.call(target, logits)
            loss = tf.reduce_sum(per_image) / self._batch_size
        variables = self.network.trainable_variables
        self.optimizer.apply_gradients(zip(self._clipped(tape.gradient(loss, variables)), variables, strict=True))
        self._follow()
        tp, fp, fn = metrics.image_counts(target, logits)
        union = tp + fp + fn
        iou = tf.math.divide_no_nan(tp, union)
        counted = tf.cast(union > 0, tf.float32)
        return tf.stack([tf.reduce_sum(tf.cast(x, tf.float64)) for x in (per_image, iou, counted, tp, union)])

    def _clipped(self, gradients: list[Any]) -> list[Any]:
        """Clip the gradient of the whole batch, not of one replica's share of it."""
        replicas = self.strategy.num_replicas_in_sync
        if replicas > 1:
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        clipped, _ = tf.clip_by_global_norm(gradients, self._clip_norm)
        return [gradient / replicas for gradient in clipped] if replicas > 1 else list(clipped)

    def _follow(self) -> None:
        """Move the average; it follows closely at first, so that short runs are not held by the start."""
        step = tf.cast(self.optimizer.iterations, tf.float32)
        keep = tf.minimum(self._momentum, (1 + step) / (10 + step))
        for average, variable in zip(self.average.variables, self.network.variables, strict=True):
            if average.dtype == "float32":
                average.assign_sub((average - variable) * (1 - keep))
