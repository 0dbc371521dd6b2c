import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipe_seg.data import augmentation

HEIGHT, WIDTH = 48, 64


@tf.function
def augmented(
    image: tf.Tensor, mask: tf.Tensor, valid: tf.Tensor, seed: int, epoch: int, index: int
) -> tuple[tf.Tensor, ...]:
    key = tf.random.fold_in(tf.random.fold_in(tf.stack([seed, 7]), epoch), index)
    return augmentation.augment(image, mask, valid, key)


def example(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    mask = (rng.random((HEIGHT, WIDTH, 1)) < 0.5).astype(np.uint8)
    valid = np.ones((HEIGHT, WIDTH, 1), np.uint8)
    valid[:, -8:] = 0
    return image * valid, mask * valid, valid


@settings(max_examples=150)
@given(seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 10_000), index=st.integers(0, 2**31 - 1))
def test_masks_stay_zeros_and_ones_and_the_rest_keeps_its_type(seed: int, epoch: int, index: int) -> None:
    image, mask, valid = (x.numpy() for x in augmented(*example(), np.int32(seed), np.int32(epoch), np.int32(index)))
    assert image.dtype == mask.dtype == valid.dtype == np.uint8
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert set(np.unique(mask)) <= {0, 1}
    assert set(np.unique(valid)) <= {0, 1}
    assert not image[valid[..., 0] == 0].any()


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
    valid = np.ones_like(mask)
    key = augmentation.key(3, 1, tf.constant(index, tf.int64))
    moved, moved_mask, _ = augmentation.warp(*map(tf.constant, (image, mask, valid)), key)
    np.testing.assert_array_equal((moved.numpy()[..., 0] >= 128).astype(np.uint8), moved_mask.numpy()[..., 0])
