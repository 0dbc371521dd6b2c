"""Frames without labels → a lesson: the frame spoilt by noise and by hidden patches, and its brightness to be found.

Denoising: Vincent et al., ICML 2008; hidden patches: He et al., arXiv 2111.06377.
"""

from typing import Any

import tensorflow as tf

PATCH_PX = 16
HIDDEN = 0.4
NOISE = (10.0, 50.0)


def lesson(image: Any, inside: Any, seed: Any) -> tuple[Any, Any]:
    """Spoil one example.

    Args:
        image: (height, width, 3) uint8 RGB, of a static shape.
        inside: (height, width, 1) uint8 {0, 1}: the frame without its padding.
        seed: (2,) int32.

    Returns:
        The spoilt image, same shape and type, and (height, width, 2) uint8: the brightness that was there, 0…255, and
        ``inside``.
    """
    height, width = image.shape[:2]
    seeds = tf.unstack(tf.random.split(seed, 3))
    low, high = NOISE
    sigma = low + (high - low) * tf.random.stateless_uniform((), seeds[0])
    noisy = tf.cast(image, tf.float32) + sigma * tf.random.stateless_normal((height, width, 1), seeds[1])
    patches = (-(-height // PATCH_PX), -(-width // PATCH_PX))
    shown = tf.random.stateless_uniform(patches, seeds[2]) >= HIDDEN
    shown = tf.repeat(tf.repeat(shown, PATCH_PX, 0), PATCH_PX, 1)[:height, :width, None]
    spoilt = tf.where(shown, tf.clip_by_value(tf.round(noisy), 0, 255), 128.0)
    return tf.cast(spoilt, tf.uint8) * inside, tf.concat([tf.image.rgb_to_grayscale(image), inside], -1)
