"""The loss of a network that finds a frame's brightness again."""

from typing import Any

from keras import ops

MIDDLE, SPREAD = 128.0, 64.0


class DenoisingLoss:
    """Mean squared error of the logits, in units of 64 grey levels around 128, on the frame without its padding."""

    def __call__(self, target: dict[str, Any], logits: Any) -> Any:
        """Give (batch,) float32; ``target["mask"]`` (batch, height, width, 2): brightness 0…255, and what counts."""
        mask = ops.cast(target["mask"], "float32")
        wanted, counts = (mask[..., 0] - MIDDLE) / SPREAD, mask[..., 1]
        error = ops.square(ops.cast(logits, "float32")[..., 0] - wanted) * counts
        return ops.sum(error, (1, 2)) / ops.maximum(ops.sum(counts, (1, 2)), 1.0)
