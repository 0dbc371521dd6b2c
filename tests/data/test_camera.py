"""What a recording does to a frame."""

import numpy as np
import pytest
import tensorflow as tf

from pipe_seg.data import camera, preprocessing

SIZE = (128, 160)


def key(number: int) -> tf.Tensor:
    return tf.constant([7, number], tf.int32)


def flat(level: int = 120) -> tf.Tensor:
    return tf.fill((*SIZE, 3), tf.constant(level, tf.uint8))


def edge() -> tf.Tensor:
    """Black on the left, white on the right."""
    return tf.constant(np.repeat(np.repeat((np.arange(160) >= 80)[None, :, None], 128, 0), 3, 2).astype(np.uint8) * 255)


@pytest.mark.parametrize("number", range(6))
def test_each_fault_keeps_shape_and_type_and_repeats(number: int) -> None:
    _, fault = camera.FAULTS[number]
    image = tf.random.stateless_uniform((*SIZE, 3), (1, 2), 0, 256, tf.int32)
    image = tf.cast(image, tf.uint8)
    first, again, other = (tf.function(fault)(image, key(index)).numpy() for index in (1, 1, 2))
    assert first.shape == (*SIZE, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_lamp_takes_light_from_the_corners_only() -> None:
    lit = camera.lamp(flat(), key(3)).numpy()
    assert lit.max() <= 120
    assert lit[40:90, 50:110].max() > 115
    assert lit[[0, 0, -1, -1], [0, -1, 0, -1]].max() < 110


def test_glare_only_adds() -> None:
    for number in range(5):
        shown = camera.glare(flat(), key(number)).numpy()
        assert shown.min() >= 120
        assert shown.max() > 200
        assert (shown[..., 0] > 150).mean() < 0.2


def test_motion_smears_and_keeps_the_mean() -> None:
    smeared = camera.motion(edge(), key(1)).numpy().astype(int)
    grey = (smeared > 5) & (smeared < 250)
    assert 0 < grey.mean() < 0.1
    assert abs(smeared.mean() - 127.5) < 3
    np.testing.assert_allclose(camera.motion(flat(), key(1)).numpy(), 120, atol=1)


def test_few_pixels_lose_what_is_fine() -> None:
    fine = tf.constant(np.indices(SIZE).sum(0)[..., None].repeat(3, -1).astype(np.uint8) % 2 * 255)
    assert fine.numpy().std() > 100
    assert camera.coarse(fine, key(1)).numpy().std() < 40


def test_text_covers_little_and_stands_above_or_below() -> None:
    shares = []
    for number in range(12):
        changed = (camera.text(flat(), key(number)).numpy() != 120).any(-1)
        rows = np.flatnonzero(changed.any(1))
        assert len(rows)
        assert rows.max() < 20 or rows.min() > 100
        shares.append(changed.mean())
    assert max(shares) < 0.08


def test_faults_appear_as_often_as_they_are_asked_for() -> None:
    record = tf.function(camera.record)
    image = tf.cast(tf.random.stateless_uniform((*SIZE, 3), (1, 2), 0, 256, tf.int32), tf.uint8)
    same = [bool(tf.reduce_all(record(image, key(number)) == image)) for number in range(60)]
    expected = np.prod([1 - share for share, _ in camera.FAULTS])
    assert abs(np.mean(same) - expected) < 0.2
    assert all(bool(tf.reduce_all(camera.record(image, key(number), 0.0) == image)) for number in range(5))


def test_painted_is_the_green_of_arrows_and_nothing_a_pipe_has() -> None:
    image = np.full((40, 60, 3), 128, np.uint8)
    image[:10, :10] = (200, 190, 90)  # rust
    image[30:, 50:] = (110, 140, 100)  # moss
    image[20, 20:30] = (40, 230, 60)
    found = preprocessing.painted(tf.constant(image)).numpy()[..., 0]
    wanted = np.zeros((40, 60), np.uint8)
    wanted[17:24, 17:33] = 1
    np.testing.assert_array_equal(found, wanted)
