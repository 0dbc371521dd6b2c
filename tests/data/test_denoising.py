"""A lesson without labels."""

import numpy as np
import tensorflow as tf

from pipe_seg.data import denoising
from pipe_seg.nn.denoising import DenoisingLoss


def test_a_lesson_hides_patches_and_keeps_the_brightness_that_was_there() -> None:
    image = np.full((70, 90, 3), (200, 100, 50), np.uint8)
    inside = np.ones((70, 90, 1), np.uint8)
    inside[:, 80:] = 0
    shares = []
    for number in range(20):
        spoilt, target = denoising.lesson(tf.constant(image), tf.constant(inside), tf.constant([3, number]))
        spoilt, target = spoilt.numpy(), target.numpy()
        assert spoilt.shape == image.shape
        assert spoilt.dtype == target.dtype == np.uint8
        assert not spoilt[:, 80:].any()
        hidden = (spoilt == 128).all(-1)[:64, :80].reshape(4, 16, 5, 16).all((1, 3))
        shares.append(hidden.mean())
        assert abs(target[..., 0].astype(int) - (0.2989 * 200 + 0.587 * 100 + 0.114 * 50)).max() <= 1
        np.testing.assert_array_equal(target[..., 1], inside[..., 0])
        assert spoilt[:64, :80].reshape(4, 16, 5, 16, 3).transpose(0, 2, 1, 3, 4)[~hidden].std((1, 2)).min() > 3
    assert abs(np.mean(shares) - denoising.HIDDEN) < 0.1


def test_the_loss_is_the_squared_error_where_the_frame_is() -> None:
    mask = np.zeros((2, 2, 2, 2), np.uint8)
    mask[0, ..., 0] = [[128, 192], [64, 255]]
    mask[0, ..., 1] = [[1, 1], [1, 0]]
    logits = np.zeros((2, 2, 2, 1), np.float32)
    logits[0, 0, 0] = 2.0
    found = DenoisingLoss()({"mask": tf.constant(mask)}, tf.constant(logits)).numpy()
    np.testing.assert_allclose(found, [(4 + 1 + 1) / 3, 0.0])
