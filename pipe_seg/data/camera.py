"""What a crawler's lamp, camera and recorder do to a frame: each on some frames, stateless, in graph, uint8.

The order is that of the light: lamp, glare on wet walls, motion, a coarse sensor, text that the recorder writes over
it, JPEG.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

LINE_PX = 12
LINE_WIDTH_PX = 160
LINES = (
    "00012.4 m",
    "DN300 PVC",
    "MH14 - MH15",
    "2019-03-27 10:41",
    "+00045.70",
    "ID:W12 L=23",
    "DIST 7.85 FT",
    "C2-0119 DS",
)
TEXT_HEIGHT = (0.04, 0.08)
MOTION = 4
PI = 3.14159265


def record(image: Any, seed: Any, often: float = 1.0) -> Any:
    """Give a frame as a poor recording would show it.

    Args:
        image: (height, width, 3) uint8 RGB, of a static shape.
        seed: (2,) int32.
        often: factor on how often each fault appears.

    Returns:
        The same shape and type.
    """
    for (share, fault), own in zip(FAULTS, tf.unstack(tf.random.split(seed, len(FAULTS))), strict=True):
        seeds = tf.unstack(tf.random.split(own, 2))
        happens = tf.random.stateless_uniform((), seeds[0]) < share * often
        image = tf.cond(happens, _fault(fault, image, seeds[1]), _kept(image))
    return image


def lamp(image: Any, seed: Any) -> Any:
    """Darken what lies far from the lamp's axis, by up to 80 % in the corners."""
    u = tf.random.stateless_uniform((3,), seed)
    distance = tf.minimum(_distance(image, 0.3 + 0.4 * u[0], 0.3 + 0.4 * u[1]), 1.0)
    return _uint8(tf.cast(image, tf.float32) * (1 - (0.3 + 0.5 * u[2]) * distance**2)[..., None])


def glare(image: Any, seed: Any) -> Any:
    """Let a bright spot, up to a sixth of the frame wide, wash out what is under it."""
    u = tf.random.stateless_uniform((4,), seed)
    spot = tf.exp(-0.5 * tf.square(_distance(image, u[0], u[1]) / (0.02 + 0.06 * u[2])))
    return _uint8(tf.cast(image, tf.float32) + (120 + 180 * u[3]) * spot[..., None])


def motion(image: Any, seed: Any) -> Any:
    """Smear the frame along a line of up to nine pixels."""
    u = tf.random.stateless_uniform((2,), seed)
    offset = tf.range(-MOTION, MOTION + 1, dtype=tf.float32)
    cos, sin = tf.cos(PI * u[0]), tf.sin(PI * u[0])
    along = offset[None] * cos + offset[:, None] * sin
    across = offset[:, None] * cos - offset[None] * sin
    weights = tf.exp(-2 * across**2) * tf.sigmoid(4 * (1 + (MOTION - 1) * u[1] - tf.abs(along)))
    kernel = tf.tile((weights / tf.reduce_sum(weights))[..., None, None], (1, 1, 3, 1))
    padded = tf.pad(tf.cast(image, tf.float32), ((MOTION, MOTION), (MOTION, MOTION), (0, 0)), "SYMMETRIC")
    return _uint8(tf.nn.depthwise_conv2d(padded[None], kernel, (1, 1, 1, 1), "VALID")[0])


def coarse(image: Any, seed: Any) -> Any:
    """Take the frame through 0.35 to 0.8 of its height and width."""
    scale = 0.35 + 0.45 * tf.random.stateless_uniform((), seed)
    few = [tf.cast(tf.round(side * scale), tf.int32) for side in image.shape[:2]]
    return _uint8(tf.image.resize(tf.image.resize(image, few, antialias=True), image.shape[:2]))


def text(image: Any, seed: Any) -> Any:
    """Write a line over the upper or the lower part, as recorders do: white, yellow or black."""
    u = tf.random.stateless_uniform((5,), seed)
    height, width = (float(side) for side in image.shape[:2])
    scale = height * (TEXT_HEIGHT[0] + (TEXT_HEIGHT[1] - TEXT_HEIGHT[0]) * u[0]) / LINE_PX
    left = u[1] * tf.maximum(width - LINE_WIDTH_PX * scale, 1.0)
    top = tf.where(u[2] < 0.5, 0.02, 0.9) * height
    line = tf.constant(_lines())[tf.cast(u[3] * len(LINES), tf.int32)]
    written = tf.raw_ops.ImageProjectiveTransformV3(
        images=line[None],
        transforms=tf.stack([1 / scale, 0.0, -left / scale, 0.0, 1 / scale, -top / scale, 0.0, 0.0])[None],
        output_shape=image.shape[:2],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )[0]
    cover = tf.cast(written, tf.float32) / 255
    colour = tf.gather(tf.constant([[255.0, 255, 255], [250, 230, 60], [0, 0, 0]]), tf.cast(u[4] * 3, tf.int32))
    return _uint8(tf.cast(image, tf.float32) * (1 - cover) + colour * cover)


def jpeg(image: Any, seed: Any) -> Any:
    """Compress the frame at a quality of 15 to 70."""
    quality = tf.random.stateless_uniform((), seed, 15, 71, tf.int32)
    return tf.ensure_shape(tf.image.adjust_jpeg_quality(image, quality), image.shape)


FAULTS: tuple[tuple[float, Callable[[Any, Any], Any]], ...] = (
    (0.3, lamp),
    (0.2, glare),
    (0.15, motion),
    (0.25, coarse),
    (0.25, text),
    (0.25, jpeg),
)


def _fault(fault: Callable[[Any, Any], Any], image: Any, seed: Any) -> Callable[[], Any]:
    return lambda: fault(image, seed)


def _kept(image: Any) -> Callable[[], Any]:
    return lambda: image


def _distance(image: Any, x: Any, y: Any) -> Any:
    """Give (height, width) float32: how far each pixel lies from (x, y), 0…1 of the frame, in its diagonals."""
    height, width = image.shape[:2]
    down = tf.range(height, dtype=tf.float32)[:, None] - y * height
    right = tf.range(width, dtype=tf.float32)[None] - x * width
    return tf.sqrt((down**2 + right**2) / float(height**2 + width**2))


@cache
def _lines() -> np.ndarray:
    """Give the lines as (n, 12, 160, 1) uint8, 255 where there is ink."""
    drawn = np.zeros((len(LINES), LINE_PX, LINE_WIDTH_PX), np.uint8)
    for picture, line in zip(drawn, LINES, strict=True):
        cv2.putText(picture, line, (1, LINE_PX - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.36, 255, 1, cv2.LINE_AA)
    return drawn[..., None]


def _uint8(values: Any) -> Any:
    return tf.cast(tf.clip_by_value(tf.round(values), 0, 255), tf.uint8)
