"""No name in a file leads outside, whichever file it stands in."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipe_seg.annotations import splits
from pipe_seg.annotations.classes import Classes
from pipe_seg.components import importer
from pipe_seg.components.importer import Order
from pipe_seg.errors import InputDataError, RefusedError
from tests.bad_inputs.case import jpeg

UPWARDS = [
    "../x.jpg",
    "../../x.jpg",
    "a/../../x.jpg",
    "..",
    "../",
    "./../x.jpg",
    "....//x.jpg/../../..",
    "a/..",
    "images/../../x.jpg",
    "x.jpg/../../y.jpg",
]
ABSOLUTE = [
    "/etc/passwd",
    "//etc/passwd",
    "/",
    "///x.jpg",
    "/proc/self/environ",
    "/dev/null",
    "~/x.jpg",
    "~root/x.jpg",
    "~",
]
WINDOWS = [
    r"C:\x.jpg",
    r"C:x.jpg",
    r"c:/x.jpg",
    r"\\host\share\x.jpg",
    r"..\x.jpg",
    r"a\..\..\x.jpg",
    r"\x.jpg",
    r"D:",
]
ENCODED = [
    "%2e%2e/x.jpg",
    "%2e%2e%2fx.jpg",
    "..%2fx.jpg",
    "%252e%252e%252fx.jpg",
    "..%5cx.jpg",
    "%2fetc%2fpasswd",
    "%00x.jpg",
]
ADDRESSES = [
    "http://127.0.0.1/x.jpg",
    "file:///etc/passwd",
    "ftp://h/x",
    "s3://b/k",
    "gs://b/k",
    "HTTP://h/x",
    "jar:file:/x!/y",
]
SIGNS = [
    "x\0.jpg",
    "x\n.jpg",
    "\x1b[2J.jpg",
    "x\r.jpg",
    "\x7fx.jpg",
    "a\tb.jpg",
    "\x85x.jpg",
]
LOOKALIKES = [
    "\u2024\u2024/x.jpg",
    "\uff0e\uff0e/x.jpg",
    "..\u2044x.jpg",
    "..\u2215x.jpg",
    "..\uff0fx.jpg",
    "\u2025/x",
]
SPACES = [
    " ../x.jpg",
    "../x.jpg ",
    "x.jpg ",
    " x.jpg",
    "",
    " ",
    ".",
    "\ud800.jpg",
    "a" * 5000,
]
NAMES = [*UPWARDS, *ABSOLUTE, *WINDOWS, *ENCODED, *ADDRESSES, *SIGNS, *LOOKALIKES, *SPACES]


def voc(folder: Path, name: str) -> str:
    text = "".join(f"&#{ord(sign)};" if ord(sign) > 31 and not 0xD800 <= ord(sign) < 0xE000 else sign for sign in name)
    (folder / "a.xml").write_bytes(f"<annotation><filename>{text}</filename></annotation>".encode("utf-8", "replace"))
    return "voc"


def coco(folder: Path, name: str) -> str:
    image = {"id": 1, "file_name": name, "width": 64, "height": 48}
    (folder / "x.json").write_text(json.dumps({"images": [image], "annotations": [], "categories": []}))
    return "coco"


def labelme(folder: Path, name: str) -> str:
    (folder / "a.json").write_text(json.dumps({"imagePath": name, "shapes": []}))
    return "labelme"


def cvat(folder: Path, name: str) -> str:
    from xml.sax.saxutils import quoteattr

    text = f'<annotations><image id="0" name={quoteattr(name)} width="64" height="48"/></annotations>'
    (folder / "a.xml").write_bytes(text.encode("utf-8", "replace"))
    return "cvat"


def via_json(folder: Path, name: str) -> str:
    (folder / "x.json").write_text(json.dumps({"k": {"filename": name, "regions": []}}))
    return "via"


def studio(folder: Path, name: str) -> str:
    (folder / "x.json").write_text(json.dumps([{"data": {"image": name}, "annotations": [{"result": []}]}]))
    return "labelstudio"


WRITERS: list[Callable[[Path, str], str]] = [voc, coco, labelme, cvat, via_json, studio]


def outside(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        total.update(f"{path}\0".encode() + (path.read_bytes() if path.is_file() else b""))
    return total.hexdigest()


def imported(source: Path, form: str, to: Path) -> bool:
    order = Order(form, Classes(), unlabelled="skip")
    try:
        importer.run(order, path=source, frames_dir=None, to=to, report=lambda done, total: None)
    except (InputDataError, RefusedError):
        return False
    return True


def test_there_are_sixty_names() -> None:
    assert len(set(NAMES)) >= 60


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_no_name_in_a_label_file_leads_outside(tmp_path: Path, write: Callable[[Path, str], str]) -> None:
    place = tmp_path / "inner" / "source"
    place.mkdir(parents=True)
    (tmp_path / "x.jpg").write_bytes(jpeg(1))
    (tmp_path / "inner" / "x.jpg").write_bytes(jpeg(2))
    (place / "a.jpg").write_bytes(jpeg(3))
    passed = []
    for number, name in enumerate(NAMES):
        form = write(place, name)
        before = outside(tmp_path)
        if imported(place, form, tmp_path / "inner" / "out" / str(number)):
            passed.append(name)
        else:
            assert outside(tmp_path) == before, name
    # A VOC file without a name is about the frame that is called like the file.
    assert passed == (["", " "] if write is voc else [])


def test_no_name_in_a_zip_file_leads_outside(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}],
        "annotations": [],
        "categories": [],
    }
    escaped = []
    for number, name in enumerate(NAMES):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr("a.jpg", jpeg(1))
            archive.writestr("x.json", json.dumps(content))
            try:
                archive.writestr(name, b"evil")
            except (UnicodeEncodeError, ValueError, IndexError):
                continue
        path = tmp_path / f"{number}.zip"
        path.write_bytes(data.getvalue())
        before = {item.name for item in tmp_path.iterdir()}
        imported(path, "coco", tmp_path / "out" / str(number))
        if {item.name for item in tmp_path.iterdir()} - before - {"out"} or list(tmp_path.parent.glob("x.jpg")):
            escaped.append(name)
    assert escaped == []


def test_no_name_in_a_split_file_leads_outside(tmp_path: Path) -> None:
    for name in NAMES:
        entry = {"sha256": "0" * 64, "group": "g", "split": "train"}
        (tmp_path / splits.NAME).write_text(json.dumps({"version": 1, "made": {}, "frames": {name: entry}}))
        with pytest.raises((InputDataError, RefusedError)):
            splits.read(tmp_path)
