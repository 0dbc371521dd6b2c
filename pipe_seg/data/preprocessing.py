"""Preprocessing: decoded pixels to the network's input, for training and for the exported graph.

Frames keep their proportions: they are scaled to fit and padded below and to the right (letterbox). Orientation tags
are ignored, which keeps a frame aligned with the mask drawn on its stored pixels.
"""

from typing import Any

import tensorflow as tf

MASK_LEVEL = 0.5


def decode(image_bytes: Any) -> Any:
    """Returns an encoded frame (scalar string) as `(height, width, 3)` uint8 RGB, as stored."""
    image = tf.io.decode_image(image_bytes, channels=3, expand_animations=False)
    return tf.ensure_shape(image, (None, None, 3))


def fitted_size(height: Any, width: Any, target: tuple[int, int]) -> tuple[Any, Any]:
    """Returns the height and width, int32 px, of a frame fitted into ``target`` (height, width) px."""
    height, width = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    scale = tf.minimum(target[0] / height, target[1] / width)
    inner = (tf.cast(tf.round(side * scale), tf.int32) for side in (height, width))
    fitted_height, fitted_width = (tf.clip_by_value(side, 1, most) for side, most in zip(inner, target, strict=True))
    return fitted_height, fitted_width


def letterbox(image: Any, target: tuple[int, int]) -> Any:
    """Returns ``image`` `(..., height, width, channels)`, 0…255, fitted into ``target`` as uint8."""
    height, width = fitted_size(tf.shape(image)[-3], tf.shape(image)[-2], target)
    resized = tf.image.resize(image, (height, width), antialias=True)
    whole = tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)
    return tf.image.pad_to_bounding_box(whole, 0, 0, *target)


def letterbox_mask(mask: Any, target: tuple[int, int]) -> Any:
    """Returns ``mask`` `(height, width, 1)` {0, 1} fitted into ``target`` as uint8 {0, 1}."""
    height, width = fitted_size(tf.shape(mask)[0], tf.shape(mask)[1], target)
    resized = tf.image.resize(tf.cast(mask, tf.float32), (height, width), antialias=True)
    return tf.image.pad_to_bounding_box(tf.cast(resized >= MASK_LEVEL, tf.uint8), 0, 0, *target)


def valid_area(height: Any, width: Any, target: tuple[int, int]) -> Any:
    """Returns `(..., *target)` bool, true inside the frame, for `(...)` heights and widths in px."""
    inner_height, inner_width = (side[..., None, None] for side in fitted_size(height, width, target))
    return (tf.range(target[0])[:, None] < inner_height) & (tf.range(target[1]) < inner_width)


def restore(logits: Any, height: Any, width: Any) -> Any:
    """Returns letterboxed logits `(batch, *target, 1)` at the frame's size, resized bilinearly."""
    target = (int(logits.shape[1]), int(logits.shape[2]))
    fitted_height, fitted_width = fitted_size(height, width, target)
    inner = logits[:, :fitted_height, :fitted_width, :]
    return tf.image.resize(inner, (height, width), method="bilinear")
