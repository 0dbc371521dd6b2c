"""Families E (COCO) and F (LabelMe, CVAT, VIA, Label Studio, ZIP files)."""

import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

from tests.bad_inputs.case import Case, Content, dumped, jpeg

TRIANGLE = [5.0, 5.0, 40.0, 5.0, 20.0, 30.0]
PAIRS = [[5.0, 5.0], [40.0, 5.0], [20.0, 30.0]]
PIXELS = 48 * 64


def importing(form: str, source: str = "{src}") -> tuple[str, ...]:
    return ("data", "import", source, "--from", form, "--to", "{out}")


def cases() -> Iterator[Case]:
    for name, (text, code, says) in (coco() | coco_objects()).items():
        yield Case(f"E {name}", {"images/a.jpg": jpeg(1), "instances.json": text}, importing("coco"), code, says)
    for name, (text, code, says) in labelme().items():
        yield Case(f"F LabelMe {name}", {"a.jpg": jpeg(1), "a.json": text}, importing("labelme"), code, says)
    for name, (text, code, says) in cvat().items():
        yield Case(f"F CVAT {name}", {"images/a.jpg": jpeg(1), "annotations.xml": text}, importing("cvat"), code, says)
    for name, (text, code, says) in cvat_video().items():
        frames: dict[str, Content] = {f"images/frame_{i:06d}.jpg": jpeg(i) for i in range(3)}
        yield Case(f"F CVAT video {name}", frames | {"annotations.xml": text}, importing("cvat"), code, says)
    for name, (text, code, says) in via().items():
        yield Case(f"F VIA {name}", {"a.jpg": jpeg(1), "via.csv": text}, importing("via"), code, says)
    for name, (text, code, says) in studio().items():
        yield Case(f"F Label Studio {name}", {"a.jpg": jpeg(1), "x.json": text}, importing("labelstudio"), code, says)
    for name, (data, code, says) in archives().items():
        yield Case(f"F ZIP {name}", {"x.zip": data}, importing("coco", "{src}/x.zip"), code, says)
    yield Case("F not there", {"a.jpg": jpeg(1)}, importing("coco", "{src}/gone"), 3, "does not exist")
    yield Case("F nothing inside", {"a.txt": ""}, importing("roboflow"), 3, "not a Roboflow export")


Table = dict[str, tuple[str | bytes, int, str]]


def file(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [TRIANGLE]}],
        "categories": [{"id": 1, "name": "rupture"}],
    }
    return whole | changes


def named(name: Any) -> str:
    return dumped(file(images=[{"id": 1, "file_name": name, "width": 64, "height": 48}]))


def coco() -> Table:
    good, outside = dumped(file()), "name points outside"
    image, category = file()["images"][0], file()["categories"][0]
    found: Table = {
        "fine": (good, 0, ""),
        "truncated": (good[: len(good) // 2], 3, "instances.json:1:"),
        "trailing comma": (good[:-1] + ",}", 3, "instances.json:1:"),
        "empty": ("", 3, "not JSON"),
        "BOM": ("\ufeff" + good, 3, "instances.json"),
        "UTF-16": (good.encode("utf-16"), 3, "not UTF-8"),
        "NaN": (good.replace("40.0", "NaN"), 3, "NaN is not a number"),
        "Infinity": (good.replace("40.0", "-Infinity"), 3, "not a number"),
        "1e999": (good.replace("40.0", "1e999"), 3, "out of range"),
        "number of 5000 digits": (good.replace("40.0", "9" * 5000), 3, "instances.json"),
        "a list": ("[]", 3, "instances.json"),
        "a number": ("5", 3, "instances.json"),
        "deep": ("[" * 100_000, 3, "instances.json"),
        "deep and closed": ('{"images": ' + "[" * 500 + "]" * 500 + "}", 3, "nested deeper"),
        "key twice": ('{"images": [], "images": []}', 3, "duplicate key"),
        "image id twice": (dumped(file(images=[image, image])), 3, "/images/1/id: duplicate id"),
        "category id twice": (dumped(file(categories=[category, category])), 3, "/categories/1/id: duplicate id"),
        "unknown class": (dumped(file(categories=[{"id": 1, "name": "crack"}])), 3, "unknown class"),
        "class is markup": (dumped(file(categories=[{"id": 1, "name": "<b>x</b>"}])), 3, "unknown class"),
        "size of another": (dumped(file(images=[image | {"width": 65}])), 3, "size differs from the image file"),
        "no such frame": (named("z.jpg"), 3, "/images/0/file_name: no such frame"),
        "name upwards": (named("../../etc/passwd"), 6, outside),
        "name absolute": (named("/etc/passwd"), 6, outside),
        "name empty": (named(""), 3, "not a file name"),
        "name a number": (named(7), 3, "not a file name"),
        "name a list": (named(["a.jpg"]), 3, "not a file name"),
        "lone surrogate": (named("\ud800.jpg"), 3, "not a file name"),
    }
    for key in ("images", "annotations", "categories"):
        found[f"no {key}"] = (dumped({k: v for k, v in file().items() if k != key}), 3, f"#/{key}: ")
        found[f"{key} no list"] = (dumped(file(**{key: {}})), 3, f"#/{key}: ")
    return found


def coco_objects() -> Table:
    runs = {"size": [48, 64]}
    bad: dict[str, tuple[dict[str, Any], str]] = {
        "unknown image": ({"image_id": 9}, "unknown image_id"),
        "unknown category": ({"category_id": 9}, "unknown category_id"),
        "5 numbers": ({"segmentation": [TRIANGLE[:5]]}, "not a contour"),
        "2 points": ({"segmentation": [TRIANGLE[:4]]}, "not a contour"),
        "no points": ({"segmentation": [[]]}, "not a contour"),
        "no polygon": ({"segmentation": []}, "not a contour"),
        "nested too deep": ({"segmentation": [[TRIANGLE]]}, "/annotations/0/segmentation"),
        "text for numbers": ({"segmentation": [["a"] * 6]}, "/annotations/0/segmentation"),
        "far away": ({"segmentation": [[1e9, *TRIANGLE[1:]]]}, "far outside"),
        "20,000 points": ({"segmentation": [[1.0, 2.0] * 20_000]}, "/annotations/0/segmentation"),
        "crowd as polygon": ({"iscrowd": 1}, "crowd object is a polygon"),
        "no shape": ({"segmentation": None}, "object without a shape"),
        "runs too few": ({"segmentation": runs | {"counts": [5, 5]}}, "run lengths do not fit"),
        "runs too many": ({"segmentation": runs | {"counts": [PIXELS, 5]}}, "run lengths do not fit"),
        "runs negative": ({"segmentation": runs | {"counts": [-5, PIXELS + 5]}}, "run lengths do not fit"),
        "runs huge": ({"segmentation": runs | {"counts": [10**12]}}, "run lengths do not fit"),
        "runs of another size": ({"segmentation": {"size": [64, 48], "counts": [PIXELS]}}, "mask of another size"),
        "runs of a huge size": ({"segmentation": {"size": [10**6, 10**6], "counts": [10**12]}}, "mask of another size"),
        "packed garbage": ({"segmentation": runs | {"counts": "~~~~garbage"}}, "compressed run lengths"),
        "packed cut": ({"segmentation": runs | {"counts": "oooo"}}, "compressed run lengths"),
        "packed empty": ({"segmentation": runs | {"counts": ""}}, "run lengths do not fit"),
        "box of 3": ({"segmentation": None, "bbox": [1, 2, 3]}, "not a box"),
        "box without area": ({"segmentation": None, "bbox": [1, 2, 0, 3]}, "box without area"),
        "box turned": ({"segmentation": None, "bbox": [9, 9, -3, 3]}, "box without area"),
        "box outside": ({"segmentation": None, "bbox": [60, 2, 30, 3]}, "box outside"),
        "box of text": ({"segmentation": None, "bbox": ["a", 2, 3, 4]}, "/annotations/0/bbox"),
    }
    base = file()["annotations"][0]
    return {name: (dumped(file(annotations=[base | change])), 3, says) for name, (change, says) in bad.items()}


def shape(**changes: Any) -> dict[str, Any]:
    return {"label": "rupture", "points": PAIRS, "shape_type": "polygon"} | changes


def labelme() -> Table:
    def whole(**changes: Any) -> str:
        return dumped({"shapes": [shape()], "imagePath": "a.jpg", "imageHeight": 48, "imageWidth": 64} | changes)

    found: Table = {
        "fine": (whole(), 0, ""),
        "picture inside is not looked at": (whole(imageData="A" * 10_000_000), 0, ""),
        "path upwards": (whole(imagePath="../a.jpg"), 6, "name points outside"),
        "path absolute": (whole(imagePath="/etc/passwd"), 6, "name points outside"),
        "path with backslash": (whole(imagePath="..\\a.jpg"), 6, "name points outside"),
        "path of another": (whole(imagePath="b.jpg"), 3, "no such frame"),
        "no path": (dumped({"shapes": []}), 3, "#/imagePath"),
        "height wrong": (whole(imageHeight=50), 3, "size differs from the image file"),
        "no shapes": (dumped({"imagePath": "a.jpg"}), 3, "#/shapes"),
        "a list": ("[1]", 3, "a.json"),
        "truncated": (whole()[:-9], 3, "a.json:1:"),
    }
    bad = {
        "point NaN": (whole().replace("40.0", "NaN"), "not a number"),
        "point text": (whole(shapes=[shape(points=[["a", 1], *PAIRS])]), "#/shapes/0/points"),
        "point of 3": (whole(shapes=[shape(points=[[1, 2, 3], *PAIRS])]), "#/shapes/0/points"),
        "2 points": (whole(shapes=[shape(points=PAIRS[:2])]), "not a contour"),
        "a line": (whole(shapes=[shape(shape_type="linestrip")]), "shape without an area"),
        "circle of 3": (whole(shapes=[shape(shape_type="circle")]), "not a circle"),
        "rectangle of 3": (whole(shapes=[shape(shape_type="rectangle")]), "not a rectangle"),
        "mask is no picture": (whole(shapes=[shape(shape_type="mask", points=PAIRS[:2], mask="AAAA")]), "mask cannot"),
        "mask is no base64": (whole(shapes=[shape(shape_type="mask", points=PAIRS[:2], mask="§")]), "mask cannot"),
        "unknown class": (whole(shapes=[shape(label="crack")]), "unknown class"),
        "class a number": (whole(shapes=[shape(label=3)]), "#/shapes/0/label"),
        "far away": (whole(shapes=[shape(points=[[1e9, 1], *PAIRS])]), "far outside"),
    }
    return found | {name: (text, 3, says) for name, (text, says) in bad.items()}


def cvat() -> Table:
    def whole(inner: str, image: str = 'id="0" name="a.jpg" width="64" height="48"') -> str:
        return f"<annotations><version>1.1</version>\n<image {image}>\n{inner}\n</image>\n</annotations>"

    def polygon(points: str, label: str = "rupture") -> str:
        return f'<polygon label="{label}" points="{points}"/>'

    good, mask = polygon("5,5;40,5;20,30"), '<mask label="rupture" left="1" top="2" width="{}" height="3" rle="{}"/>'
    twice = whole(good).replace("</annotations>", whole(good).split("\n", 1)[1])
    found: Table = {
        "fine": (whole(good), 0, ""),
        "DTD": (f"<!DOCTYPE x [<!ENTITY a 'b'>]>{whole(good)}", 6, "document type"),
        "name upwards": (whole(good, 'id="0" name="../a.jpg" width="64" height="48"'), 6, "name points outside"),
        "id twice": (twice, 3, "duplicate image id"),
        "size of another": (whole(good, 'id="0" name="a.jpg" width="640" height="48"'), 3, "size differs"),
        "no size": (whole(good, 'id="0" name="a.jpg"'), 3, "size differs"),
        "no name": (whole(good, 'id="0" width="64" height="48"'), 3, "not a file name"),
        "another document": ("<osm/>", 3, "not CVAT"),
        "truncated": (whole(good)[:-20], 3, "not XML"),
    }
    bad = {
        "pair cut": (polygon("1,2;3"), "not a contour"),
        "empty pair": (polygon("1,2;;3,4"), "not a contour"),
        "no points": (polygon(""), "not a contour"),
        "2 points": (polygon("1,2;3,4"), "not a contour"),
        "nan": (polygon("nan,2;3,4;5,6"), "not a contour"),
        "1,000,000 points": (polygon(";".join(["1,2"] * 1_000_000)), "too many points"),
        "far away": (polygon("1e9,2;3,4;5,6"), "contour far outside"),
        "unknown class": (polygon("5,5;40,5;20,30", "crack"), "unknown class"),
        "box turned": ('<box label="rupture" xtl="9" ytl="9" xbr="3" ybr="3"/>', "box without area"),
        "box cut": ('<box label="rupture" xtl="9" ytl="9" xbr="30"/>', "not a box"),
        "rotation no number": ('<box label="rupture" xtl="9" ytl="9" xbr="30" ybr="30" rotation="x"/>', "not a box"),
        "ellipse without radius": ('<ellipse label="rupture" cx="9" cy="9" rx="0" ry="3"/>', "not an ellipse"),
        "polyline": ('<polyline label="rupture" points="1,2;3,4"/>', "shape without an area"),
        "mask runs": (mask.format(4, "5, 5"), "run lengths do not fit"),
        "mask negative": (mask.format(4, "-5, 17"), "run lengths do not fit"),
        "mask outside": (mask.format(70, "210"), "mask outside"),
        "mask text": (mask.format(4, "a, b"), "run lengths do not fit"),
    }
    return found | {name: (whole(text), 3, f"annotations.xml:3: {says}") for name, (text, says) in bad.items()}


def cvat_video() -> Table:
    def track(*frames: str, outside: str = "0") -> str:
        boxes = "\n".join(
            f'<box frame="{frame}" outside="{outside}" xtl="5" ytl="5" xbr="20" ybr="20"/>' for frame in frames
        )
        return f'<annotations><track id="0" label="rupture">\n{boxes}\n</track></annotations>'

    return {
        "fine": (track("0", "1", "2"), 0, ""),
        "key frames only": (track("0", "2"), 3, "annotations.xml:3: gap in a track"),
        "outside": (track("0", outside="1"), 0, ""),
        "out of order": (track("1", "0"), 3, "annotations.xml:3: frame numbers out of order"),
        "twice": (track("1", "1"), 3, "annotations.xml:3: frame numbers out of order"),
        "no such frame": (track("7"), 3, "annotations.xml:2: no such frame"),
        "no number": (track("x"), 3, "out of order"),
        "negative": (track("-1"), 3, "out of order"),
    }


def via() -> Table:
    header = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
    square = '"{""name"": ""polygon"", ""all_points_x"": [1, 5, 5], ""all_points_y"": [2, 2, 6]}"'

    def row(shape: str = square, attributes: str = '"{""class"": ""rupture""}"', name: str = "a.jpg") -> str:
        return f"{header}{name},1,{{}},1,0,{shape},{attributes}\n"

    return {
        "fine": (row(), 0, ""),
        "no region": (row('"{}"', '"{}"'), 0, ""),
        "of version 1": ("#" + row(), 0, ""),
        "name upwards": (row(name="../a.jpg"), 6, "name points outside"),
        "no such frame": (row(name="z.jpg"), 3, "via.csv:2: no such frame"),
        "header": ("a,b\n1,2\n", 3, "via.csv:1: column missing"),
        "row cut": (header + "a.jpg\n", 3, "via.csv:2: incomplete row"),
        "no JSON": (row("x"), 3, "via.csv:2: not JSON"),
        "NaN": (row(square.replace("[1,", "[NaN,")), 3, "via.csv:2: not strict JSON"),
        "2 points": (row(square.replace(", 5, 5]", ", 5]").replace("2, 2, 6", "2, 6")), 3, "via.csv:2: not a contour"),
        "uneven": (row(square.replace(", 5, 5]", ", 5]")), 3, "via.csv:2: not a polygon region"),
        "a point": (row('"{""name"": ""point"", ""cx"": 1, ""cy"": 2}"'), 3, "via.csv:2: region without an area"),
        "circle without radius": (row('"{""name"": ""circle"", ""cx"": 1, ""cy"": 2}"'), 3, "via.csv:2: not a polygon"),
        "an open line": (row(square.replace("polygon", "polyline")), 3, "via.csv:2: region without an area"),
        "unknown class": (row(attributes='"{""class"": ""crack""}"'), 3, "via.csv:2: unknown class"),
        "no class": (row(attributes='"{}"'), 3, "via.csv:2: unknown class"),
        "huge number": (row(square.replace("[1,", "[1e400,")), 3, "via.csv:2: not strict JSON"),
        "shape a list": (row('"[1]"'), 3, "via.csv:2: not a region"),
    }


def studio() -> Table:
    value = {"points": [[10, 10], [50, 10], [30, 60]], "polygonlabels": ["rupture"]}

    def task(result: dict[str, Any], **data: Any) -> str:
        found = {"type": "polygonlabels", "value": value, "original_width": 64, "original_height": 48} | result
        return dumped(
            [{"data": {"image": "/data/upload/1/0a1b2c3d-a.jpg"} | data, "annotations": [{"result": [found]}]}]
        )

    def brush(*bytes_: int) -> dict[str, Any]:
        return {"type": "brushlabels", "value": {"rle": list(bytes_), "brushlabels": ["rupture"], "format": "rle"}}

    return {
        "fine": (task({}), 0, ""),
        "no list": (dumped({"x": 1}), 3, "a list of tasks"),
        "no annotations": (dumped([{"data": {"image": "a.jpg"}}]), 3, "#/0/annotations"),
        "nobody finished": (dumped([{"data": {"image": "a.jpg"}, "annotations": []}]), 3, "finished annotation"),
        "name upwards": (task({}, image="../../etc/passwd"), 6, "name points outside"),
        "no such frame": (task({}, image="/data/z.jpg"), 3, "no such frame"),
        "image a number": (task({}, image=5), 3, "task without an image"),
        "size of another": (task({"original_width": 65}), 3, "size differs from the image file"),
        "two classes": (task({"value": value | {"polygonlabels": ["rupture", "obstacle"]}}), 3, "exactly one class"),
        "unknown class": (task({"value": value | {"polygonlabels": ["crack"]}}), 3, "unknown class"),
        "2 points": (task({"value": value | {"points": [[1, 1], [2, 2]]}}), 3, "not a contour"),
        "shape of another kind": (task({"type": "bitmasklabels"}), 3, "unsupported shape type"),
        "text": (task({"value": value | {"points": "x"}}), 3, "#/0/annotations/0/result/0/value/points"),
        "brush cut": (task(brush(*struct.pack(">I", PIXELS * 4), 1)), 3, "truncated"),
        "brush of another": (task(brush(*struct.pack(">I", 12), 1, 1, 1)), 3, "run lengths do not fit"),
        "brush empty": (task(brush()), 3, "truncated"),
        "brush no bytes": (task(brush(300, 1)), 3, "not brush run lengths"),
    }


def archives() -> Table:
    good = {"images/a.jpg": jpeg(1), "instances.json": dumped(file()).encode()}

    def packed(members: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] = lambda info: None) -> bytes:
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                info = zipfile.ZipInfo(name)
                info.compress_type = zipfile.ZIP_DEFLATED
                change(info)
                archive.writestr(info, content)
        return data.getvalue()

    def link(info: zipfile.ZipInfo) -> None:
        if info.filename == "link":
            info.external_attr = 0o120777 << 16

    whole = packed(good)
    return {
        "fine": (whole, 0, ""),
        "upwards": (packed(good | {"../evil.txt": b"x"}), 6, "name points outside"),
        "absolute": (packed(good | {"/tmp/evil.txt": b"x"}), 6, "name points outside"),
        "backslash": (packed(good | {"..\\evil.txt": b"x"}), 6, "name points outside"),
        "link": (packed(good | {"link": b"/etc/passwd"}, link), 6, "link in a ZIP file"),
        "bomb": (packed(good | {"big.bin": bytes(30_000_000)}), 6, "over 100 times"),
        "twice": (twice(good), 6, "duplicate member"),
        "encrypted": (encrypted(whole), 6, "encrypted"),
        "many": (many(), 6, "too many members"),
        "no ZIP": (b"PK nothing", 3, "cannot be unpacked"),
        "cut": (whole[: len(whole) // 2], 3, "cannot be unpacked"),
        "flipped bytes": (whole[:80] + bytes(200) + whole[280:], 3, "cannot be unpacked"),
        "of a Mac": (packed(good | {"__MACOSX/images/._a.jpg": b"x"}), 0, ""),
        "empty": (b"", 3, "cannot be unpacked"),
    }


def twice(members: dict[str, bytes]) -> bytes:
    import warnings

    data = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(data, "w") as archive:
        warnings.simplefilter("ignore")
        for name, content in [*members.items(), *members.items()]:
            archive.writestr(name, content)
    return data.getvalue()


def encrypted(data: bytes) -> bytes:
    found = bytearray(data)
    for sign, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = found.find(sign)
        while place >= 0:
            found[place + offset] |= 1
            place = found.find(sign, place + 4)
    return bytes(found)


def many() -> bytes:
    """Give a directory of 101,000 members that all point at one."""
    entry = b"PK\x01\x02" + bytes(42)
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a", b"")
    start = data.getvalue()[:31]
    body = bytearray()
    for i in range(101_000):
        name = b"%x" % i
        body += entry[:28] + struct.pack("<H", len(name)) + entry[30:] + name
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    zip64 = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 101_000, 101_000, len(body), len(start))
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, len(start) + len(body), 1)
    return start + bytes(body) + zip64 + locator + end
