"""Learning-rate schedules."""

import math
from typing import Any, Literal

import keras
from keras import ops

Schedule = Literal["cosine", "constant"]


@keras.saving.register_keras_serializable("pipe_seg")
class Rate(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0, then cosine decay (Loshchilov & Hutter, arXiv 1608.03983) or a constant rate.

    The variable ``scale`` multiplies the rate; training lowers it when it rolls back to a checkpoint.

    Args:
        schedule: ``cosine`` or ``constant``.
        peak: Rate after the warm-up.
        steps: Length of the training in steps.
        warmup_share: Fraction of ``steps`` over which the rate rises.
        final_share: Fraction of ``peak`` that remains at the end of a cosine.
    """

    def __init__(self, schedule: Schedule, peak: float, steps: int, warmup_share: float, final_share: float) -> None:
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
        """Returns the rate of step number ``step``, from 0: a float32 scalar."""
        step = ops.cast(step, "float32")
        done = ops.clip((step - self._warmup) / self._decay, 0.0, 1.0)
        share = self._lowest + (1.0 - self._lowest) * 0.5 * (1.0 + ops.cos(math.pi * done))
        warmup_fraction = step / max(self._warmup, 1)
        return self._peak * ops.where(step < self._warmup, warmup_fraction, share) * self.scale

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments; ``scale`` is not among them and starts at 1."""
        return self.arguments
