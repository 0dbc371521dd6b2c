from pathlib import Path

import cv2
import numpy as np
import pytest

from pipe_seg.annotations import masks
from pipe_seg.errors import InputDataError


def write(folder: Path, pixels: np.ndarray) -> Path:
    path = folder / "000001_mask.png"
    cv2.imwrite(str(path), pixels)
    return path


@pytest.mark.parametrize("value", [1, 255])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_masks_of_ones_and_of_255_are_the_same(tmp_path: Path, value: int, channels: int) -> None:
    truth = np.eye(6, dtype=np.uint8)
    pixels = truth * np.uint8(value)
    stacked = pixels if channels == 1 else np.dstack([pixels] * 3 + [np.full_like(pixels, 255)] * (channels - 3))
    read = masks.read(write(tmp_path, stacked))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, truth)


def test_an_empty_mask_is_a_mask(tmp_path: Path) -> None:
    assert masks.read(write(tmp_path, np.zeros((4, 5), np.uint8))).sum() == 0


@pytest.mark.parametrize("values", [(0, 128), (0, 1, 255), (0, 1, 2)])
def test_other_values_are_refused_and_shown(tmp_path: Path, values: tuple[int, ...]) -> None:
    pixels = np.resize(np.array(values, np.uint8), (6, 6))
    with pytest.raises(InputDataError) as caught:
        masks.read(write(tmp_path, pixels))
    assert f"values {sorted(values)}" in str(caught.value)


def test_a_mask_in_colour_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="mask in colour"):
        masks.read(write(tmp_path, np.dstack([np.eye(4, dtype=np.uint8) * 255] + [np.zeros((4, 4), np.uint8)] * 2)))


@pytest.mark.parametrize("data", [b"", b"\xff", b"<html>404</html>"])
def test_what_is_no_image_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(data)
    with pytest.raises(InputDataError, match=r"x\.png: (empty file|not an image)"):
        masks.read(path)
