"""Encoding and decoding of images. Orientation tags are ignored: masks belong to the stored pixels."""

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
    """An image with more bytes or pixels than is safe to decode."""


@dataclass(frozen=True)
class Header:
    """The header of an image file; ``mode`` is Pillow's (``RGB``, ``L``, ``P`` …)."""

    format: str
    height: int
    width: int
    mode: str
    orientation: int

    def oddities(self, suffix: str) -> list[str]:
        """Returns notes on a frame that is unusual but usable."""
        notes = []
        if self.orientation != 1:
            notes.append(f"orientation tag {self.orientation}: ignored; masks belong to the stored pixels")
        if self.mode == "CMYK":
            notes.append("CMYK: converted to RGB")
        if self.mode in ("RGBA", "LA", "PA"):
            notes.append("transparency: ignored")
        if SUFFIX_OF[self.format] != suffix.lower().replace("jpeg", "jpg"):
            notes.append(f"{self.format} inside a {suffix} file")
        return notes


def grey_frame() -> np.ndarray:
    """Returns a plain frame of common size, `(576, 720, 3)` uint8, to test whether a model responds."""
    return np.full((576, 720, 3), 128, np.uint8)


def header(data: bytes, formats: tuple[str, ...] = FORMATS) -> Header:
    """Returns the header after checking it against the limits; nothing is decoded.

    Raises:
        ValueError: the file is empty, no image, animated, of another format, or too large to decode safely.
    """
    if not data:
        raise ValueError("empty file")
    if len(data) > MAX_BYTES:
        raise TooLargeError(f"file of {len(data)} bytes, limit {MAX_BYTES}")
    parsed = _header(data)
    if parsed.format not in formats:
        raise ValueError(f"{parsed.format} image")
    least = MIN_SIDE_PX if formats is FORMATS else 1
    if min(parsed.height, parsed.width) < least or max(parsed.height, parsed.width) > MAX_SIDE_PX:
        kind = ValueError if min(parsed.height, parsed.width) < least else TooLargeError
        raise kind(f"{parsed.width}x{parsed.height}: each side must be {least} to {MAX_SIDE_PX} px")
    if parsed.height * parsed.width > MAX_PIXELS:
        raise TooLargeError(f"{parsed.width}x{parsed.height}: more than {MAX_PIXELS // 1_000_000} Mpx")
    if formats is FORMATS and parsed.mode not in EIGHT_BIT:
        raise ValueError(f"image of mode {parsed.mode}, not 8 bits per channel")
    if parsed.format == "JPEG" and data.count(b"\xff\xda") > MAX_SCANS:
        raise ValueError(f"progressive JPEG with more than {MAX_SCANS} scans")
    return parsed


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
        raise TooLargeError("too large to decode safely") from error
    except UnidentifiedImageError as error:
        raise ValueError(_not_an_image(data)) from error
    except ValueError:
        raise
    except Exception as error:  # Pillow's plug-ins raise any error on a broken header
        raise ValueError(f"not an image, or broken: {error}") from error


def _orientation(image: Image.Image) -> int:
    """Returns the orientation tag, 1 if absent; ``getexif`` of a PNG would decode the whole image."""
    exif = Image.Exif()
    if image.format == "PNG":
        exif.load(image.info.get("exif", b""))
    else:
        exif = image.getexif()
    return int(exif.get(ORIENTATION_TAG, 1))


def _not_an_image(data: bytes) -> str:
    start = data[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "not an image but an HTML page"
    return "not an image, or broken"


def decode(data: bytes, flags: int = COLOUR, formats: tuple[str, ...] = FORMATS) -> np.ndarray:
    """Returns `(height, width, 3)` uint8 BGR, or the stored channels with ``AS_STORED``.

    Raises:
        ValueError: the file is empty, no image, broken, or over the limits of ``header``.
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
    """Returns the header of an image that is intact to the last byte of its picture.

    Decoders silently repair small damage, each in its own way; this check does not.

    Raises:
        ValueError: as for ``decode``, and for any damage.
    """
    parsed = header(data)
    if parsed.format != "JPEG" or parsed.mode == "CMYK":
        decode(data)
        return parsed
    try:
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, strict=True)
    except ValueError as error:
        raise ValueError(f"JPEG is damaged: {str(error).lower()}") from error
    return parsed


def encode(pixels: np.ndarray, suffix: str, quality: int = 90) -> bytes:
    """Returns ``pixels`` (BGR or one channel, uint8) as ``.jpg`` or ``.png``; ``quality`` is JPEG's."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    return cv2.imencode(suffix, pixels, options)[1].tobytes()


def narrow(pixels: np.ndarray, width: int) -> np.ndarray:
    """Returns the image scaled to ``width`` px, proportions kept."""
    height = max(1, round(pixels.shape[0] * width / pixels.shape[1]))
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))


def outline(pixels: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Draws the contours of ``mask`` {0, 1} into ``pixels`` (BGR) in ``colour`` (BGR)."""
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(pixels, contours, -1, colour, max(1, pixels.shape[1] // 300))
