"""Families A (frames) and B (masks)."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.bad_inputs.case import SIZE, Case, Content, jpeg, mask, picture, png

BOX = "0 0.5 0.5 0.2 0.2\n"
CHECK = ("data", "check", "{src}/PipeBoxSegmentation", "--group-by", "name")
IMPORT = ("data", "import", "{src}/PipeBoxSegmentation", "--from", "yolo", "--to", "{out}")
CHECK_MASKS = ("data", "check", "{src}/PipeSegmentation", "--group-by", "name")
IMPORT_MASKS = ("data", "import", "{src}/PipeSegmentation", "--from", "masks", "--to", "{out}")


def cases() -> Iterator[Case]:
    for name, data, says in frames():
        for verb, argv in (("check", CHECK), ("import", IMPORT)):
            yield Case(f"A {name} {verb}", boxes({"a.jpg": data}), argv, 3 if says else 0, says)
    yield from named_frames()
    for name, content, code, says in masks():
        for verb, argv in (("check", CHECK_MASKS), ("import", IMPORT_MASKS)):
            yield Case(f"B {name} {verb}", contours({"a_mask.png": content}), argv, code, says)
    yield from mask_sets()


def boxes(images: dict[str, Content]) -> dict[str, Content]:
    """Give a PBS folder with the good frame ``b`` and what is given."""
    root = "PipeBoxSegmentation"
    files: dict[str, Content] = {f"{root}/images/train/b.jpg": jpeg(1), f"{root}/labels/train/b.txt": BOX}
    for name, data in images.items():
        files[f"{root}/images/train/{name}"] = data
        files[f"{root}/labels/train/{name.rsplit('.', 1)[0]}.txt"] = BOX
    return files


def contours(masks: dict[str, Content]) -> dict[str, Content]:
    """Give a PS folder with frames ``a`` and ``b``, the mask of ``b``, and what is given."""
    root = "PipeSegmentation"
    files: dict[str, Content] = {f"{root}/images/train/{name}.jpg": jpeg(ord(name)) for name in "ab"}
    files[f"{root}/masks/train/b_mask.png"] = png(mask())
    return files | {f"{root}/masks/train/{name}": data for name, data in masks.items()}


def frames() -> Iterator[tuple[str, bytes, str]]:
    good, rng = jpeg(2), np.random.default_rng(0)
    yield "0 bytes", b"", "empty file"
    yield "1 byte", b"\xff", "not an image"
    yield "zeros", bytes(4096), "not an image"
    yield "random bytes", rng.bytes(4096), "not an image"
    yield "an HTML page", b"<!DOCTYPE html><html><body>404</body></html>", "HTML page"
    yield "a text file", b"see the other folder\n", "not an image"
    yield "a ZIP file", b"PK\x03\x04" + bytes(200), "not an image"
    yield "JPEG without its end", good[:-2], "damaged"
    for share in (0.7, 0.8, 0.9, 0.95):
        yield f"JPEG cut at {share:.0%}", good[: int(len(good) * share)], "damaged"
    for size in (20, 200, 400):
        yield f"first {size} bytes of a JPEG", good[:size], "broken"
    for seed in range(3):
        yield f"JPEG with damaged bytes {seed}", damaged(good, seed), "damaged"
    plain = png(picture(3))
    for share in (0.3, 0.5, 0.9):
        yield f"PNG cut at {share:.0%}", plain[: int(len(plain) * share)], "broken"
    yield "PNG with a flipped byte", flipped(plain), "broken"
    yield "PNG of 0x0", header(0, 0), "broken"
    yield "PNG of 2^31", header(2**31 - 1, 2**31 - 1), "too large"
    yield "PNG of 20000x20000", header(20000, 20000), "too large"
    yield "PNG of 16384x16384", header(16384, 16384), "too large"
    yield "JPEG of 65000x65000", resized(good, 65000, 65000), "too large"
    yield "JPEG of 0 rows", resized(good, 0, 64), "image"
    yield "progressive JPEG of many scans", scans(good, 3000), "scans"
    yield "animated GIF", saved("GIF", save_all=True, append_images=[Image.new("RGB", (64, 48), "red")]), "animated"
    yield "GIF", saved("GIF"), "GIF image"
    yield "TIFF", saved("TIFF"), "TIFF image"
    yield "16-bit PNG", png(picture(4).astype(np.uint16) * 257), ""
    yield "16-bit grey PNG", png(picture(4)[..., 0].astype(np.uint16) * 257), "8 bits"
    yield "1x1", png(np.zeros((1, 1, 3), np.uint8)), "each side"
    yield "1x500", png(np.zeros((1, 500, 3), np.uint8)), "each side"
    yield "500x1", png(np.zeros((500, 1, 3), np.uint8)), "each side"
    yield "2000x2 is no DoS", png(np.zeros((2, 2000, 3), np.uint8)), ""
    yield "17000x2", png(np.zeros((2, 17000, 3), np.uint8)), "each side"
    yield "CMYK JPEG is converted", saved("JPEG", mode="CMYK"), ""
    yield "PNG called jpg", plain, ""
    yield "transparent PNG", saved("PNG", mode="RGBA"), ""
    yield "1-bit PNG", saved("PNG", mode="1"), ""
    yield "palette PNG", saved("PNG", mode="P"), ""
    yield "PNG with a ZIP behind it", plain + b"PK\x03\x04" + bytes(100), ""
    yield "JPEG with a script behind it", good + b"<?php echo 1; ?>", ""
    yield "2x2", png(picture(5, (2, 2))), ""
    for orientation in range(1, 9):
        yield f"orientation {orientation}", tagged(good, orientation), ""


def damaged(data: bytes, seed: int) -> bytes:
    """Overwrite 60 bytes of the scan."""
    rng, found = np.random.default_rng(seed), bytearray(data)
    start = data.rfind(b"\xff\xda") + 20
    for place in rng.integers(start, len(data) - 4, 60):
        found[place] = int(rng.integers(0, 256))
    return bytes(found)


def flipped(data: bytes) -> bytes:
    place = data.index(b"IDAT") + 40
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


def header(width: int, height: int) -> bytes:
    """Give a PNG that claims a size and holds next to nothing."""
    body = struct.pack(">IIBBBBB", width & 0xFFFFFFFF, height & 0xFFFFFFFF, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", body), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


def resized(data: bytes, height: int, width: int) -> bytes:
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def scans(data: bytes, n: int) -> bytes:
    start = data.rfind(b"\xff\xda")
    return data[:start] + data[start : start + 14] * n + data[start:]


def saved(form: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(6)[..., ::-1]).convert(mode).save(file, form, **options)
    return file.getvalue()


def tagged(data: bytes, orientation: int) -> bytes:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([orientation]) + b"\0\0\0\0\0\0"
    return data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]


def named_frames() -> Iterator[Case]:
    """Names and links."""
    twins = {"two suffixes": "b.png", "case": "B.jpg"}
    for name, other in twins.items():
        yield Case(f"A twins in {name} check", boxes({other: jpeg(7)}), CHECK, 3, "two frames with one name")
        yield Case(f"A twins in {name} import", boxes({other: jpeg(7)}), IMPORT, 3, "b.")
    accents = boxes({"a\u0301.jpg": jpeg(7), "\u00e1.jpg": jpeg(8)})
    yield Case("A twins in accents", accents, CHECK, 3, "two frames with one name")
    yield Case("A newline in a name", boxes({"a\nb.jpg": jpeg(7)}), CHECK, 3, "unprintable")
    yield Case("A escape in a name", boxes({"a\x1b[2J.jpg": jpeg(7)}), CHECK, 3, "unprintable")
    for name in (
        "-rf.jpg",
        "<script>alert(1)</script>.jpg".replace("/", "_"),
        "=cmd().jpg",
        "🐀.jpg",
        "a b.jpg",
        "a" * 240 + ".jpg",
    ):
        yield Case(f"A name {name[:20]!r}", boxes({name: jpeg(7)}), CHECK, 0)
        yield Case(f"A imported name {name[:20]!r}", boxes({name: jpeg(7)}), IMPORT, 0)
    place = "PipeBoxSegmentation/images/train"
    for name, target in {"out": "/etc/passwd", "nowhere": "gone.jpg", "loop": "x.jpg"}.items():
        link = {f"{place}/x.jpg": target}
        files = boxes({}) | {"PipeBoxSegmentation/labels/train/x.txt": BOX}
        yield Case(f"A link {name} check", files, CHECK, 3, "link points outside", link)
        yield Case(f"A link {name} import", files, IMPORT, 3, "link points outside", link)
    inside = boxes({}) | {
        "PipeBoxSegmentation/labels/train/x.txt": BOX,
        "PipeBoxSegmentation/images/train/c.jpg": jpeg(9),
    }
    inside["PipeBoxSegmentation/labels/train/c.txt"] = BOX
    yield Case("A link inside check", inside, CHECK, 0, "", {f"{place}/x.jpg": "c.jpg"})
    yield Case("A no frames", {"PipeBoxSegmentation/images/train/readme.txt": "x"}, CHECK, 3, "no frames here")
    yield Case("A nothing there", {"x.txt": "x"}, ("data", "check", "{src}/gone"), 3, "not there")
    one = boxes({"a.jpg": jpeg(3)})
    one["PipeBoxSegmentation/images/val/c.jpg"] = jpeg(3)
    one["PipeBoxSegmentation/labels/val/c.txt"] = BOX
    yield Case("A the same bytes on both sides", one, CHECK, 3, "one scene in pbs")
    siblings = boxes({"000123_1.jpg": jpeg(3)})
    siblings["PipeBoxSegmentation/images/val/000123.jpg"] = jpeg(4)
    siblings["PipeBoxSegmentation/labels/val/000123.txt"] = BOX
    yield Case("A siblings on both sides", siblings, CHECK, 3, "one scene in pbs")


def masks() -> Iterator[tuple[str, Content, int, str]]:
    yield "other size", png(mask(size=(40, 64))), 3, "64x40"
    yield "turned", png(mask(size=SIZE[::-1])), 3, "48x64"
    yield "three values", png(np.maximum(mask(), np.eye(*SIZE, dtype=np.uint8) * 7)), 3, "values [0, 7"
    yield "value 128", png(mask(128)), 3, "values [0, 128]"
    yield "value 2", png(mask(2)), 3, "values [0, 2]"
    yield "soft edge", png(np.clip(picture(1)[..., 0], 0, 254)), 3, "not a mask"
    yield "16 bits", png(mask().astype(np.uint16) * 5), 3, "not a mask"
    yield "in colour", png(np.dstack([mask(), mask() * 0, mask() * 0])), 3, "in colour"
    yield "palette", saved_mask("P"), 3, "palette"
    yield "0 bytes", b"", 3, "empty file"
    yield "text", b"not a mask", 3, "not an image"
    yield "cut", png(mask())[:60], 3, "broken"
    yield "20000x20000", header(20000, 20000), 3, "too large"
    yield "TIFF called png", saved_mask("F"), 3, "not a mask"
    yield "three equal channels", png(np.dstack([mask()] * 3)), 0, ""
    yield "empty", png(mask(0)), 0, ""
    yield "1 bit", saved_mask("1"), 0, ""


def saved_mask(mode: str) -> bytes:
    file = io.BytesIO()
    pixels = mask().astype(np.float32) / 3 if mode == "F" else mask()
    if mode == "F":
        pixels[0, 0] = np.nan
    image = Image.fromarray(pixels)
    image = image if mode == "F" else image.convert(mode)
    image.save(file, "TIFF" if mode == "F" else "PNG")
    return file.getvalue()


def array(pixels: object, pickled: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(pixels, dtype=object) if pickled else np.asarray(pixels), allow_pickle=pickled)
    return file.getvalue()


def mask_sets() -> Iterator[Case]:
    """What only shows when the whole set is seen."""
    for verb, argv in (("check", CHECK_MASKS), ("import", IMPORT_MASKS)):
        yield Case(f"B 0/1 and 0/255 {verb}", contours({"a_mask.png": png(mask(1))}), argv, 3, "two kinds")
        yield Case(f"B no mask {verb}", contours({}), argv, 3, "frame without a label")
        orphan = contours({"a_mask.png": png(mask()), "z_mask.png": png(mask())})
        yield Case(f"B mask without a frame {verb}", orphan, argv, 3, "z_mask.png: mask without a frame")
        two = contours({"a_mask.png": png(mask()), "a.png": png(mask())})
        yield Case(f"B two masks {verb}", two, argv, 3, "two masks for one frame")
    arrays = {
        "pickled": (array([{1: 2}], True), 6, "Python objects"),
        "of text": (b"\x93NUMPY junk", 3, "cannot be read"),
    }
    arrays |= {"of 3 dimensions": (array(np.zeros((2, 3, 4))), 3, "not a mask"), "fine": (array(mask()), 0, "")}
    for name, (data, code, says) in arrays.items():
        yield Case(f"B array {name}", contours({"a.npy": data}), IMPORT_MASKS, code, says)
    soft = contours({"a_mask.png": b""}) | {"PipeSegmentation/masks/train/a_mask.png": png(picture(1)[..., 0])}
    yield Case("B soft mask with a threshold", soft, (*IMPORT_MASKS, "--mask-threshold", "128"), 0)
    jpegs = {k: v for k, v in contours({}).items()} | {"PipeSegmentation/masks/train/a_mask.jpg": jpeg(3)}
    yield Case("B JPEG mask", jpegs, IMPORT_MASKS, 3, "a_mask.jpg")
