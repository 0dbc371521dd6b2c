"""Mask images: {0, 1} or {0, 255}, as one type."""

from pathlib import Path

import numpy as np

from pipe_seg import images
from pipe_seg.errors import InputDataError, Problem


def read(path: Path) -> np.ndarray:
    """Give the mask as (height, width) uint8 {0, 1}.

    Three equal channels count as one. Orientation tags are ignored, as everywhere here.

    Raises:
        InputDataError: not an image, or other values than {0, 1} or {0, 255}.
    """
    pixels = decode(path, images.AS_STORED)
    if pixels.ndim == 3:
        if np.ptp(pixels[..., :3], axis=-1).any():
            raise InputDataError(Problem(path, "mask in colour", expected="one channel, or three equal ones"))
        pixels = pixels[..., 0]
    values = np.unique(pixels).tolist()
    if not set(values) <= {0, 1} and not set(values) <= {0, 255}:
        raise InputDataError(Problem(path, "not a mask", got=f"values {values[:6]}", expected="{0, 1} or {0, 255}"))
    return (pixels > 0).astype(np.uint8)


def decode(path: Path, flags: int = images.COLOUR) -> np.ndarray:
    """Give the pixels of an image file.

    Raises:
        InputDataError: empty, unreadable or broken.
    """
    try:
        return images.decode(path.read_bytes(), flags)
    except OSError as error:
        raise InputDataError(Problem(path, f"cannot be read: {error.strerror}")) from error
    except ValueError as error:
        raise InputDataError(Problem(path, str(error), expected="a whole JPEG or PNG; copy it again")) from error
