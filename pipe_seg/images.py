"""Encoded images to pixels and back. Orientation tags are ignored: masks are drawn on the stored pixels."""

import io
import warnings
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

COLOUR = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
AS_STORED = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
GREY_HALF = cv2.IMREAD_REDUCED_GRAYSCALE_2 | cv2.IMREAD_IGNORE_ORIENTATION

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
FORMATS = ("JPEG", "PNG", "BMP")
SUFFIX_OF = {"JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp"}
MASK_FORMATS = ("PNG", "BMP", "TIFF", "JPEG")
MAX_BYTES = 100_000_000
MAX_PIXELS = 40_000_000
MAX_SIDE_PX = 16_384
MIN_SIDE_PX = 2
MAX_SCANS = 200
EIGHT_BIT = ("1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr", "RGBX")
ORIENTATION_TAG = 0x0112


class TooLargeError(ValueError):
    """An image of more bytes or pixels than is safe."""


@dataclass(frozen=True)
class Header:
    """What an image file says of itself before it is decoded; ``mode`` is Pillow's (``RGB``, ``L``, ``P`` …)."""

    format: str
    height: int
    width: int
    mode: str
    orientation: int

    def oddities(self, suffix: str) -> list[str]:
        """Give what a person should know of a frame that can be used all the same."""
        told = []
        if self.orientation != 1:
            told.append(f"orientation tag {self.orientation}: ignored, masks lie on the stored pixels")
        if self.mode == "CMYK":
            told.append("CMYK: converted to RGB")
        if self.mode in ("RGBA", "LA", "PA"):
            told.append("transparency: ignored")
        if SUFFIX_OF[self.format] != suffix.lower().replace("jpeg", "jpg"):
            told.append(f"{self.format} inside a {suffix} file")
        return told


def grey_frame() -> np.ndarray:
    """Give a plain frame of the usual size, (576, 720, 3) uint8, for asking a model whether it answers."""
    return np.full((576, 720, 3), 128, np.uint8)


def header(data: bytes, formats: tuple[str, ...] = FORMATS) -> Header:
    """Read the header and check it against the limits; nothing is decoded.

    Raises:
        ValueError: empty, not an image, animated, of another format, or too large to be decoded safely.
    """
    if not data:
        raise ValueError("empty file")
    if len(data) > MAX_BYTES:
        raise TooLargeError(f"file of {len(data)} bytes, more than {MAX_BYTES}")
    found = _header(data)
    if found.format not in formats:
        raise ValueError(f"{found.format} image")
    least = MIN_SIDE_PX if formats is FORMATS else 1
    if min(found.height, found.width) < least or max(found.height, found.width) > MAX_SIDE_PX:
        kind = ValueError if min(found.height, found.width) < least else TooLargeError
        raise kind(f"{found.width}x{found.height}: each side must be {least} to {MAX_SIDE_PX} px")
    if found.height * found.width > MAX_PIXELS:
        raise TooLargeError(f"{found.width}x{found.height}: more than {MAX_PIXELS // 1_000_000} Mpx")
    if formats is FORMATS and found.mode not in EIGHT_BIT:
        raise ValueError(f"image of mode {found.mode}, not of 8 bits a channel")
    if found.format == "JPEG" and data.count(b"\xff\xda") > MAX_SCANS:
        raise ValueError(f"progressive JPEG of more than {MAX_SCANS} scans")
    return found


def _header(data: bytes) -> Header:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                form = "JPEG" if image.format == "MPO" else str(image.format)
                if getattr(image, "n_frames", 1) > 1 and form != "JPEG":
                    raise ValueError("animated image")
                return Header(form, image.height, image.width, image.mode, _orientation(image))
    except Image.DecompressionBombError as error:
        raise TooLargeError("too large to be decoded safely") from error
    except UnidentifiedImageError as error:
        raise ValueError(_likeness(data)) from error
    except ValueError:
        raise
    except Exception as error:  # Pillow's plug-ins raise whatever a broken header made them meet
        raise ValueError(f"not an image, or broken: {error}") from error


def _orientation(image: Image.Image) -> int:
    """Give the orientation tag, 1 where there is none; of a PNG without decoding it, which its ``getexif`` would do."""
    told = Image.Exif()
    if image.format == "PNG":
        told.load(image.info.get("exif", b""))
    else:
        told = image.getexif()
    return int(told.get(ORIENTATION_TAG, 1))


def _likeness(data: bytes) -> str:
    start = data[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "not an image but an HTML page"
    return "not an image, or broken"


def decode(data: bytes, flags: int = COLOUR, formats: tuple[str, ...] = FORMATS) -> np.ndarray:
    """Give (height, width, 3) uint8 BGR, or what the file holds under ``AS_STORED``.

    Raises:
        ValueError: empty, not an image, broken, or over the limits of ``header``.
    """
    header(data, formats)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ValueError("not an image, or broken")
    return np.asarray(pixels)


def check(data: bytes) -> Header:
    """Give the header of an image that is whole to the last byte of its picture.

    Decoders mend small damage in silence, each in its own way; this one does not.

    Raises:
        ValueError: what ``decode`` raises, and any damage.
    """
    found = header(data)
    if found.format != "JPEG" or found.mode == "CMYK":
        decode(data)
        return found
    try:
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, strict=True)
    except ValueError as error:
        raise ValueError(f"JPEG is damaged: {str(error).lower()}") from error
    return found


def encode(pixels: np.ndarray, suffix: str, quality: int = 90) -> bytes:
    """Give ``pixels`` (BGR or one channel, uint8) as ``.jpg`` or ``.png``; ``quality`` is JPEG's."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    return cv2.imencode(suffix, pixels, options)[1].tobytes()


def narrow(pixels: np.ndarray, width: int) -> np.ndarray:
    """Give the image scaled to ``width`` px, proportions kept."""
    height = max(1, round(pixels.shape[0] * width / pixels.shape[1]))
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))


def outline(pixels: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Draw the contours of ``mask`` {0, 1} into ``pixels`` (BGR) in ``colour`` (BGR)."""
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(pixels, contours, -1, colour, max(1, pixels.shape[1] // 300))
