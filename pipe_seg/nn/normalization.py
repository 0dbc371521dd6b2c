"""Batch normalisation that stays fast under bfloat16."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("pipe_seg")
class FusedBatchNormalization(keras.layers.Layer):
    """Batch normalisation over (batch, height, width); channels last.

    Gives ``gamma * (x - mean) / sqrt(variance + epsilon) + beta`` in the dtype of the input. Statistics,
    gamma and beta are float32 whatever the input is (Ioffe & Szegedy, arXiv 1502.03167).

    On TensorFlow it is one fused kernel, because Keras's own layer spells the same sum out in many
    bfloat16 passes over memory and takes most of a training step. Elsewhere it is written in
    ``keras.ops``; a test holds the two together. With several replicas the statistics in training are
    those of the whole batch, not of one replica's share. Moving statistics only take finite values.

    Args:
        momentum: share of the old moving statistics kept at each training step, 0…1.
        epsilon: added to the variance; the fused kernel needs more than 1.001e-5.
    """

    def __init__(self, momentum: float = 0.9, epsilon: float = 1e-3, **kwargs: Any) -> None:
        """Set the momentum and epsilon; ``kwargs`` go to ``keras.layers.Layer``."""
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create gamma, beta and the moving statistics, one value a channel."""
        shape = (input_shape[-1],)
        weight = {"shape": shape, "dtype": "float32", "autocast": False}
        statistic = {**weight, "trainable": False, "aggregation": "mean"}
        self.gamma = self.add_weight(name="gamma", initializer="ones", **weight)
        self.beta = self.add_weight(name="beta", initializer="zeros", **weight)
        self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", **statistic)
        self.moving_variance = self.add_weight(name="moving_variance", initializer="ones", **statistic)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Normalise ``inputs`` (batch, height, width, channels); same shape and dtype come back."""
        on_tensorflow = keras.backend.backend() == "tensorflow"
        alone = not (on_tensorflow and training) or _replicas() == 1
        normalise = _fused if on_tensorflow and alone else _composed
        if not training:
            return normalise(self, inputs, self.moving_mean, self.moving_variance, training=False)[0]
        outputs, mean, variance = normalise(self, inputs, None, None, training=True)
        self._follow(self.moving_mean, mean)
        self._follow(self.moving_variance, variance)
        return outputs

    def _follow(self, moving: Any, value: Any) -> None:
        moved = moving * self.momentum + value * (1 - self.momentum)
        moving.assign(ops.where(ops.isfinite(moved), moved, moving))

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that rebuild this layer."""
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}


def _composed(
    layer: FusedBatchNormalization, inputs: Any, mean: Any, variance: Any, *, training: bool
) -> tuple[Any, Any, Any]:
    """Give (outputs, mean, unbiased variance) in ``keras.ops``."""
    x = ops.cast(inputs, "float32")
    unbiased = variance
    if training:
        mean, variance = ops.moments(x, axes=(0, 1, 2))
        count = ops.cast(ops.prod(ops.shape(x)[:3]), "float32")
        if keras.backend.backend() == "tensorflow" and _replicas() > 1:
            mean, variance, count = _over_replicas(mean, variance, count)
        unbiased = variance * count / ops.maximum(count - 1.0, 1.0)
    scale = layer.gamma * ops.rsqrt(variance + layer.epsilon)
    return ops.cast((x - mean) * scale + layer.beta, inputs.dtype), mean, unbiased


def _fused(
    layer: FusedBatchNormalization, inputs: Any, mean: Any, variance: Any, *, training: bool
) -> tuple[Any, Any, Any]:
    """Give (outputs, mean, unbiased variance) from TensorFlow's fused kernel."""
    import tensorflow as tf

    none = tf.constant([], tf.float32)
    result = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=tf.convert_to_tensor(layer.gamma),
        offset=tf.convert_to_tensor(layer.beta),
        mean=none if mean is None else tf.convert_to_tensor(mean),
        variance=none if variance is None else tf.convert_to_tensor(variance),
        epsilon=layer.epsilon,
        is_training=training,
    )
    return result.y, result.batch_mean, result.batch_variance


def _replicas() -> int:
    """Give how many replicas compute this batch together (TensorFlow only)."""
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context else 1


def _over_replicas(mean: Any, variance: Any, count: Any) -> tuple[Any, Any, Any]:
    """Give mean, variance and count of all replicas' shares together, equally many images each."""
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    moments = context.all_reduce(tf.distribute.ReduceOp.MEAN, tf.stack([mean, variance + tf.square(mean)]))
    mean = moments[0]
    return mean, tf.maximum(moments[1] - tf.square(mean), 0.0), count * context.num_replicas_in_sync
