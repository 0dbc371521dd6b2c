"""Families C (YOLO) and D (Pascal VOC)."""

from collections.abc import Iterator

from tests.bad_inputs.case import Case, Content, jpeg
from tests.bad_inputs.image_cases import BOX, CHECK, IMPORT, boxes

VOC = ("data", "import", "{src}", "--from", "voc", "--to", "{out}")
SIZE = "<size><width>64</width><height>48</height><depth>3</depth></size>"


def cases() -> Iterator[Case]:
    for name, text, says in lines():
        files = boxes({"a.jpg": jpeg(2)})
        files["PipeBoxSegmentation/labels/train/a.txt"] = text
        for verb, argv in (("check", CHECK), ("import", IMPORT)):
            yield Case(f"C {name} {verb}", files, argv, 3 if says else 0, says)
    missing = boxes({"a.jpg": jpeg(2)})
    del missing["PipeBoxSegmentation/labels/train/a.txt"]
    yield Case("C no label check", missing, CHECK, 3, "frame without a label")
    yield Case("C no label import", missing, IMPORT, 3, "frame without a label")
    yield Case("C no label as background", missing, (*IMPORT, "--unlabelled", "background"), 0)
    yield Case("C no label skipped", missing, (*IMPORT, "--unlabelled", "skip"), 0)
    orphan = boxes({"a.jpg": jpeg(2)}) | {"PipeBoxSegmentation/labels/train/z.txt": BOX}
    yield Case("C label without a frame check", orphan, CHECK, 3, "z.txt: label without a frame")
    yield Case("C label without a frame import", orphan, IMPORT, 3, "z.txt: label without a frame")
    named = boxes({"a.jpg": jpeg(2)}) | {"PipeBoxSegmentation/classes.txt": "crack\nroot\n"}
    yield Case("C classes of another set", named, IMPORT, 3, "unknown class")
    yield Case("C classes renamed", named, (*IMPORT, "--class-map", "crack=rupture", "--class-map", "root=-"), 0)
    for name, text in {
        "list": "a: [",
        "no names": "nc: 2\n",
        "odd names": 'names: {"²": a}',
        "a date": "names: [2001-99-99]",
        "deep": "[" * 3000,
        "alias bomb": bomb(),
    }.items():
        broken = boxes({"a.jpg": jpeg(2)}) | {"PipeBoxSegmentation/data.yaml": text}
        yield Case(f"C data.yaml {name}", broken, IMPORT, 3, "data.yaml")
    for name, (text, code, says) in documents().items():
        yield Case(f"D {name}", voc(text), VOC, code, says)


def bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    return "\n".join(lines) + "\n"


def lines() -> Iterator[tuple[str, Content, str]]:
    bad = {
        "nan": "0 nan 0.5 0.1 0.1",
        "inf": "0 0.5 inf 0.1 0.1",
        "1e999": "0 0.5 0.5 1e999 0.1",
        "-inf": "0 -inf 0.5 0.1 0.1",
        "negative width": "0 0.5 0.5 -0.1 0.1",
        "x over 1": "0 1.5 0.5 0.1 0.1",
        "x under 0": "0 -0.1 0.5 0.1 0.1",
        "partly outside": "0 0.95 0.5 0.2 0.1",
        "in pixels": "0 320 240 64 48",
        "4 columns": "0 0.5 0.5 0.1",
        "6 columns": "0 0.5 0.5 0.1 0.1 0.9",
        "text behind": "0 0.5 0.5 0.1 0.1 # crack",
        "class 7": "7 0.5 0.5 0.1 0.1",
        "class -1": "-1 0.5 0.5 0.1 0.1",
        "class 1.5": "1.5 0.5 0.5 0.1 0.1",
        "class 1.0": "1.0 0.5 0.5 0.1 0.1",
        "class in other digits": "١ 0.5 0.5 0.1 0.1",
        "class by name": "crack 0.5 0.5 0.1 0.1",
        "underscore": "0 0.5 0.5 1_0 0.1",
        "hexadecimal": "0 0x1p-1 0.5 0.1 0.1",
        "comma": "0 0,5 0,5 0,1 0,1",
        "polygon of odd numbers": "0 0.1 0.1 0.9 0.1 0.9 0.9 0.5",
        "polygon of 2 points": "0 0.1 0.1 0.9 0.1 0.9",
        "polygon at 1e9": "0 0.1 0.1 1e9 0.1 0.9 0.9",
        "polygon at 1e308": "0 0.1 0.1 1e308 0.1 0.9 0.9",
        "polygon of 1,000,000 points": "0 " + "0.1 0.2 " * 1_000_000,
    }
    for name, line in bad.items():
        yield name, f"{BOX}{line}\n", "a.txt:2: "
    yield "1,000,000 lines", BOX * 1_000_000, "too many lines"
    yield "UTF-16", BOX.encode("utf-16"), "not UTF-8"
    yield "zero bytes", b"0 0.5 0.5 0.1\x00 0.1\n", "zero bytes"
    yield "binary", jpeg(1), "not UTF-8"
    fine = {
        "empty": "",
        "blank lines": "\n\n",
        "tabs": "0\t0.5\t0.5\t0.1\t0.1\n",
        "CRLF": "0 0.5 0.5 0.1 0.1\r\n",
        "BOM": "\ufeff0 0.5 0.5 0.1 0.1\n",
        "spaces behind": "0 0.5 0.5 0.1 0.1   \n",
        "no newline": "0 0.5 0.5 0.1 0.1",
        "outside by rounding": "0 0.5 0.5 1.0000005 0.1\n",
        "twice the same": BOX * 2,
        "no area": "0 0.5 0.5 0 0.1\n",
    }
    for name, text in fine.items():
        yield name, text, ""


def voc(text: str | bytes) -> dict[str, Content]:
    return {"images/a.jpg": jpeg(1), "annotations/a.xml": text}


def xml(inner: str = "", name: str = "a.jpg", size: str = SIZE) -> str:
    return f"<annotation>\n<filename>{name}</filename>\n{size}\n{inner}\n</annotation>\n"


def item(corners: str, label: str = "rupture") -> str:
    return f"<object><name>{label}</name><bndbox>{corners}</bndbox></object>"


def corners(x_min: str = "5", y_min: str = "6", x_max: str = "20", y_max: str = "30") -> str:
    return f"<xmin>{x_min}</xmin><ymin>{y_min}</ymin><xmax>{x_max}</xmax><ymax>{y_max}</ymax>"


def documents() -> dict[str, tuple[str | bytes, int, str]]:
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    outside = "name points outside"
    found: dict[str, tuple[str | bytes, int, str]] = {
        "billion laughs": (f'<!DOCTYPE x [<!ENTITY l0 "lol">{laughs}]>{xml("&l9;")}', 6, "document type"),
        "quadratic": (f'<!DOCTYPE x [<!ENTITY a "{"a" * 50_000}">]>{xml("&a;" * 150)}', 6, "document type"),
        "XXE": (f'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>{xml("&a;")}', 6, "document type"),
        "external DTD": (f'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">{xml()}', 6, "document type"),
        "parameter entity": (f'<!DOCTYPE x [<!ENTITY % a "b"> %a;]>{xml()}', 6, "document type"),
        "name upwards": (xml(name="../../x.jpg"), 6, outside),
        "name absolute": (xml(name="/etc/passwd"), 6, outside),
        "name on a drive": (xml(name="C:\\x.jpg"), 6, outside),
        "name as address": (xml(name="http://127.0.0.1/x.jpg"), 6, outside),
        "name of no frame": (xml(name="z.jpg"), 3, "a.xml:2: no such frame"),
        "size of another": (xml(size=SIZE.replace("64", "65")), 3, "size differs"),
        "size no number": (xml(size=SIZE.replace("64", "wide")), 3, "size differs"),
        "unknown class": (xml(item(corners(), "crack")), 3, "unknown class"),
        "class is a formula": (xml(item(corners(), "=cmd()")), 3, "unknown class"),
        "class is markup": (xml(item(corners(), "&lt;b&gt;")), 3, "unknown class"),
        "no class": (xml(item(corners(), "")), 3, "unknown class"),
        "no box": (xml("<object><name>rupture</name></object>"), 3, "not a box"),
        "truncated": (xml(item(corners()))[:-20], 3, "not XML"),
        "empty": ("", 3, "not XML"),
        "two roots": (xml() + xml(), 3, "not XML"),
        "another document": ("<kml></kml>", 3, "not Pascal VOC"),
        "latin-1 declared": ('<?xml version="1.0" encoding="latin-1"?>' + xml(), 3, "unsupported encoding"),
        "UTF-7 declared": ('<?xml version="1.0" encoding="UTF-7"?>' + xml(), 3, "unsupported encoding"),
        "UTF-16": (xml().encode("utf-16"), 3, "not UTF-8"),
        "zero bytes": (xml().encode() + b"\0", 3, "zero bytes"),
        "not UTF-8": (xml(name="\xe9.jpg").encode("latin-1"), 3, "not UTF-8"),
        "fine": (xml(item(corners())), 0, ""),
        "no objects": (xml(), 0, ""),
        "no size": (xml(item(corners()), size=""), 0, ""),
        "size not told": (xml(item(corners()), size=SIZE.replace("64", "0").replace("48", "0")), 0, ""),
        "name without a suffix": (xml(item(corners()), name="a"), 0, ""),
    }
    for value in ("nan", "", "inf", "1_0", "ten", "٥", "1e999", "0x5"):
        found[f"corner {value!r}"] = (xml(item(corners(x_min=value))), 3, "a.xml:4: not a box")
    found["corners swapped"] = (xml(item(corners(x_min="30"))), 3, "a.xml:4: box without area")
    found["no width"] = (xml(item(corners(x_min="20"))), 3, "a.xml:4: box without area")
    found["negative"] = (xml(item(corners(x_min="-9"))), 3, "a.xml:4: box outside")
    found["beyond"] = (xml(item(corners(x_max="90"))), 3, "a.xml:4: box outside")
    return found
