import cv2
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipe_seg.data import augmentation

HEIGHT, WIDTH = 48, 64


NO_BOXES = np.zeros((1, 5), np.float32)


@tf.function
def augmented(
    image: tf.Tensor, targets: tf.Tensor, boxes: tf.Tensor, seed: int, epoch: int, index: int
) -> tuple[tf.Tensor, ...]:
    key = tf.random.fold_in(tf.random.fold_in(tf.stack([seed, 7]), epoch), index)
    return augmentation.augment(image, targets, boxes, key)


def example(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    mask = (rng.random((HEIGHT, WIDTH, 1)) < 0.5).astype(np.uint8)
    inside = np.ones((HEIGHT, WIDTH, 1), np.uint8)
    inside[:, -8:] = 0
    return image * inside, np.concatenate([mask * inside, inside], -1), NO_BOXES


@settings(max_examples=150)
@given(seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 10_000), index=st.integers(0, 2**31 - 1))
def test_masks_stay_zeros_and_ones_and_the_rest_keeps_its_type(seed: int, epoch: int, index: int) -> None:
    image, targets, _ = (x.numpy() for x in augmented(*example(), np.int32(seed), np.int32(epoch), np.int32(index)))
    assert image.dtype == targets.dtype == np.uint8
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert set(np.unique(targets)) <= {0, 1}
    assert not image[targets[..., 1] == 0].any()


def test_the_same_key_gives_the_same_pixels_and_another_does_not() -> None:
    first, again, other = (
        augmentation.augment(*map(tf.constant, example()), augmentation.key(1, epoch, tf.constant(5, tf.int64)))
        for epoch in (2, 2, 3)
    )
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert (first[0].numpy() != other[0].numpy()).any()


@pytest.mark.parametrize("index", range(20))
def test_image_and_mask_move_as_one(index: int) -> None:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    mask = (((rows - 20) ** 2 + (columns - 30) ** 2) < 144).astype(np.uint8)[..., None]
    image = np.repeat(mask * np.uint8(255), 3, -1)
    targets = np.concatenate([mask, np.ones_like(mask)], -1)
    projection = augmentation.projection(key(index), HEIGHT, WIDTH, upright=False)
    warped, warped_targets, _ = augmentation.warp(*map(tf.constant, (image, targets, NO_BOXES)), projection)
    np.testing.assert_array_equal((warped.numpy()[..., 0] >= 128).astype(np.uint8), warped_targets.numpy()[..., 0])


@pytest.mark.parametrize("index", range(20))
def test_a_box_moves_with_its_pixels(index: int) -> None:
    """On an upright frame, the box of the moved mask is the moved box, to the pixel that resampling may cost."""
    targets = np.zeros((HEIGHT, WIDTH, 2), np.uint8)
    targets[14:30, 20:44, 0], targets[..., 1] = 1, 1
    boxes = np.array([[20, 14, 44, 30, 0.5]], np.float32)
    projection = augmentation.projection(key(index), HEIGHT, WIDTH, upright=True)
    _, warped, corners = augmentation.warp(
        tf.zeros((HEIGHT, WIDTH, 3), tf.uint8), tf.constant(targets), tf.constant(boxes), projection
    )
    rows, columns = np.nonzero(warped.numpy()[..., 0])
    extent = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    left, top, right, bottom, share = corners.numpy()[0]
    expected = [max(left, 0), max(top, 0), min(right, WIDTH), min(bottom, HEIGHT)]
    np.testing.assert_allclose(extent, expected, atol=1.0)
    assert share == 0.5


@pytest.mark.parametrize(("share", "upright"), [(0.5, True), (0.0, False)])
def test_a_frame_stays_upright_where_a_loose_box_bounds_it(share: float, upright: bool) -> None:
    boxes = np.array([[20, 14, 44, 30, share]], np.float32)
    targets = np.ones((HEIGHT, WIDTH, 2), np.uint8)
    targets[24:, :, 0] = 0
    level = []
    for index in range(10):
        _, warped, _ = augmentation.augment(
            tf.zeros((HEIGHT, WIDTH, 3), tf.uint8), tf.constant(targets), tf.constant(boxes), key(index)
        )
        mask = warped.numpy()[..., 0]
        inside = cv2.erode(warped.numpy()[..., 1], np.ones((1, 5), np.uint8), borderValue=0) == 1
        level.append(all(len(set(row[valid])) <= 1 for row, valid in zip(mask, inside, strict=True)))
    assert all(level) if upright else not all(level)


def key(index: int) -> tf.Tensor:
    return augmentation.key(3, 1, tf.constant(index, tf.int64))
