"""Around the network: mirrored views, specks."""

import cv2
import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipe_seg.inference import postprocessing
from pipe_seg.inference.postprocessing import InferenceOptions


def brightness(frames: tf.Tensor) -> tf.Tensor:
    """A network that answers a pixel by that pixel alone."""
    return frames[..., :1] - 3.0


def leftward(frames: tf.Tensor) -> tf.Tensor:
    """A network that is not symmetric: its answer is the column."""
    columns = tf.range(tf.shape(frames)[2], dtype=tf.float32)[None, None, :, None]
    return tf.zeros_like(frames[..., :1]) + columns


def frames(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 6, (2, height, width, 3)).astype(np.float32)


def test_flipped_is_the_mean_of_both_views() -> None:
    answers = postprocessing.flipped(leftward)(frames(4, 9)).numpy()
    np.testing.assert_allclose(answers, np.full((2, 4, 9, 1), 4.0))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1), density=st.floats(0.05, 0.95), rows=st.integers(1, 24), columns=st.integers(1, 24)
)
def test_blob_sizes_are_those_of_opencv(seed: int, density: float, rows: int, columns: int) -> None:
    claimed = np.random.default_rng(seed).random((2, rows, columns)) < density
    found = postprocessing.component_sizes(tf.constant(claimed)).numpy()
    for mask, sizes in zip(claimed, found, strict=True):
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        np.testing.assert_array_equal(sizes, np.where(mask, stats[labels, cv2.CC_STAT_AREA], 0))


def test_a_snake_is_one_blob() -> None:
    """The longest way that a number has to go."""
    claimed = np.zeros((1, 41, 40), bool)
    claimed[0, ::2] = True
    claimed[0, 1::4, -1] = claimed[0, 3::4, 0] = True
    assert set(postprocessing.component_sizes(tf.constant(claimed)).numpy()[claimed]) == {claimed.sum()}


def test_specks_are_taken_back_and_nothing_else_moves() -> None:
    shot = np.zeros((1, 12, 12, 3), np.float32)
    shot[0, 1:3, 1:3] = 5.0  # 4 px
    shot[0, 5:10, 5:10] = 4.0  # 25 px
    plain, inside = brightness(shot), np.ones((1, 12, 12), bool)
    cleaned = postprocessing.without_small_components(plain, inside, 0.5, 5 / 144).numpy()
    assert (cleaned[0, 1:3, 1:3] < 0).all()
    cleaned[0, 1:3, 1:3] = plain[0, 1:3, 1:3]
    np.testing.assert_array_equal(cleaned, plain)


def test_a_speck_that_goes_on_in_the_padding_is_a_speck_and_shares_are_of_the_frame() -> None:
    """Four rows of padding: 4 px of a claim lie on the frame, 12 in the padding; 25 px are 25 / 96 of the frame."""
    shot = np.zeros((1, 12, 12, 3), np.float32)
    shot[0, 6:12, 9:11] = 5.0
    shot[0, 1:6, 1:6] = 4.0
    inside = np.zeros((1, 12, 12), bool)
    inside[0, :8] = True
    for share, kept in ((5 / 96, True), (24 / 96, True), (26 / 96, False)):
        cleaned = postprocessing.without_small_components(brightness(shot), inside, 0.5, share).numpy()[0, ..., 0]
        assert (cleaned[6:8, 9:11] < 0).all()
        assert (cleaned[1:6, 1:6] > 0).all() == kept


def test_the_plain_way_is_the_network_itself() -> None:
    assert InferenceOptions((16, 24)).around(brightness) is brightness
