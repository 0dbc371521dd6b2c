"""The learning rate over the steps of a training."""

import math
from typing import Any, Literal

import keras
from keras import ops

Schedule = Literal["cosine", "constant"]


@keras.saving.register_keras_serializable("pipe_seg")
class Rate(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up from 0, then cosine decay (Loshchilov & Hutter, arXiv 1608.03983) or a constant rate.

    What is given is multiplied by ``scale``, a variable, for what is only known while training:
    numbers that are not finite.

    Args:
        schedule: ``cosine`` or ``constant``.
        peak: the rate after the warm-up.
        steps: the length of the training.
        warmup_share: share of ``steps`` over which the rate rises.
        final_share: what is left of the peak at the end of a cosine.
    """

    def __init__(self, schedule: Schedule, peak: float, steps: int, warmup_share: float, final_share: float) -> None:
        """Keep the arguments and make ``scale``, 1."""
        self.arguments = {
            "schedule": schedule,
            "peak": peak,
            "steps": steps,
            "warmup_share": warmup_share,
            "final_share": final_share,
        }
        self.scale = keras.Variable(1.0, trainable=False, dtype="float32", name="rate_scale")
        self._peak = peak
        self._warmup = round(steps * warmup_share)
        self._decay = max(steps - self._warmup, 1)
        self._lowest = final_share if schedule == "cosine" else 1.0

    def __call__(self, step: Any) -> Any:
        """Give the rate of step number ``step``, from 0: a float32 scalar."""
        step = ops.cast(step, "float32")
        done = ops.clip((step - self._warmup) / self._decay, 0.0, 1.0)
        share = self._lowest + (1.0 - self._lowest) * 0.5 * (1.0 + ops.cos(math.pi * done))
        rising = step / max(self._warmup, 1)
        return self._peak * ops.where(step < self._warmup, rising, share) * self.scale

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that rebuild it, with ``scale`` 1."""
        return self.arguments
