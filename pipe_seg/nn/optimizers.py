"""Optimizers by the name in the configuration."""

from typing import Any

import keras

from pipe_seg.config import Optimizer


def build(optimizer: Optimizer, learning_rate: Any) -> keras.optimizers.Optimizer:
    """Returns the optimizer that ``optimizer`` names.

    Args:
        optimizer: One member of the tagged union in the configuration.
        learning_rate: A float or a ``keras.optimizers.schedules.LearningRateSchedule``.
    """
    arguments = optimizer.model_dump(exclude={"name"})
    if optimizer.name == "sgd":
        return keras.optimizers.SGD(learning_rate, **arguments)
    built = FusedAdamW(learning_rate, **{"weight_decay": 0.0, **arguments})
    built.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return built


@keras.saving.register_keras_serializable("pipe_seg")
class FusedAdamW(keras.optimizers.AdamW):
    """AdamW (Loshchilov & Hutter, arXiv 1711.05101) with the update as one kernel on TensorFlow.

    Moments and result equal those of ``keras.optimizers.AdamW`` with fewer passes over memory. Other backends use that
    class.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates ``variable`` by one step against ``gradient``."""
        if keras.backend.backend() != "tensorflow" or self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, tf.float32), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, tf.float32), step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=tf.cast(self.beta_1, tf.float32),
            beta2=tf.cast(self.beta_2, tf.float32),
            epsilon=tf.cast(self.epsilon, tf.float32),
            grad=tf.cast(gradient, tf.float32),
        )
