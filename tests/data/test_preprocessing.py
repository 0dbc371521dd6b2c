import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipe_seg.data import preprocessing

TARGET = (64, 80)


@settings(max_examples=60)
@given(height=st.integers(1, 300), width=st.integers(1, 300))
def test_a_frame_keeps_its_proportions_inside_the_target(height: int, width: int) -> None:
    fitted_height, fitted_width = (int(side) for side in preprocessing.fitted_size(height, width, TARGET))
    assert 1 <= fitted_height <= TARGET[0]
    assert 1 <= fitted_width <= TARGET[1]
    scale = min(TARGET[0] / height, TARGET[1] / width)
    assert abs(fitted_height - max(height * scale, 1)) <= 1
    assert abs(fitted_width - max(width * scale, 1)) <= 1


@pytest.mark.parametrize("size", [(64, 80), (576, 720), (100, 30), (33, 200), (1, 1)])
def test_padding_is_black_and_marked(size: tuple[int, int]) -> None:
    image = tf.fill((*size, 3), tf.constant(200, tf.uint8))
    fitted = preprocessing.letterbox(image, TARGET).numpy()
    valid = preprocessing.valid_area(*size, TARGET).numpy()
    assert fitted.shape == (*TARGET, 3)
    assert (fitted[valid] == 200).all()
    assert not fitted[~valid].any()
    several = preprocessing.valid_area(tf.constant([size[0], 5]), tf.constant([size[1], 5]), TARGET).numpy()
    np.testing.assert_array_equal(several[0], valid)


@pytest.mark.parametrize("size", [(64, 80), (576, 720), (100, 30), (33, 200)])
def test_restoring_undoes_the_letterbox(size: tuple[int, int]) -> None:
    rows, columns = np.mgrid[: size[0], : size[1]]
    mask = ((rows / size[0] - 0.5) ** 2 + (columns / size[1] - 0.5) ** 2 < 0.1).astype(np.uint8)[..., None]
    fitted = preprocessing.letterbox_mask(tf.constant(mask), TARGET)
    assert set(np.unique(fitted)) <= {0, 1}
    restored = preprocessing.restore(tf.cast(fitted, tf.float32)[None], *size).numpy()[0] >= 0.5
    agreement = (restored & (mask > 0)).sum() / (restored | (mask > 0)).sum()
    assert restored.shape == mask.shape
    assert agreement > 0.9


def test_arrays_and_bytes_are_fitted_alike() -> None:
    image = np.random.default_rng(0).integers(0, 256, (57, 91, 3), np.uint8)
    one = preprocessing.letterbox(tf.constant(image), TARGET).numpy()
    batch = preprocessing.letterbox(tf.constant(image[None], tf.float32), TARGET).numpy()
    np.testing.assert_array_equal(batch[0], one)
