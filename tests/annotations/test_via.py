from pathlib import Path

import numpy as np
import pytest

from pipe_seg.annotations import masks, raster, via
from pipe_seg.errors import InputDataError
from pipe_seg.schema import CLASS_NAMES
from tests.conftest import REAL_FRAMES

SIZE = (100, 200)

HEADER = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
SQUARE = '"{""name"": ""polygon"", ""all_points_x"": [1, 5, 5, 1], ""all_points_y"": [2, 2, 6, 6]}"'
RUPTURE = '"{""class"": ""rupture""}"'


def write(folder: Path, rows: str, header: str = HEADER) -> Path:
    path = folder / "via_train.csv"
    path.write_text(header + rows, "utf-8")
    return path


def test_polygons_are_read_by_file(tmp_path: Path) -> None:
    rows = f'a.jpg,1,{{}},2,0,{SQUARE},{RUPTURE}\na.jpg,1,{{}},2,1,{SQUARE},{RUPTURE}\nb.jpg,1,{{}},0,0,"{{}}","{{}}"\n'
    found = via.read(write(tmp_path, rows))
    assert [len(shapes) for shapes in found.values()] == [2, 0]
    polygon = via.annotation(tmp_path, found["a.jpg"], SIZE).polygons[0]
    assert polygon.points.tolist() == [[1, 2], [5, 2], [5, 6], [1, 6]]
    assert CLASS_NAMES[polygon.label] == "rupture"


@pytest.mark.parametrize(
    ("shape", "attributes", "what"),
    [
        ("not json", RUPTURE, "not JSON"),
        ('"{""name"": ""rect"", ""x"": 1}"', RUPTURE, "not a polygon region"),
        ('"{""all_points_x"": [1, 2], ""all_points_y"": [1, 2]}"', RUPTURE, "not a contour"),
        ('"{""all_points_x"": [1, 2, 3], ""all_points_y"": [1, 2]}"', RUPTURE, "not a polygon region"),
        ('"{""all_points_x"": [1, 2, NaN], ""all_points_y"": [1, 2, 3]}"', RUPTURE, "not strict JSON"),
        (SQUARE, '"{""class"": ""crack""}"', "unknown class"),
        (SQUARE, '"{}"', "unknown class"),
    ],
)
def test_a_fault_names_file_and_line(tmp_path: Path, shape: str, attributes: str, what: str) -> None:
    path = write(tmp_path, f"a.jpg,1,{{}},1,0,{SQUARE},{RUPTURE}\nb.jpg,1,{{}},1,0,{shape},{attributes}\n")
    with pytest.raises(InputDataError) as caught:
        via.annotation(path, via.read(path)["b.jpg"], SIZE)
    (problem,) = caught.value.lines()
    assert problem.startswith(f"{path}:3: {what}")


def test_a_row_cut_short_is_no_clean_frame(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match=r"via_train\.csv:2: incomplete row"):
        via.read(write(tmp_path, "a.jpg\n"))


def test_a_file_of_another_kind_is_refused_by_its_header(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match=r"via_train\.csv:1: column missing"):
        via.read(write(tmp_path, "", header="a,b\n"))


@pytest.mark.skipif(not (REAL_FRAMES / "PipeSegmentation").is_dir(), reason="real frames are not here")
@pytest.mark.parametrize("split", ["train", "val"])
def test_real_polygons_give_the_real_masks(split: str) -> None:
    root = REAL_FRAMES / "PipeSegmentation"
    found = via.read(root / "annotations" / f"via_{split}.csv")
    assert len(found) == {"train": 47, "val": 12}[split]
    agreement = []
    for name, rows in found.items():
        mask = masks.read(root / "masks" / split / f"{Path(name).stem}_mask.png")
        ours = raster.rasterise(via.annotation(root, rows, (mask.shape[0], mask.shape[1])), *mask.shape)
        agreement.append(np.sum(ours & mask) / np.sum(ours | mask))
    # The PNGs were drawn finer than the polygons' whole pixels: thin bands differ along their edges.
    assert min(agreement) > 0.8
    assert np.mean(agreement) > 0.95
