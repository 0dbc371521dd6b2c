"""Random augmentation of image, mask and boxes: stateless, keyed by (seed, epoch, example), uint8.

Geometry is one projective warp of the stacked image and target channels, which keeps them aligned; light is one look-up
table per channel. Ranges follow CCTV crawlers: roll, zoom, exposure, white balance, focus, sensor noise. Frames are
never flipped upside down, because gravity carries information in a pipe.
"""

from typing import Any

import tensorflow as tf

ROLL_DEGREES = 15.0
ZOOM = (0.75, 1.5)
SHIFT = 0.12
TILT = 0.12
LEVEL = 128


def key(seed: int, epoch: Any, example: Any) -> Any:
    """Returns the stateless seed, `(2,)` int32, of one example (an int64 scalar) in one epoch."""
    base = tf.random.fold_in(tf.constant([seed, 0x5EED], tf.int32), tf.cast(epoch, tf.int32))
    return tf.random.fold_in(base, tf.cast(example, tf.int32))


def augment(image: Any, target_channels: Any, boxes: Any, seed: Any) -> tuple[Any, Any, Any]:
    """Returns one example with geometric and photometric augmentation.

    Args:
        image: `(height, width, 3)` uint8 RGB; pixels outside the frame come back black, as letterbox pads.
        target_channels: `(height, width, n)` uint8 {0, 1}; the last one is 1 inside the frame. Pixels that the warp
            brings in from outside are 0.
        boxes: `(n, 5)` float32: left, top, right, bottom in px, and a fill rate. With a fill rate above 0 the frame
            stays upright, because a rolled box is no box.
        seed: From ``key``.

    Returns:
        The three, same shapes and dtypes; corners of boxes may lie outside the frame.
    """
    warped, target_channels, boxes = geometric(image, target_channels, boxes, seed)
    return photometric(warped, target_channels, seed), target_channels, boxes


def geometric(image: Any, target_channels: Any, boxes: Any, seed: Any) -> tuple[Any, Any, Any]:
    """Returns the example after the geometric half of ``augment``."""
    upright = tf.reduce_any(boxes[:, 4] > 0)
    transform = projection(tf.random.split(seed, 4)[0], image.shape[0], image.shape[1], upright=upright)
    return warp(image, target_channels, boxes, transform)


def photometric(image: Any, target_channels: Any, seed: Any) -> Any:
    """Returns the image after the photometric half of ``augment``; padding stays black."""
    _, light, focus, grain = tf.unstack(tf.random.split(seed, 4))
    image = add_noise(defocus(relight(image, light), focus), grain)
    return image * target_channels[..., -1:]


def warp(image: Any, target_channels: Any, boxes: Any, transform: Any) -> tuple[Any, Any, Any]:
    """Returns image, target channels and boxes warped by the ``transform`` that ``projection`` returns."""
    height, width = image.shape[0], image.shape[1]
    stacked = tf.concat([image, target_channels * 255], -1)
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=stacked[None],
        transforms=transform[None],
        output_shape=(height, width),
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )[0]
    return warped[..., :3], tf.cast(warped[..., 3:] >= LEVEL, tf.uint8), _warp_boxes(boxes, transform)


def _warp_boxes(boxes: Any, transform: Any) -> Any:
    """Returns the boxes after an upright ``transform``."""
    factor, shift = tf.stack([transform[0], transform[4]]), tf.stack([transform[2], transform[5]])
    first, second = ((corner - 0.5 - shift) / factor + 0.5 for corner in (boxes[:, :2], boxes[:, 2:4]))
    return tf.concat([tf.minimum(first, second), tf.maximum(first, second), boxes[:, 4:]], 1)


def projection(seed: Any, height: int, width: int, *, upright: Any) -> Any:
    """Returns the eight numbers that map output to input pixels: mirror, roll, zoom, shift, tilt.

    ``upright`` switches roll and tilt off.
    """
    u = tf.random.stateless_uniform((7,), seed, -1.0, 1.0)
    u *= tf.where(upright, [1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0], tf.ones(7))
    mirror = tf.where(u[0] < 0, -1.0, 1.0)
    roll = u[1] * (ROLL_DEGREES * 3.14159265 / 180)
    low, high = (tf.math.log(value) for value in ZOOM)
    scale = tf.exp(-(low + (u[2] + 1) / 2 * (high - low)))
    cos, sin = tf.cos(roll) * scale, tf.sin(roll) * scale
    linear = tf.stack([[cos * mirror, -sin, u[3] * SHIFT * width], [sin * mirror, cos, u[4] * SHIFT * height]])
    tilt = tf.stack([u[5] * TILT / width, u[6] * TILT / height, 1.0])
    matrix = tf.concat([linear, tilt[None]], 0)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    to_centre = tf.constant([[1.0, 0, -centre_x], [0, 1.0, -centre_y], [0, 0, 1.0]])
    back = tf.constant([[1.0, 0, centre_x], [0, 1.0, centre_y], [0, 0, 1.0]])
    full = back @ matrix @ to_centre
    return tf.reshape(full / full[2, 2], (9,))[:8]


def relight(image: Any, seed: Any) -> Any:
    """Returns the image with random exposure, contrast, gamma, black level, white balance; 10 % grey."""
    u = tf.random.stateless_uniform((7,), seed, -1.0, 1.0)
    level = tf.range(256, dtype=tf.float32) / 255
    curve = tf.pow(level, tf.exp(0.4 * u[0])) * tf.exp(0.35 * u[1])
    curve = (curve - 0.4) * tf.exp(0.3 * u[2]) + 0.4 + 0.08 * u[3]
    table = curve[:, None] * tf.exp(0.12 * tf.stack([u[4], 0.0, u[5]]))[None]
    table = tf.cast(tf.clip_by_value(tf.round(table * 255), 0, 255), tf.uint8)
    index = tf.cast(image, tf.int32)
    lit = tf.stack([tf.gather(table[:, channel], index[..., channel]) for channel in range(3)], -1)
    return tf.cond(u[6] < -0.8, lambda: _grey(lit), lambda: lit)


def _grey(image: Any) -> Any:
    return tf.repeat(tf.image.rgb_to_grayscale(image), 3, axis=-1)


def defocus(image: Any, seed: Any) -> Any:
    """Returns the image, blurred by a small Gaussian in one frame of four."""
    u = tf.random.stateless_uniform((2,), seed)
    return tf.cond(u[0] < 0.25, lambda: _blur(image, 0.5 + 1.0 * u[1]), lambda: image)


def _blur(image: Any, sigma: Any) -> Any:
    weights = tf.exp(-0.5 * tf.square(tf.range(-2, 3, dtype=tf.float32) / sigma))
    kernel = tf.tile((weights / tf.reduce_sum(weights))[:, None, None, None], (1, 1, 3, 1))
    x = tf.cast(image, tf.float32)[None]
    x = tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "SAME")
    x = tf.nn.depthwise_conv2d(x, tf.transpose(kernel, (1, 0, 2, 3)), (1, 1, 1, 1), "SAME")
    return tf.cast(tf.clip_by_value(tf.round(x[0]), 0, 255), tf.uint8)


def add_noise(image: Any, seed: Any) -> Any:
    """Returns the image, with Gaussian noise of up to 12 grey levels in one frame of two."""
    seeds = tf.unstack(tf.random.split(seed, 2))
    u = tf.random.stateless_uniform((2,), seeds[0])
    return tf.cond(u[0] < 0.5, lambda: _noisy(image, 12 * u[1], seeds[1]), lambda: image)


def _noisy(image: Any, sigma: Any, seed: Any) -> Any:
    noise = tf.random.stateless_normal((*image.shape[:2], 1), seed) * sigma
    return tf.cast(tf.clip_by_value(tf.round(tf.cast(image, tf.float32) + noise), 0, 255), tf.uint8)
