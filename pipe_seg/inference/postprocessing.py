"""Post-processing in the exported graph: flip averaging and removal of small connected components."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from pipe_seg.config import Config

Answers = Callable[[Any], Any]  # frames `(batch, height, width, 3)` float32 0…255 → logits `(batch, height, width, 1)`

REMOVED_MARGIN = 2.0  # how far below the threshold the logits of removed components are set


@dataclass(frozen=True)
class InferenceOptions:
    """How frames are passed to the network and its logits post-processed.

    Attributes:
        size: Input size of the network, `(height, width)` in pixels.
        flip: Whether to average the logits of a frame and of its mirror image.
        threshold: Probability at and above which a pixel is predicted positive.
        min_component_fraction: Components smaller than this share of the frame are removed.
    """

    size: tuple[int, int]
    flip: bool = False
    threshold: float = 0.5
    min_component_fraction: float = 0.0

    @classmethod
    def of(cls, config: Config, threshold: float = 0.5, min_component_fraction: float = 0.0) -> "InferenceOptions":
        """Returns the options that `config` sets, with the size scaled by `export.scale`."""
        trained = (config.transform.image_height_px, config.transform.image_width_px)
        height, width = (math.ceil(side * config.export.scale) for side in trained)
        return cls((height, width), config.export.flip, threshold, min_component_fraction)

    def wrap(self, network: Answers) -> Answers:
        """Returns `network`, with flip averaging if `flip` is set."""
        return flipped(network) if self.flip else network

    def remove_small_components(self, logits: Any, inside: Any) -> Any:
        """Returns logits without small components; `inside` is as for `without_small_components`."""
        return (
            without_small_components(logits, inside, self.threshold, self.min_component_fraction)
            if self.min_component_fraction
            else logits
        )


def flipped(network: Answers) -> Answers:
    """Returns `network` with its logits averaged over each frame and its mirror image."""

    def logits(frames: Any) -> Any:
        mirrored = tf.reverse(network(tf.reverse(frames, [2])), [2])
        return (network(frames) + mirrored) / 2

    return logits


def without_small_components(logits: Any, inside: Any, threshold: float, min_fraction: float) -> Any:
    """Returns logits in which predicted components below `min_fraction` of the frame are negative.

    Args:
        logits: `(batch, height, width, 1)` float32.
        inside: `(batch, height, width)` bool, False on the padding. Pixels there belong to no component.
        threshold: Probability at and above which a pixel is predicted positive.
        min_fraction: 0…1, of the pixels that are `inside`.
    """
    level = math.log(threshold / (1 - threshold))
    positive = (logits[..., 0] >= level) & inside
    min_px = min_fraction * tf.reduce_sum(tf.cast(inside, tf.float32), [1, 2], keepdims=True)
    small = positive & (tf.cast(component_sizes(positive), tf.float32) < min_px)
    return tf.where(small[..., None], tf.minimum(logits, level - REMOVED_MARGIN), logits)


def component_sizes(positive: Any) -> Any:
    """Returns the size in pixels of each positive pixel's 8-connected component, 0 elsewhere; int32.

    Each pixel of `positive`, `(batch, height, width)` bool, starts with its own number as its label. It repeatedly
    takes the largest label among its neighbours, then the label of the pixel with that number (pointer jumping),
    until nothing changes.
    """
    shape = tf.shape(positive)
    pixels = shape[1] * shape[2]
    numbers = tf.reshape(tf.range(1, pixels + 1), (1, shape[1], shape[2]))
    first = tf.where(positive, numbers, 0)

    def spread(labels: Any, _changed: Any) -> tuple[Any, Any]:
        pooled = tf.nn.max_pool2d(tf.cast(labels[..., None], tf.float32), 3, 1, "SAME")[..., 0]
        largest = tf.where(positive, tf.cast(pooled, tf.int32), 0)
        flat = tf.pad(tf.reshape(largest, (shape[0], pixels)), ((0, 0), (1, 0)))
        jumped = tf.reshape(tf.gather(flat, flat[:, 1:], batch_dims=1), shape)
        return jumped, tf.reduce_any(jumped != labels)

    labels, _ = tf.while_loop(lambda _, changed: changed, spread, (first, tf.constant(True)))
    flat = tf.reshape(labels, (shape[0], pixels))
    counts = tf.math.bincount(flat, minlength=pixels + 1, maxlength=pixels + 1, axis=-1)
    sizes = tf.reshape(tf.gather(counts, flat, batch_dims=1), shape)
    return tf.where(positive, sizes, 0)
