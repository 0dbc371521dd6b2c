"""Losses against values worked out by hand: p = (.8, .6, .4, .1), y = (1, 1, 0, 0)."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from pipe_seg import config
from pipe_seg.nn import losses

P = np.array([0.8, 0.6, 0.4, 0.1])
LOGITS = np.log(P / (1 - P)).reshape(1, 2, 2, 1).astype(np.float32)
MASK = np.array([1, 1, 0, 0], np.float32).reshape(1, 2, 2, 1)

GOLDEN = [
    # −(ln .8 + ln .6 + ln .6 + ln .9)/4
    (losses.BinaryCrossentropy(), 0.337539),
    # background ×.1: −(ln .8 + ln .6 + .1·ln .6 + .1·ln .9)/4
    (losses.WeightedBinaryCrossentropy(), 0.198897),
    (losses.Focal(), 0.043361),
    (losses.Focal(alpha=0.25), 0.021188),
    (losses.Dice(smooth=0), 1 - 2.8 / 3.9),  # 2·Σpy / (Σp + Σy) = 2·1.4 / (1.9 + 2)
    (losses.Jaccard(smooth=0), 1 - 1.4 / 2.5),  # 1.4 / (1.9 + 2 − 1.4)
    (losses.Tversky(smooth=0), 1 - 1.4 / 1.97),  # 1.4 / (1.4 + .3·.5 + .7·.6)
    (losses.FocalTversky(smooth=0), 0.394509),  # .289340^.75
    (losses.Tversky(fp_weight=0.5, fn_weight=0.5, smooth=1.0), 0.186441),
    (losses.Lovasz(), 0.396357),
    (losses.BceDice(smooth=0), 0.619589),
]
ALL = [name for name in losses._LOSSES]


@pytest.mark.parametrize(("loss", "value"), GOLDEN, ids=lambda x: type(x).__name__ if not isinstance(x, float) else "")
def test_golden_value(loss: losses.ImageLoss, value: float) -> None:
    assert float(loss(MASK, LOGITS)) == pytest.approx(value, abs=1e-5)


def test_every_criterion_of_the_configuration_is_a_loss() -> None:
    recipe = {"name": "x"}
    names = ["bce", "weighted_bce", "focal", "dice", "jaccard", "tversky", "focal_tversky", "lovasz", "bce_dice"]
    assert sorted(ALL) == sorted(names)
    for recipe["name"] in names:
        criterion = config.DatasetSection(criterion=dict(recipe)).criterion
        assert losses.build(criterion).call(MASK, LOGITS).shape == (1,)


@pytest.mark.parametrize("name", ALL)
def test_one_value_per_image_that_does_not_depend_on_its_neighbours(name: str) -> None:
    loss = losses._LOSSES[name]()
    other = np.flip(LOGITS, 1).copy()
    together = ops.convert_to_numpy(loss.call(np.concatenate([MASK, MASK]), np.concatenate([LOGITS, other])))
    alone = [float(loss.call(MASK, x)[0]) for x in (LOGITS, other)]
    assert together == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_an_empty_mask_predicted_empty_costs_nothing(name: str) -> None:
    loss = losses._LOSSES[name]()
    assert float(loss(np.zeros_like(MASK), np.full_like(LOGITS, -30.0))) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_a_false_positive_on_a_clean_frame_is_pushed_back(name: str) -> None:
    import tensorflow as tf

    logits = tf.Variable(np.full((1, 64, 64, 1), 2.0, np.float32))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(losses._LOSSES[name]().call(np.zeros((1, 64, 64, 1), np.float32), logits))
    gradient = tape.gradient(value, logits).numpy()
    assert value > 0.05
    assert gradient.sum() > 0.05


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=10)
@given(seed=st.integers(0, 2**16))
def test_padding_changes_nothing(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = (rng.random((1, 6, 8, 1)) < 0.4).astype(np.float32)
    logits = rng.normal(0, 2, (1, 6, 8, 1)).astype(np.float32)
    counted = np.ones_like(mask)
    pad = ((0, 0), (0, 3), (0, 2), (0, 0))
    padded = np.concatenate([np.pad(mask, pad, constant_values=1), np.pad(counted, pad)], -1)
    loss = losses._LOSSES[name]()
    expected = float(loss.call(mask, logits)[0])
    assert float(loss.call(padded, np.pad(logits, pad, constant_values=3.0))[0]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_a_loss_survives_saving(name: str) -> None:
    loss = losses._LOSSES[name]()
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert float(again(MASK, LOGITS)) == float(loss(MASK, LOGITS))


def test_tversky_weights_the_error_of_each_argument() -> None:
    missed = losses.Tversky(fp_weight=0.0, fn_weight=1.0, smooth=0.0)
    only_false_alarms = np.full_like(LOGITS, 20.0)
    assert float(missed(MASK, only_false_alarms)) == pytest.approx(0.0, abs=1e-5)
