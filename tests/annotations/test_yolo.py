import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipe_seg.annotations import yolo
from pipe_seg.annotations.numbers import decimal
from pipe_seg.errors import InputDataError
from pipe_seg.schema import Annotation, Box

SIZE = (100, 200)


def write(folder: Path, text: str) -> Path:
    path = folder / "000001.txt"
    path.write_text(text, "utf-8")
    return path


def test_a_box_is_read_as_corners(tmp_path: Path) -> None:
    boxes = yolo.read(write(tmp_path, "2 0.5 0.25 0.2 0.1\n"), SIZE).boxes
    assert boxes == (Box(pytest.approx(0.4), pytest.approx(0.2), pytest.approx(0.6), pytest.approx(0.3), 2),)


def test_a_line_of_pairs_is_a_polygon(tmp_path: Path) -> None:
    (polygon,) = yolo.read(write(tmp_path, "1 0.1 0.1 0.5 0.1 0.5 0.9\n"), SIZE).polygons
    np.testing.assert_allclose(polygon.points, [[20, 10], [100, 10], [100, 90]])
    assert polygon.label == 1


def test_a_line_that_comes_twice_counts_once_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert len(yolo.read(write(tmp_path, "2 0.5 0.5 0.2 0.2\n" * 2), SIZE).boxes) == 1
    assert "000001.txt:2: duplicate line" in caplog.text


def test_an_empty_file_is_a_frame_without_defects(tmp_path: Path) -> None:
    assert yolo.read(write(tmp_path, "\n"), SIZE) == Annotation()


def test_a_box_without_area_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert yolo.read(write(tmp_path, "2 1.0 0.36 0.0 0.2\n"), SIZE) == Annotation()
    assert "000001.txt:1: box without area: ignored" in caplog.text


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("7 0.5 0.5 0.1 0.1", "unknown class"),
        ("-1 0.5 0.5 0.1 0.1", "unknown class"),
        ("1.5 0.5 0.5 0.1 0.1", "unknown class"),
        ("0 0.95 0.5 0.2 0.1", "box outside the frame"),
        ("0 320 240 64 48", "box outside the frame"),
        ("0 0.5 0.5 -0.1 0.1", "negative size"),
        ("0 0.5 0.5 0.1", "not a YOLO box"),
        ("0 0.5 0.5 0.1 0.1 0.9", "not a YOLO box"),
        ("0 nan 0.5 0.1 0.1", "not a YOLO box"),
        ("0 0.5 inf 0.1 0.1", "not a YOLO box"),
        ("0 0,5 0.5 0.1 0.1", "not a YOLO box"),
        ("0 0.1 0.1 0.9 0.1 0.9", "not a YOLO box"),
        ("0 0.1 0.1 0.9 0.1 0.9 0.9 0.5", "not a YOLO box"),
        ("0 0.1 0.1 0.9 0.1 1e9 0.9", "contour outside the frame"),
        ("rupture 0.5 0.5 0.1 0.1", "not a YOLO box"),
    ],
)
def test_a_fault_names_file_and_line(tmp_path: Path, line: str, what: str) -> None:
    path = write(tmp_path, f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(InputDataError) as caught:
        yolo.read(path, SIZE)
    (problem,) = caught.value.lines()
    assert problem.startswith(f"{path}:2: ")
    assert what in problem


def test_every_bad_line_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputDataError) as caught:
        yolo.read(write(tmp_path, "9 0.5 0.5 0.1 0.1\n" * 30), SIZE)
    lines = caught.value.lines()
    assert len(lines) == 21
    assert lines[-1] == "… and 10 more"


def test_bytes_that_are_no_text_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "000001.txt"
    path.write_bytes(b"\xff\xfe0\x00")
    with pytest.raises(InputDataError, match="not UTF-8 text"):
        yolo.read(path, SIZE)


@pytest.mark.parametrize("text", ["nan", "inf", "1_000", "١٢", "0x10", "1e999", "", "+-1", "1.2.3"])
def test_what_is_no_plain_number_is_none(text: str) -> None:
    assert decimal(text) is None


@given(st.floats(-1e6, 1e6))
def test_every_plain_number_is_read(value: float) -> None:
    assert decimal(repr(value)) == value
