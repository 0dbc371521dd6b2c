"""What is done around the network to make its answer better: mirrored views, no specks.

Views take a function from frames (batch, height, width, 3) float32, 0…255, to logits (batch, height, width, 1) and
give another; specks are taken out of the logits. All work in the exported graph.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from pipe_seg.config import Config

Answers = Callable[[Any], Any]

BELOW = 2.0


@dataclass(frozen=True)
class InferenceOptions:
    """How a network is asked.

    Attributes:
        size: (height, width) px at which the network is asked.
        flip: ask for the mirrored frame too, and take the mean.
        threshold: probability from which a pixel is claimed.
        min_component_fraction: share of the frame that a claimed blob has to have; smaller ones are taken back.
    """

    size: tuple[int, int]
    flip: bool = False
    threshold: float = 0.5
    min_component_fraction: float = 0.0

    @classmethod
    def of(cls, config: Config, threshold: float = 0.5, min_component_fraction: float = 0.0) -> "InferenceOptions":
        """Give it as configured."""
        learnt = (config.transform.image_height_px, config.transform.image_width_px)
        height, width = (math.ceil(side * config.export.scale) for side in learnt)
        return cls((height, width), config.export.flip, threshold, min_component_fraction)

    def around(self, network: Answers) -> Answers:
        """Give ``network`` as a function of frames of ``size``."""
        return flipped(network) if self.flip else network

    def remove_small_components(self, logits: Any, inside: Any) -> Any:
        """Give what ``around`` answered without specks; ``inside`` (batch, height, width) is False on the padding."""
        return (
            without_small_components(logits, inside, self.threshold, self.min_component_fraction)
            if self.min_component_fraction
            else logits
        )


def flipped(network: Answers) -> Answers:
    """Give the mean of the logits for a frame and for its mirror image, turned back."""

    def logits(frames: Any) -> Any:
        mirrored = tf.reverse(network(tf.reverse(frames, [2])), [2])
        return (network(frames) + mirrored) / 2

    return logits


def without_small_components(logits: Any, inside: Any, threshold: float, least_share: float) -> Any:
    """Take claims back, logits put just under the threshold's, in blobs of less than ``least_share`` of the frame.

    Args:
        logits: (batch, height, width, 1).
        inside: (batch, height, width) bool, False on the padding, which no label told anything of: what is claimed
            there belongs to no blob.
        threshold: probability from which a pixel is claimed.
        least_share: 0…1, of the pixels that are ``inside``.
    """
    level = math.log(threshold / (1 - threshold))
    claimed = (logits[..., 0] >= level) & inside
    smallest_px = least_share * tf.reduce_sum(tf.cast(inside, tf.float32), [1, 2], keepdims=True)
    small = claimed & (tf.cast(component_sizes(claimed), tf.float32) < smallest_px)
    return tf.where(small[..., None], tf.minimum(logits, level - BELOW), logits)


def component_sizes(claimed: Any) -> Any:
    """Give, for each claimed pixel of (batch, height, width) bool, how many its blob has (8 neighbours); int32.

    Every pixel begins with its own number and takes the largest among its neighbours, then that which the pixel of
    this number has taken, until nothing changes: the blob's largest number.
    """
    shape = tf.shape(claimed)
    pixels = shape[1] * shape[2]
    own = tf.reshape(tf.range(1, pixels + 1), (1, shape[1], shape[2]))
    first = tf.where(claimed, own, 0)

    def spread(labels: Any, _changed: Any) -> tuple[Any, Any]:
        wide = tf.nn.max_pool2d(tf.cast(labels[..., None], tf.float32), 3, 1, "SAME")[..., 0]
        near = tf.where(claimed, tf.cast(wide, tf.int32), 0)
        flat = tf.pad(tf.reshape(near, (shape[0], pixels)), ((0, 0), (1, 0)))
        jumped = tf.reshape(tf.gather(flat, flat[:, 1:], batch_dims=1), shape)
        return jumped, tf.reduce_any(jumped != labels)

    labels, _ = tf.while_loop(lambda _, changed: changed, spread, (first, tf.constant(True)))
    flat = tf.reshape(labels, (shape[0], pixels))
    counts = tf.math.bincount(flat, minlength=pixels + 1, maxlength=pixels + 1, axis=-1)
    sizes = tf.reshape(tf.gather(counts, flat, batch_dims=1), shape)
    return tf.where(claimed, sizes, 0)
