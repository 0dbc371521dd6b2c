import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipe_seg.annotations import raster
from pipe_seg.schema import Annotation, Box, Polygon


def test_a_box_sets_the_pixels_whose_centre_it_holds() -> None:
    mask = raster.rasterise(Annotation((Box(0.25, 0.5, 0.75, 1.0, 0),)), 4, 8)
    expected = np.zeros((4, 8), np.uint8)
    expected[2:4, 2:6] = 1
    np.testing.assert_array_equal(mask, expected)


def test_boxes_join() -> None:
    mask = raster.rasterise(Annotation((Box(0, 0, 0.5, 1, 0), Box(0.25, 0, 1, 1, 1))), 2, 4)
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 1]]


def test_contours_win_over_boxes_and_pixels_over_contours() -> None:
    box = Box(0, 0, 1, 1, 0)
    polygon = Polygon(np.array([[1.0, 1], [3, 1], [3, 3], [1, 3]]), 0)
    drawn = np.eye(8, dtype=np.uint8)
    assert raster.rasterise(Annotation((box,), (polygon,)), 8, 8).sum() == 4
    np.testing.assert_array_equal(raster.rasterise(Annotation((box,), (polygon,), mask=drawn), 8, 8), drawn)


@pytest.mark.parametrize("far", [1e3, 1e6, 1e9, -1e9])
def test_a_vertex_far_away_costs_no_time(far: float) -> None:
    started = time.process_time()
    raster.rasterise(Annotation(polygons=(Polygon(np.array([[0.0, 0], [5, far], [9, 9]]), 0),)), 512, 512)
    assert time.process_time() - started < 1.0


@given(
    st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=4),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_a_mask_is_zeros_and_ones(corners: list[tuple[float, ...]], height: int, width: int) -> None:
    boxes = tuple(Box(min(a, c), min(b, d), max(a, c), max(b, d), 0) for a, b, c, d in corners)
    mask = raster.rasterise(Annotation(boxes), height, width)
    assert mask.shape == (height, width)
    assert set(np.unique(mask)) <= {0, 1}
