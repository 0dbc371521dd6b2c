"""Mask images: {0, 1} or {0, 255}, as one type."""

from pathlib import Path

import cv2
import numpy as np

from pipe_seg.errors import InputDataError, Problem


def read(path: Path) -> np.ndarray:
    """Give the mask as (height, width) uint8 {0, 1}.

    Three equal channels count as one. Orientation tags are ignored, as everywhere here.

    Raises:
        InputDataError: not an image, or other values than {0, 1} or {0, 255}.
    """
    pixels = decode(path, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels.ndim == 3:
        if np.ptp(pixels[..., :3], axis=-1).any():
            raise InputDataError(Problem(path, "mask in colour", expected="one channel, or three equal ones"))
        pixels = pixels[..., 0]
    values = np.unique(pixels).tolist()
    if not set(values) <= {0, 1} and not set(values) <= {0, 255}:
        raise InputDataError(Problem(path, "not a mask", got=f"values {values[:6]}", expected="{0, 1} or {0, 255}"))
    return (pixels > 0).astype(np.uint8)


def decode(path: Path, flags: int) -> np.ndarray:
    """Give the pixels of an image file, as OpenCV reads it under ``flags``.

    Raises:
        InputDataError: empty, unreadable or broken.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputDataError(Problem(path, f"cannot be read: {error.strerror}")) from error
    if not data:
        raise InputDataError(Problem(path, "empty file", expected="an image; copy it again"))
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise InputDataError(Problem(path, "not an image, or broken", expected="a whole JPEG or PNG; copy it again"))
    return pixels
