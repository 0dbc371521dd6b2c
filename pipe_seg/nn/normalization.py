"""Batch normalisation that stays fast under bfloat16."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("pipe_seg")
class FusedBatchNormalization(keras.layers.Layer):
    """Batch normalisation over (batch, height, width), channels last.

    Computes ``gamma * (x - mean) / sqrt(variance + epsilon) + beta`` in the dtype of the input. Statistics, gamma and
    beta are always float32 (Ioffe & Szegedy, arXiv 1502.03167).

    On TensorFlow it is one fused kernel: Keras's own layer makes many bfloat16 passes over memory and takes most of
    a training step. Other backends use ``keras.ops``; a test compares the two. With several replicas the training
    statistics are those of the global batch. Values that are not finite never enter the moving statistics.

    Args:
        momentum: Fraction of the old moving statistics kept at each training step, 0…1.
        epsilon: Added to the variance; the fused kernel needs more than 1.001e-5.
    """

    def __init__(self, momentum: float = 0.9, epsilon: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates gamma, beta and the moving statistics, one value per channel."""
        shape = (input_shape[-1],)
        weight = {"shape": shape, "dtype": "float32", "autocast": False}
        statistic = {**weight, "trainable": False, "aggregation": "mean"}
        self.gamma = self.add_weight(name="gamma", initializer="ones", **weight)
        self.beta = self.add_weight(name="beta", initializer="zeros", **weight)
        self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", **statistic)
        self.moving_variance = self.add_weight(name="moving_variance", initializer="ones", **statistic)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Returns ``inputs`` `(batch, height, width, channels)` normalised, same shape and dtype."""
        normalise = _fused if keras.backend.backend() == "tensorflow" else _composed
        if not training:
            return normalise(self, inputs, self.moving_mean, self.moving_variance, training=False)[0]
        outputs, mean, variance = normalise(self, inputs, None, None, training=True)
        self._update_moving(self.moving_mean, mean)
        self._update_moving(self.moving_variance, variance)
        return outputs

    def _update_moving(self, moving: Any, value: Any) -> None:
        updated = moving * self.momentum + value * (1 - self.momentum)
        moving.assign(ops.where(ops.isfinite(updated), updated, moving))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments of this layer."""
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}


def _composed(
    layer: FusedBatchNormalization, inputs: Any, mean: Any, variance: Any, *, training: bool
) -> tuple[Any, Any, Any]:
    """Returns (outputs, mean, unbiased variance), computed with ``keras.ops``."""
    x = ops.cast(inputs, "float32")
    unbiased = variance
    if training:
        mean, variance = ops.moments(x, axes=(0, 1, 2))
        count = ops.cast(ops.prod(ops.shape(x)[:3]), "float32")
        unbiased = variance * count / ops.maximum(count - 1.0, 1.0)
    scale = layer.gamma * ops.rsqrt(variance + layer.epsilon)
    return ops.cast((x - mean) * scale + layer.beta, inputs.dtype), mean, unbiased


def _fused(
    layer: FusedBatchNormalization, inputs: Any, mean: Any, variance: Any, *, training: bool
) -> tuple[Any, Any, Any]:
    """Returns (outputs, mean, unbiased variance) from TensorFlow's fused kernel."""
    import tensorflow as tf

    scale, offset = tf.convert_to_tensor(layer.gamma), tf.convert_to_tensor(layer.beta)
    context = tf.distribute.get_replica_context()
    if training and context and context.num_replicas_in_sync > 1:
        return _over_replicas(inputs, scale, offset, layer.epsilon, context)
    if training:
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=scale, offset=offset, mean=[], variance=[], epsilon=layer.epsilon, is_training=True
        )
        return y, mean, variance
    mean, variance = tf.convert_to_tensor(mean), tf.convert_to_tensor(variance)
    return _affine(inputs, scale, offset, mean, variance, layer.epsilon), mean, variance


def _affine(x: Any, scale: Any, offset: Any, mean: Any, variance: Any, epsilon: float) -> Any:
    """Returns scale * (x - mean) / sqrt(variance + epsilon) + offset in one pass over memory."""
    import tensorflow as tf

    return tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=mean, variance=variance, epsilon=epsilon, is_training=False
    ).y


def _over_replicas(x: Any, scale: Any, offset: Any, epsilon: float, context: Any) -> tuple[Any, Any, Any]:
    """Returns (outputs, mean, unbiased variance) with the statistics of the global batch."""
    import tensorflow as tf

    def mean_over_replicas(*values: Any) -> list[Any]:
        reduced: list[Any] = tf.unstack(context.all_reduce(tf.distribute.ReduceOp.MEAN, tf.stack(values)))
        return reduced

    count = tf.cast(tf.size(x) / tf.shape(x)[-1], tf.float32)
    _, local_mean, local_unbiased, *_ = tf.raw_ops.FusedBatchNormV3(
        x=tf.stop_gradient(x), scale=tf.ones_like(scale), offset=tf.zeros_like(offset), mean=[], variance=[]
    )
    local_variance = local_unbiased * (count - 1) / count
    mean, square = mean_over_replicas(local_mean, local_variance + tf.square(local_mean))
    variance = tf.maximum(square - tf.square(mean), 0.0)

    # Every output depends on every replica's input: γ/σ · (dy − mean(dy) − x̂ · mean(dy · x̂)), means over all replicas
    # (Ioffe & Szegedy, section 3).
    @tf.custom_gradient
    def normalised(x: Any, scale: Any, offset: Any) -> tuple[Any, Any]:
        def gradient(dy: Any) -> tuple[Any, Any, Any]:
            dx, d_scale, d_offset, *_ = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=dy,
                x=x,
                scale=scale,
                reserve_space_1=mean,
                reserve_space_2=variance,
                reserve_space_3=[],
                epsilon=epsilon,
                is_training=False,
            )
            gain = scale * tf.math.rsqrt(variance + epsilon) / count
            scale_mean, offset_mean = mean_over_replicas(d_scale, d_offset)
            return dx - _affine(x, gain * scale_mean, gain * offset_mean, mean, variance, epsilon), d_scale, d_offset

        return _affine(x, scale, offset, mean, variance, epsilon), gradient

    total = count * context.num_replicas_in_sync
    return normalised(x, scale, offset), mean, variance * total / (total - 1)
