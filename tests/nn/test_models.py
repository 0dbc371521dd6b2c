"""The network: sizes, precisions, folding, the fused kernels and their twins."""

import keras
import numpy as np
import pytest

from pipe_seg.config import Adam, AdamW, ModelSection, Sgd
from pipe_seg.nn import folding, models, normalization, optimizers
from pipe_seg.nn.normalization import FusedBatchNormalization


def section(**values: object) -> ModelSection:
    return ModelSection.model_validate({"width": 4, "depth": 2, "dropout": 0.0, **values})


def shaken(model: keras.Model) -> keras.Model:
    """Returns the model with random weights and batch statistics instead of the initial ones."""
    rng = np.random.default_rng(3)
    for layer in model.layers:
        weights = [w + rng.normal(0, 0.05, w.shape).astype(w.dtype) for w in layer.get_weights()]
        if isinstance(layer, FusedBatchNormalization):
            weights[3] = np.abs(weights[3])
        layer.set_weights(weights)
    return model


@pytest.mark.parametrize("encoder", ["plain", "residual"])
@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("size", [(32, 48), (33, 41), (7, 5)])
def test_logits_have_the_size_of_the_frame(encoder: str, norm: str, size: tuple[int, int]) -> None:
    model = models.build(section(encoder=encoder, norm=norm))
    logits = model(np.zeros((2, *size, 3), np.float32))
    assert tuple(logits.shape) == (2, *size, 1)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"


def test_the_default_has_the_parameters_of_a_unet_of_width_32() -> None:
    assert models.build(ModelSection()).count_params() == 7_768_929


def test_bfloat16_gives_float32_logits_near_those_of_float32() -> None:
    exact = shaken(models.build(section()))
    rough = models.build(section(), precision="bfloat16")
    rough.set_weights(exact.get_weights())
    frame = np.random.default_rng(1).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
    assert keras.backend.standardize_dtype(rough(frame).dtype) == "float32"
    p, q = (keras.ops.convert_to_numpy(keras.ops.sigmoid(model(frame, training=False))) for model in (exact, rough))
    assert np.abs(p - q).max() < 0.02


@pytest.mark.parametrize("encoder", ["plain", "residual"])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_folded_network_answers_as_the_trained_one(encoder: str, norm: str) -> None:
    trained = shaken(models.build(section(encoder=encoder, norm=norm)))
    folded = folding.fold(section(encoder=encoder, norm=norm), trained)
    frame = np.random.default_rng(2).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    expected, found = (keras.ops.convert_to_numpy(m(frame, training=False)) for m in (trained, folded))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    if norm == "batch":
        assert not any(isinstance(layer, FusedBatchNormalization) for layer in folded.layers)


@pytest.mark.parametrize("training", [False, True])
def test_the_fused_batch_norm_agrees_with_its_twin(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(4).normal(3, 2, (4, 8, 8, 5)).astype(np.float32)
    answers, statistics = [], []
    for kernel in (normalization._fused, normalization._composed):
        layer = FusedBatchNormalization()
        layer.build(x.shape)
        monkeypatch.setattr(normalization, "_fused", kernel)
        answers.append(keras.ops.convert_to_numpy(layer(x, training=training)))
        statistics.append([keras.ops.convert_to_numpy(v) for v in (layer.moving_mean, layer.moving_variance)])
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-4)
    np.testing.assert_allclose(statistics[0], statistics[1], atol=1e-4)


def test_the_fused_batch_norm_agrees_with_keras() -> None:
    x = np.random.default_rng(4).normal(3, 2, (4, 8, 8, 5)).astype(np.float32)
    ours, theirs = FusedBatchNormalization(), keras.layers.BatchNormalization(momentum=0.9)
    expected, found = (keras.ops.convert_to_numpy(layer(x, training=True)) for layer in (theirs, ours))
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("settings", [AdamW(), AdamW(weight_decay=0.0), Adam(), Sgd()])
def test_our_optimizers_step_as_keras_does(settings: AdamW | Adam | Sgd) -> None:
    arguments = settings.model_dump(exclude={"name"})
    reference = {"adamw": keras.optimizers.AdamW, "adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}
    steps = []
    for optimizer in (optimizers.build(settings, 0.05), reference[settings.name](0.05, **arguments)):
        weight = keras.Variable(np.linspace(-1, 1, 6, dtype=np.float32), name="kernel")
        rng = np.random.default_rng(7)
        for _ in range(5):
            optimizer.apply([keras.ops.convert_to_tensor(rng.normal(0, 1, 6).astype(np.float32))], [weight])
        steps.append(keras.ops.convert_to_numpy(weight))
    np.testing.assert_allclose(steps[0], steps[1], rtol=1e-5, atol=1e-5)


def test_a_notebook_user_can_compile_and_fit() -> None:
    from pipe_seg.nn import losses, metrics

    model = models.build(section())
    model.compile("adam", losses.BceDice(), metrics=[metrics.IoU(), metrics.PooledDice()])
    x = np.random.default_rng(1).uniform(0, 255, (8, 16, 16, 3)).astype(np.float32)
    y = (x.mean(-1, keepdims=True) > 128).astype(np.float32)
    history = model.fit(x, y, epochs=3, batch_size=4, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert 0 < history["iou"][-1] <= 1
