"""The inner loop: several steps a call, on one device or on all replicas of a strategy."""

from dataclasses import astuple, dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipe_seg.components.trainer import memory
from pipe_seg.config import Config, DatasetSection
from pipe_seg.data.batches import TransformedExamples
from pipe_seg.nn import losses, metrics, models, optimizers
from pipe_seg.nn.box_supervision import BoxSupervisionLoss
from pipe_seg.nn.schedules import Rate

SUMS = 5


@dataclass(frozen=True)
class Progress:
    """Sums over the images learnt from so far in an epoch."""

    images: int = 0
    loss: float = 0.0
    iou: float = 0.0
    counted: float = 0.0
    intersection: float = 0.0
    union: float = 0.0

    def add(self, images: int, sums: np.ndarray) -> "Progress":
        """Returns the sums plus one step's five numbers; the result does not depend on steps per call."""
        return Progress(
            self.images + images, *(old + float(new) for old, new in zip(astuple(self)[1:], sums, strict=True))
        )

    def scores(self) -> dict[str, float]:
        """Returns mean ``loss``, image-mean ``iou`` and ``iou_pooled`` at network resolution; {} of no image.

        No IoU of frames with boxes that only bound a defect: no label marks which pixels are right.
        """
        if not self.images:
            return {}
        mean = {"loss": self.loss / self.images}
        if not self.counted:
            return mean
        return mean | {"iou": self.iou / self.counted, "iou_pooled": self.intersection / max(self.union, 1.0)}


class Loop:
    """A network, its moving average, its optimizer and its loss under one strategy.

    ``network`` learns; ``average`` holds the exponential moving average of all its variables, batch
    statistics too, and is what is validated and kept. A step whose loss, gradient or rate is not finite
    changes neither of them.
    """

    def __init__(
        self, config: Config, recipe: DatasetSection, *, steps: int, batch_size: int, precision: str, strategy: Any
    ) -> None:
        """Build everything inside ``strategy``'s scope.

        Args:
            config: the whole configuration.
            recipe: the dataset's part of it.
            steps: the length of the schedule.
            batch_size: images a step, over all replicas.
            precision: ``float32`` or ``bfloat16``.
            strategy: any ``tf.distribute`` strategy that mirrors its variables.
        """
        memory.keep_freed()
        section = config.trainer
        self.strategy = strategy
        self.batch_size = batch_size
        self.accumulate = section.accumulate
        self._clip_norm = section.gradient_clip_norm
        self._momentum = section.ema_momentum
        with strategy.scope():
            self.network = models.build(config.model, precision=precision)
            self.average = models.build(config.model, precision=precision)
            self.average.set_weights(self.network.get_weights())
            self.rate = Rate(
                section.schedule, recipe.learning_rate, steps, section.warmup_share, section.final_rate_share
            )
            self.optimizer = optimizers.build(recipe.optimizer, self.rate)
            self._learnt = self.network.trainable_variables
            self.optimizer.build(self._learnt)
            self._gathered = self._gradient_sums() if self.accumulate > 1 else []
        # The gradient is reduced here, before it is clipped; Keras would add the replicas up once more.
        self.optimizer._all_reduce_sum_gradients = list
        self._loss = BoxSupervisionLoss(config.supervision, losses.build(recipe.criterion))

    @property
    def variables(self) -> dict[str, list[Any]]:
        """Everything that decides the steps to come, as TensorFlow variables; dropout's random state too."""
        kept = {
            "network": self.network.variables,
            "average": self.average.weights,
            "optimizer": self.optimizer.variables,
            "rate": [self.rate.scale],
        }
        return {name: [variable.value for variable in variables] for name, variables in kept.items()}

    def load(self, weights: list[np.ndarray]) -> None:
        """Start from ``weights``, in the order of ``network.get_weights()``."""
        self.network.set_weights(weights)
        self.average.set_weights(weights)

    @property
    def learning_rate(self) -> float:
        """The rate of the last step."""
        return float(self.rate(max(int(keras.ops.convert_to_numpy(self.optimizer.iterations)) - 1, 0)))

    def batches(self, examples: TransformedExamples, epoch: int, step: int) -> Any:
        """Returns the iterator of batches from ``step`` of ``epoch`` on; replicas share each batch."""
        share = self.batch_size // self.strategy.num_replicas_in_sync // self.accumulate

        def here(context: Any) -> Any:
            part = (context.input_pipeline_id, context.num_input_pipelines)
            return examples.batches(epoch, step, part=part, batch_size=share)

        return iter(self.strategy.distribute_datasets_from_function(here))

    @tf.function(reduce_retracing=True)
    def steps(self, iterator: Any, number: Any) -> Any:
        """Take ``number`` steps.

        Returns:
            (number, 6) float64, a row a step: loss, IoU, images counted, intersection and union, summed over
            the batch, and 1 where the step was skipped because it was not finite (its sums are 0).
        """
        rows = tf.TensorArray(tf.float64, size=number, element_shape=(SUMS + 1,))
        for index in tf.range(number):
            gradients, finite, sums = self._gradients(iterator)
            if finite:
                self.strategy.run(self._apply, args=(gradients,))
            good = tf.where(finite, sums, tf.zeros_like(sums))
            rows = rows.write(index, tf.concat([good, [tf.where(finite, 0.0, 1.0)]], 0))
        return rows.stack()

    def _gradients(self, iterator: Any) -> tuple[Any, Any, Any]:
        """Returns one batch's clipped gradient on every replica, whether all is finite, and its sums."""
        if self.accumulate == 1:
            gradients, sums = self.strategy.run(self._forward, args=next(iterator))
            total = self._sum(sums)
        else:
            total = tf.zeros((SUMS,), tf.float64)
            for _ in tf.range(self.accumulate):
                total += self._sum(self.strategy.run(self._gather, args=next(iterator)))
            gradients = self.strategy.run(self._take_gathered)
        clipped, norm = self.strategy.run(self._clipped, args=(gradients,))
        norm = self.strategy.experimental_local_results(norm)[0]
        rate = tf.convert_to_tensor(self.rate(self.optimizer.iterations))
        finite = tf.math.is_finite(norm) & tf.math.is_finite(total[0]) & tf.math.is_finite(rate)
        return clipped, finite, total

    def _sum(self, values: Any) -> Any:
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)

    def _forward(self, image: Any, target: dict[str, Any]) -> tuple[list[Any], Any]:
        with tf.GradientTape() as tape:
            logits = self.network(tf.cast(image, tf.float32), training=True)
            per_image = self._loss(target, logits)
            loss = tf.reduce_sum(per_image) / self.batch_size
        gradients = tape.gradient(loss, self._learnt)
        tp, fp, fn = metrics.image_counts(target["mask"], logits)
        union = tp + fp + fn
        counted = tf.cast((union > 0) & tf.reduce_all(target["boxes"][..., 4] == 0, 1), tf.float32)
        iou = counted * tf.math.divide_no_nan(tp, union)
        told = (per_image, iou, counted, counted * tp, counted * union)
        sums = [tf.reduce_sum(tf.cast(x, tf.float64)) for x in told]
        return gradients, tf.stack(sums)

    def _clipped(self, gradients: list[Any]) -> tuple[list[Any], Any]:
        """Clip the gradient of the whole batch, not of one replica's share of it."""
        if self.strategy.num_replicas_in_sync > 1:
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        clipped, norm = tf.clip_by_global_norm(gradients, self._clip_norm)
        return clipped, norm

    def _apply(self, gradients: list[Any]) -> None:
        self.optimizer.apply_gradients(zip(gradients, self._learnt, strict=True))
        self._follow()

    def _follow(self) -> None:
        """Move the average; it follows closely at first, so that short runs are not held by the start."""
        step = tf.cast(self.optimizer.iterations, tf.float32)
        keep = tf.minimum(self._momentum, (1 + step) / (10 + step))
        for average, variable in zip(self.average.variables, self.network.variables, strict=True):
            if average.dtype == "float32":
                difference = average.value - variable.value
                tf.raw_ops.ResourceApplyGradientDescent(var=average.value.handle, alpha=1 - keep, delta=difference)

    def _gradient_sums(self) -> list[Any]:
        """Make one sum a weight on each replica."""
        return [
            tf.Variable(
                tf.zeros(variable.shape),
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.SUM,
            )
            for variable in self._learnt
        ]

    def _gather(self, image: Any, target: dict[str, Any]) -> Any:
        gradients, sums = self._forward(image, target)
        for gathered, gradient in zip(self._gathered, gradients, strict=True):
            gathered.assign_add(gradient)
        return sums

    def _take_gathered(self) -> list[Any]:
        gradients = [tf.identity(gathered) for gathered in self._gathered]
        with tf.control_dependencies(gradients):
            for gathered in self._gathered:
                gathered.assign(tf.zeros_like(gathered))
        return gradients
