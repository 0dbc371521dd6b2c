"""The same objects, whatever tool drew them, are the same mask, pixel for pixel."""

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as runs

from pipe_seg import images
from pipe_seg.annotations import formats, raster
from pipe_seg.annotations.classes import Classes
from pipe_seg.annotations.source import LabelledFrame, Source
from pipe_seg.schema import CLASS_NAMES, Annotation, Polygon
from tests.bad_inputs.case import jpeg

SIZE = (60, 90)
H, W = SIZE
HOOK = [[10.0, 8.0], [60.0, 8.0], [60.0, 20.0], [25.5, 22.25], [30.0, 50.0], [12.0, 48.0]]
STONE = [[70.0, 30.0], [84.0, 33.0], [80.0, 52.0], [66.0, 47.0]]
SHAPES = ((HOOK, 2), (STONE, 1))
BOXES = (((12.0, 9.0, 40.0, 33.0), 3), ((50.0, 20.0, 88.0, 57.0), 5))

Writer = Callable[[Path], str]


def read(folder: Path, form: str) -> LabelledFrame:
    (folder / "a.jpg").write_bytes(jpeg(1, SIZE))
    source = Source(folder)
    (drawing,) = formats.READERS[form](source, Classes())
    assert source.problems == []
    return drawing


def filled(folder: Path, write: Writer) -> np.ndarray:
    """Give the mask of what ``write`` wrote; it says in which format."""
    form = write(folder)
    return raster.rasterise(read(folder, form).annotation, *SIZE)


def put(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")


def polygon_mask() -> np.ndarray:
    """The truth, counted pixel by pixel with a test of its own: is the centre inside?"""
    return np.maximum(*(inside(points) for points, _ in SHAPES))


def inside(points: list[list[float]]) -> np.ndarray:
    found = np.zeros(SIZE, np.uint8)
    for row in range(H):
        for column in range(W):
            x, y = column + 0.5, row + 0.5
            crossings = 0
            for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1], strict=True):
                if (y1 > y) != (y2 > y) and x1 + (y - y1) / (y2 - y1) * (x2 - x1) <= x:
                    crossings += 1
            found[row, column] = crossings % 2
    return found


def ring_mask() -> np.ndarray:
    y, x = np.mgrid[:H, :W]
    distance = np.hypot(x - 45, y - 30)
    return ((distance < 25) & (distance > 18)).astype(np.uint8)


def coco_file(objects: list[dict[str, object]]) -> dict[str, object]:
    return {
        "images": [{"id": 5, "file_name": "a.jpg", "width": W, "height": H}],
        "annotations": [{"id": i, "image_id": 5, **item} for i, item in enumerate(objects)],
        "categories": [{"id": 10 + i, "name": name.upper()} for i, name in enumerate(CLASS_NAMES)],
    }


def coco_polygons(folder: Path) -> str:
    objects = [{"category_id": 10 + c, "segmentation": [[n for p in points for n in p]]} for points, c in SHAPES]
    put(folder / "x.json", coco_file(objects))
    return "coco"


def coco_runs(mask: np.ndarray, *, packed: bool) -> Writer:
    def write(folder: Path) -> str:
        if packed:
            counts: object = runs.encode(np.asfortranarray(mask))["counts"].decode()
        else:
            flat = mask.T.ravel()
            edges = np.flatnonzero(np.diff(flat)) + 1
            lengths = np.diff([0, *edges.tolist(), flat.size]).tolist()
            counts = [0, *lengths] if flat[0] else lengths
        put(folder / "x.json", coco_file([{"category_id": 12, "segmentation": {"size": [H, W], "counts": counts}}]))
        return "coco"

    return write


def labelme_file(folder: Path, shapes: list[dict[str, object]]) -> str:
    put(folder / "a.json", {"imagePath": "a.jpg", "imageHeight": H, "imageWidth": W, "shapes": shapes})
    return "labelme"


def labelme_polygons(folder: Path) -> str:
    shapes = [{"label": CLASS_NAMES[c], "points": points, "shape_type": "polygon"} for points, c in SHAPES]
    return labelme_file(folder, shapes)


def labelme_mask(mask: np.ndarray) -> Writer:
    def write(folder: Path) -> str:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        inner = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        data = base64.b64encode(images.encode(np.ascontiguousarray(inner) * 255, ".png")).decode()
        corners = [[int(columns[0]), int(rows[0])], [int(columns[-1]), int(rows[-1])]]
        return labelme_file(folder, [{"label": "rupture", "points": corners, "shape_type": "mask", "mask": data}])

    return write


def via_rows(folder: Path, rows: list[tuple[dict[str, object], str]]) -> str:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["filename", "file_size", "region_shape_attributes", "region_attributes"])
    for shape, name in rows:
        table.writerow(["a.jpg", 1, json.dumps(shape), json.dumps({"type": name})])
    put(folder / "via.csv", text.getvalue())
    return "via"


def via_csv(folder: Path) -> str:
    return via_rows(folder, [(via_polygon(points), CLASS_NAMES[c]) for points, c in SHAPES])


def via_polygon(points: list[list[float]]) -> dict[str, object]:
    return {"name": "polygon", "all_points_x": [p[0] for p in points], "all_points_y": [p[1] for p in points]}


def via_json(folder: Path) -> str:
    regions = [
        {"shape_attributes": via_polygon(points), "region_attributes": {"class": CLASS_NAMES[c]}}
        for points, c in SHAPES
    ]
    put(folder / "via.json", {"_via_img_metadata": {"a.jpg1": {"filename": "a.jpg", "size": 1, "regions": regions}}})
    return "via"


def cvat_file(folder: Path, inner: str) -> str:
    put(
        folder / "annotations.xml",
        f'<annotations><image id="0" name="a.jpg" width="{W}" height="{H}">{inner}</image></annotations>',
    )
    return "cvat"


def cvat_polygons(folder: Path) -> str:
    drawn = "".join(
        f'<polygon label="{CLASS_NAMES[c]}" points="{";".join(f"{x},{y}" for x, y in points)}"/>'
        for points, c in SHAPES
    )
    return cvat_file(folder, drawn)


def cvat_mask(mask: np.ndarray) -> Writer:
    def write(folder: Path) -> str:
        inner = mask[3:58, 5:85]
        assert inner.sum() == mask.sum()
        counts = [len(part) for part in np.split(inner.ravel(), np.flatnonzero(np.diff(inner.ravel())) + 1)]
        counts = [0, *counts] if inner.ravel()[0] else counts
        return cvat_file(
            folder,
            f'<mask label="rupture" left="5" top="3" width="80" height="55" rle="{", ".join(map(str, counts))}"/>',
        )

    return write


def studio_file(folder: Path, results: list[dict[str, object]]) -> str:
    results = [{"original_width": W, "original_height": H, **result} for result in results]
    put(folder / "x.json", [{"data": {"image": "/data/upload/3/89abcdef-a.jpg"}, "annotations": [{"result": results}]}])
    return "labelstudio"


def studio_polygons(folder: Path) -> str:
    results: list[dict[str, object]] = [
        {
            "type": "polygonlabels",
            "value": {"points": [[x / W * 100, y / H * 100] for x, y in points], "polygonlabels": [CLASS_NAMES[c]]},
        }
        for points, c in SHAPES
    ]
    return studio_file(folder, results)


def studio_brush(mask: np.ndarray) -> Writer:
    """Bits: 32 of length, 5 of word size - 1, 4 x 4 of length sizes - 1; blocks of flag, size, length - 1, value."""

    def write(folder: Path) -> str:
        flat = np.repeat(mask.ravel()[:, None] * 255, 4, axis=1).ravel()
        bits = f"{flat.size:032b}{7:05b}" + f"{15:04b}" * 4
        for part in np.split(flat, np.flatnonzero(np.diff(flat.astype(int))) + 1):
            if len(part) % 2:
                bits += "0" + "01" + f"{len(part) - 1:016b}" + "".join(f"{value:08b}" for value in part.tolist())
            else:
                bits += "1" + "10" + f"{len(part) - 1:016b}" + f"{part[0]:08b}"
        bits += "0" * (-len(bits) % 8)
        rle = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
        return studio_file(folder, [{"type": "brushlabels", "value": {"rle": rle, "brushlabels": ["rupture"]}}])

    return write


def yolo_polygons(folder: Path) -> str:
    lines = [f"{c} {' '.join(f'{x / W:.8f} {y / H:.8f}' for x, y in points)}" for points, c in SHAPES]
    put(folder / "a.txt", "\n".join(lines))
    return "yolo"


def roboflow_yolo(folder: Path) -> str:
    yolo_polygons(folder)
    put(folder / "data.yaml", f"names: [{', '.join(CLASS_NAMES)}]\n")
    return "roboflow"


def roboflow_coco(folder: Path) -> str:
    coco_polygons(folder)
    return "roboflow"


def mask_png(mask: np.ndarray, high: int) -> Writer:
    def write(folder: Path) -> str:
        (folder / "masks").mkdir()
        (folder / "masks" / "a.png").write_bytes(images.encode(mask * high, ".png"))
        return "masks"

    return write


def mask_array(mask: np.ndarray) -> Writer:
    def write(folder: Path) -> str:
        np.save(folder / "a_mask.npy", mask)
        return "masks"

    return write


POLYGON_WRITERS = [coco_polygons, labelme_polygons, via_csv, via_json, cvat_polygons, studio_polygons]
POLYGON_WRITERS += [yolo_polygons, roboflow_yolo, roboflow_coco]
PIXEL_WRITERS: dict[str, Callable[[np.ndarray], Writer]] = {
    "COCO runs": lambda mask: coco_runs(mask, packed=False),
    "COCO packed runs": lambda mask: coco_runs(mask, packed=True),
    "LabelMe mask": labelme_mask,
    "CVAT mask": cvat_mask,
    "Label Studio brush": studio_brush,
    "0/1 PNG": lambda mask: mask_png(mask, 1),
    "0/255 PNG": lambda mask: mask_png(mask, 255),
    "array": mask_array,
}


@pytest.mark.parametrize("write", POLYGON_WRITERS, ids=lambda write: write.__name__)
def test_polygons_are_the_same_mask_in_every_format(tmp_path: Path, write: Writer) -> None:
    np.testing.assert_array_equal(filled(tmp_path, write), polygon_mask())
    assert read(tmp_path, write(tmp_path)).annotation.labels == (1, 2)


@pytest.mark.parametrize("name", PIXEL_WRITERS)
@pytest.mark.parametrize("truth", [polygon_mask, ring_mask], ids=lambda truth: truth.__name__)
def test_pixels_come_through_every_format_holes_and_all(
    tmp_path: Path, name: str, truth: Callable[[], np.ndarray]
) -> None:
    np.testing.assert_array_equal(filled(tmp_path, PIXEL_WRITERS[name](truth())), truth())


def voc_boxes(folder: Path) -> str:
    drawn = "".join(
        f"<object><name>{CLASS_NAMES[c]}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax>"
        f"<ymax>{y1}</ymax></bndbox></object>"
        for (x0, y0, x1, y1), c in BOXES
    )
    put(folder / "a.xml", f"<annotation><filename>a.jpg</filename>{drawn}</annotation>")
    return "voc"


def yolo_boxes(folder: Path) -> str:
    lines = [
        f"{c} {(x0 + x1) / 2 / W} {(y0 + y1) / 2 / H} {(x1 - x0) / W} {(y1 - y0) / H}" for (x0, y0, x1, y1), c in BOXES
    ]
    put(folder / "a.txt", "\n".join(lines))
    return "yolo"


def coco_boxes(folder: Path) -> str:
    objects: list[dict[str, object]] = [
        {"category_id": 10 + c, "bbox": [x0, y0, x1 - x0, y1 - y0]} for (x0, y0, x1, y1), c in BOXES
    ]
    put(folder / "x.json", coco_file(objects))
    return "coco"


def labelme_boxes(folder: Path) -> str:
    shapes: list[dict[str, object]] = [
        {"label": CLASS_NAMES[c], "points": [[x1, y0], [x0, y1]], "shape_type": "rectangle"}
        for (x0, y0, x1, y1), c in BOXES
    ]
    return labelme_file(folder, shapes)


def via_boxes(folder: Path) -> str:
    rows: list[tuple[dict[str, object], str]] = [
        ({"name": "rect", "x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}, CLASS_NAMES[c])
        for (x0, y0, x1, y1), c in BOXES
    ]
    return via_rows(folder, rows)


def cvat_boxes(folder: Path) -> str:
    drawn = "".join(
        f'<box label="{CLASS_NAMES[c]}" xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}"/>' for (x0, y0, x1, y1), c in BOXES
    )
    return cvat_file(folder, drawn)


def studio_boxes(folder: Path) -> str:
    results: list[dict[str, object]] = [
        {
            "type": "rectanglelabels",
            "value": {
                "x": x0 / W * 100,
                "y": y0 / H * 100,
                "width": (x1 - x0) / W * 100,
                "height": (y1 - y0) / H * 100,
                "rotation": 0,
                "rectanglelabels": [CLASS_NAMES[c]],
            },
        }
        for (x0, y0, x1, y1), c in BOXES
    ]
    return studio_file(folder, results)


BOX_WRITERS = [voc_boxes, yolo_boxes, coco_boxes, labelme_boxes, via_boxes, cvat_boxes, studio_boxes]


@pytest.mark.parametrize("write", BOX_WRITERS, ids=lambda write: write.__name__)
def test_boxes_are_the_same_mask_in_every_format(tmp_path: Path, write: Writer) -> None:
    expected = np.zeros(SIZE, np.uint8)
    expected[9:33, 12:40] = 1
    expected[20:57, 50:88] = 1
    np.testing.assert_array_equal(filled(tmp_path, write), expected)
    drawn = read(tmp_path, write(tmp_path)).annotation
    assert drawn.labels == (3, 5)
    assert not drawn.is_contour


def ellipse(folder: Path, form: str) -> str:
    """Centre (45, 30), radii 30 and 12, turned by 30 degrees clockwise on the screen."""
    if form == "cvat":
        return cvat_file(folder, '<ellipse label="rupture" cx="45" cy="30" rx="30" ry="12" rotation="30"/>')
    if form == "via":
        shape = {"name": "ellipse", "cx": 45, "cy": 30, "rx": 30, "ry": 12, "theta": np.pi / 6}
        return via_rows(folder, [(shape, "rupture")])
    value = {"x": 50, "y": 50, "radiusX": 100 / 3, "radiusY": 20, "rotation": 30, "ellipselabels": ["rupture"]}
    return studio_file(folder, [{"type": "ellipselabels", "value": value}])


@pytest.mark.parametrize("form", ["cvat", "via", "labelstudio"])
def test_a_turned_ellipse_is_the_same_in_every_format(tmp_path: Path, form: str) -> None:
    mask = filled(tmp_path, lambda folder: ellipse(folder, form))
    y, x = np.mgrid[:H, :W] + 0.5
    across, down = x - 45, y - 30
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    exact = ((across * cos + down * sin) / 30) ** 2 + ((down * cos - across * sin) / 12) ** 2
    assert (mask != (exact <= 1)).mean() < 0.002
    assert mask[exact < 0.98].all()
    assert not mask[exact > 1.02].any()


def circle(folder: Path, form: str) -> str:
    if form == "labelme":
        return labelme_file(folder, [{"label": "rupture", "points": [[45, 30], [45, 10]], "shape_type": "circle"}])
    if form == "via":
        return via_rows(folder, [({"name": "circle", "cx": 45, "cy": 30, "r": 20}, "rupture")])
    return cvat_file(folder, '<ellipse label="rupture" cx="45" cy="30" rx="20" ry="20"/>')


def test_a_circle_is_the_same_in_every_format(tmp_path: Path) -> None:
    found = []
    for form in ("labelme", "via", "cvat"):
        (tmp_path / form).mkdir()
        found.append(filled(tmp_path / form, lambda folder, form=form: circle(folder, form)))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert abs(int(found[0].sum()) - np.pi * 400) < 8


def turned_box(folder: Path, form: str) -> str:
    """Corners (30, 20) and (60, 40), turned by 90 degrees: CVAT about the centre, Label Studio about the corner."""
    if form == "cvat":
        return cvat_file(folder, '<box label="rupture" xtl="30" ytl="20" xbr="60" ybr="40" rotation="90"/>')
    value = {"x": 55 / W * 100, "y": 15 / H * 100, "width": 30 / W * 100, "height": 20 / H * 100, "rotation": 90}
    return studio_file(folder, [{"type": "rectanglelabels", "value": {**value, "rectanglelabels": ["rupture"]}}])


@pytest.mark.parametrize("form", ["cvat", "labelstudio"])
def test_a_turned_box_is_turned_and_is_no_contour(tmp_path: Path, form: str) -> None:
    expected = np.zeros(SIZE, np.uint8)
    expected[15:45, 35:55] = 1
    np.testing.assert_array_equal(filled(tmp_path, lambda folder: turned_box(folder, form)), expected)
    assert not read(tmp_path, turned_box(tmp_path, form)).annotation.is_contour


def test_a_track_counts_only_where_it_is_inside(tmp_path: Path) -> None:
    box = '<box frame="{}" outside="{}" xtl="5" ytl="5" xbr="20" ybr="20"/>'
    inner = "".join(box.format(number, outside) for number, outside in ((0, 0), (1, 0), (2, 1)))
    put(tmp_path / "annotations.xml", f'<annotations><track id="0" label="rupture">{inner}</track></annotations>')
    for number in range(4):
        (tmp_path / f"frame_{number:06d}.jpg").write_bytes(jpeg(number, SIZE))
    drawings = list(formats.READERS["cvat"](Source(tmp_path), Classes()))
    assert [len(drawing.annotation.boxes) for drawing in drawings] == [1, 1, 0, 0]


def test_parts_of_one_object_and_holes_survive_coco(tmp_path: Path) -> None:
    ring = raster.trace(ring_mask(), 3)
    assert sum(len(shape.holes) for shape in ring) == 1
    write_and_compare(tmp_path, "coco", Annotation((), ring))


@pytest.mark.parametrize("form", ["coco", "labelme", "cvat"])
def test_what_we_write_comes_back_pixel_for_pixel(tmp_path: Path, form: str) -> None:
    region = raster.region(np.roll(ring_mask(), 7, 1) & ~np.roll(ring_mask(), 12, 1) & 1, 4)
    write_and_compare(tmp_path, form, Annotation((), (*raster.trace(ring_mask(), 3), *polygons()), (region,)))


@pytest.mark.parametrize("form", ["coco", "labelme", "cvat"])
@pytest.mark.parametrize("height", [1, 2])
def test_a_line_one_pixel_wide_comes_back(tmp_path: Path, form: str, height: int) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[30 : 30 + height, 12:57] = 1
    write_and_compare(tmp_path, form, Annotation((), (), (raster.region(mask, 2),)))


def test_yolo_says_which_holes_it_fills(tmp_path: Path) -> None:
    lost = formats.write("yolo", [("a.jpg", SIZE, Annotation((), raster.trace(ring_mask(), 3)))], tmp_path)
    assert lost == ["a.jpg: 1 holes filled: YOLO cannot store holes"]
    assert formats.write("yolo", [("a.jpg", SIZE, Annotation((), polygons()))], tmp_path) == []
    np.testing.assert_array_equal(
        raster.rasterise(read(tmp_path, "yolo").annotation, *SIZE), np.asarray(polygon_mask())
    )


def polygons() -> tuple[Polygon, ...]:
    return tuple(Polygon(np.array(points), label) for points, label in SHAPES)


def write_and_compare(folder: Path, form: str, drawn: Annotation) -> None:
    assert formats.write(form, [("a.jpg", SIZE, drawn)], folder) == []
    back = read(folder, form).annotation
    np.testing.assert_array_equal(raster.rasterise(back, *SIZE), raster.rasterise(drawn, *SIZE))
    assert back.labels == drawn.labels


def test_a_mask_without_a_class_is_written_as_the_first_and_that_is_said(tmp_path: Path) -> None:
    lost = formats.write("coco", [("a.jpg", SIZE, Annotation(mask=ring_mask()))], tmp_path)
    assert lost == ["a.jpg: the mask has no single class: written as deformation"]
    np.testing.assert_array_equal(raster.rasterise(read(tmp_path, "coco").annotation, *SIZE), ring_mask())
