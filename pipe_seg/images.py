"""Encoded images to pixels and back. Orientation tags are ignored: masks are drawn on the stored pixels."""

import cv2
import numpy as np

COLOUR = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
AS_STORED = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION


def grey_frame() -> np.ndarray:
    """Give a plain frame of the usual size, (576, 720, 3) uint8, for asking a model whether it answers."""
    return np.full((576, 720, 3), 128, np.uint8)


def decode(data: bytes, flags: int = COLOUR) -> np.ndarray:
    """Give (height, width, 3) uint8 BGR, or what the file holds under ``AS_STORED``.

    Raises:
        ValueError: empty, not an image, or broken.
    """
    if not data:
        raise ValueError("empty file")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ValueError("not an image, or broken")
    return np.asarray(pixels)


def encode(pixels: np.ndarray, suffix: str, quality: int = 90) -> bytes:
    """Give ``pixels`` (BGR or one channel, uint8) as ``.jpg`` or ``.png``; ``quality`` is JPEG's."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    return cv2.imencode(suffix, pixels, options)[1].tobytes()


def narrow(pixels: np.ndarray, width: int) -> np.ndarray:
    """Give the image scaled to ``width`` px, proportions kept."""
    height = round(pixels.shape[0] * width / pixels.shape[1])
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))


def outline(pixels: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Draw the contours of ``mask`` {0, 1} into ``pixels`` (BGR) in ``colour`` (BGR)."""
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(pixels, contours, -1, colour, max(1, pixels.shape[1] // 300))
