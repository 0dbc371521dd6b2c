"""Post-processing: flip averaging and removal of small components."""

import cv2
import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipe_seg.inference import postprocessing
from pipe_seg.inference.postprocessing import InferenceOptions


def brightness(frames: tf.Tensor) -> tf.Tensor:
    """A network whose logit depends on the pixel alone."""
    return frames[..., :1] - 3.0


def leftward(frames: tf.Tensor) -> tf.Tensor:
    """A network that is not symmetric: its logit is the column."""
    columns = tf.range(tf.shape(frames)[2], dtype=tf.float32)[None, None, :, None]
    return tf.zeros_like(frames[..., :1]) + columns


def frames(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 6, (2, height, width, 3)).astype(np.float32)


def test_flipped_averages_both_views() -> None:
    answers = postprocessing.flipped(leftward)(frames(4, 9)).numpy()
    np.testing.assert_allclose(answers, np.full((2, 4, 9, 1), 4.0))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1), density=st.floats(0.05, 0.95), rows=st.integers(1, 24), columns=st.integers(1, 24)
)
def test_component_sizes_are_those_of_opencv(seed: int, density: float, rows: int, columns: int) -> None:
    positive = np.random.default_rng(seed).random((2, rows, columns)) < density
    found = postprocessing.component_sizes(tf.constant(positive)).numpy()
    for mask, sizes in zip(positive, found, strict=True):
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        np.testing.assert_array_equal(sizes, np.where(mask, stats[labels, cv2.CC_STAT_AREA], 0))


def test_a_snake_is_one_component() -> None:
    """The longest path along which a label spreads."""
    positive = np.zeros((1, 41, 40), bool)
    positive[0, ::2] = True
    positive[0, 1::4, -1] = positive[0, 3::4, 0] = True
    assert set(postprocessing.component_sizes(tf.constant(positive)).numpy()[positive]) == {positive.sum()}


def test_small_components_are_removed_and_nothing_else_changes() -> None:
    shot = np.zeros((1, 12, 12, 3), np.float32)
    shot[0, 1:3, 1:3] = 5.0  # 4 px
    shot[0, 5:10, 5:10] = 4.0  # 25 px
    plain, inside = brightness(shot), np.ones((1, 12, 12), bool)
    cleaned = postprocessing.without_small_components(plain, inside, 0.5, 5 / 144).numpy()
    assert (cleaned[0, 1:3, 1:3] < 0).all()
    cleaned[0, 1:3, 1:3] = plain[0, 1:3, 1:3]
    np.testing.assert_array_equal(cleaned, plain)


def test_padding_does_not_count_towards_a_component_or_the_frame() -> None:
    """Four padding rows: 4 px of a component are on the frame, 12 on padding; 25 px are 25 / 96 of it."""
    shot = np.zeros((1, 12, 12, 3), np.float32)
    shot[0, 6:12, 9:11] = 5.0
    shot[0, 1:6, 1:6] = 4.0
    inside = np.zeros((1, 12, 12), bool)
    inside[0, :8] = True
    for share, kept in ((5 / 96, True), (24 / 96, True), (26 / 96, False)):
        cleaned = postprocessing.without_small_components(brightness(shot), inside, 0.5, share).numpy()[0, ..., 0]
        assert (cleaned[6:8, 9:11] < 0).all()
        assert (cleaned[1:6, 1:6] > 0).all() == kept


def test_without_flip_the_network_is_unchanged() -> None:
    assert InferenceOptions((16, 24)).wrap(brightness) is brightness
