"""Single steps of the training loop."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipe_seg import config
from pipe_seg.components.trainer.loop import Loop, Progress
from pipe_seg.components.trainer.progress import _told
from pipe_seg.errors import ConfigError
from pipe_seg.nn import models
from pipe_seg.serving import devices
from pipe_seg.serving.saved_model import LoadedModel

SETTINGS = (
    "model.width=4",
    "model.depth=2",
    "trainer.warmup_share=0",
    "trainer.encoder_frozen_share=0.5",
    "ps.optimizer={name: sgd, weight_decay: 0}",
)


def test_a_frozen_encoder_stays_and_then_learns() -> None:
    chosen = config.load(None, SETTINGS, unlock=True)
    one = devices.strategy("one")
    loop = Loop(chosen, chosen.ps, steps=4, batch_size=2, precision="float32", strategy=one)
    rng = np.random.default_rng(1)
    target = {
        "mask": np.stack([rng.integers(0, 2, (2, 32, 32)), np.ones((2, 32, 32))], -1).astype(np.uint8),
        "boxes": np.zeros((2, 8, 5), np.float32),
        "weight": np.ones(2, np.float32),
    }
    image = rng.integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    batches = iter(tf.data.Dataset.from_tensors((image, target)).repeat())
    variables = loop.network.trainable_variables
    decoder = [models.is_decoder(variable) for variable in variables]
    assert 0 < sum(decoder) < len(decoder)
    for frozen in (True, False):
        before = [variable.numpy() for variable in variables]
        loop.steps(batches, tf.constant(2))
        moved = [bool((old != new.numpy()).any()) for old, new in zip(before, variables, strict=True)]
        assert any(m for m, own in zip(moved, decoder, strict=True) if own)
        assert any(m for m, own in zip(moved, decoder, strict=True) if not own) != frozen


def test_coarser_heads_learn_with_the_network_and_stay_out_of_it() -> None:
    one = devices.strategy("one")
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (2, 36, 44, 3)).astype(np.uint8)
    mask = np.stack([rng.integers(0, 2, (2, 36, 44)), np.ones((2, 36, 44))], -1).astype(np.uint8)
    target = {"mask": mask, "boxes": np.zeros((2, 8, 5), np.float32), "weight": np.ones(2, np.float32)}
    batches = iter(tf.data.Dataset.from_tensors((image, target)).repeat())
    loops = []
    for levels in (0, 1):
        keras.utils.set_random_seed(1)
        chosen = config.load(None, (*SETTINGS[:3], f"trainer.deep_supervision={levels}"), unlock=True)
        loops.append(Loop(chosen, chosen.ps, steps=8, batch_size=2, precision="float32", strategy=one))
    plain, deep = loops
    assert [v.shape for v in plain.network.get_weights()] == [v.shape for v in deep.network.get_weights()]
    assert plain.variables["heads"] == []
    before = [head.numpy() for head in deep.variables["heads"]]
    first = [loop.steps(batches, tf.constant(1)).numpy()[0, 0] for loop in loops]
    assert first[0] != first[1]
    for _ in range(3):
        last = deep.steps(batches, tf.constant(2)).numpy()[-1, 0]
    assert last < first[1]
    assert len(before) == 2
    assert all((old != new.numpy()).any() for old, new in zip(before, deep.variables["heads"], strict=True))
    chosen = config.load(None, (*SETTINGS[:3], "trainer.deep_supervision=3"), unlock=True)
    with pytest.raises(ConfigError, match=r"deep_supervision: more than the network has \(got 3\); expected 1"):
        Loop(chosen, chosen.ps, steps=8, batch_size=2, precision="float32", strategy=one)


def test_the_teacher_is_heard_after_a_quarter_of_the_steps() -> None:
    rng = np.random.default_rng(1)
    boxes = np.zeros((2, 8, 5), np.float32)
    boxes[:, 0] = (4, 4, 28, 28, 0.4)
    image = rng.integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    target = {"mask": np.zeros((2, 32, 32, 2), np.uint8), "boxes": boxes, "weight": np.ones(2, np.float32)}
    batches = [iter(tf.data.Dataset.from_tensors((image, target | {"plain": image})).repeat()) for _ in range(2)]
    loops = []
    for weight in (0, 5):
        keras.utils.set_random_seed(1)
        chosen = config.load(None, (*SETTINGS[:3], f"supervision.consistency_weight={weight}"), unlock=True)
        one = devices.strategy("one")
        loops.append(Loop(chosen, chosen.pbs, steps=40, batch_size=2, precision="float32", strategy=one))
    for steps, same in ((10, True), (30, False)):
        for loop, own in zip(loops, batches, strict=True):
            loop.steps(own, tf.constant(steps))
        first, second = (np.concatenate([w.ravel() for w in loop.network.get_weights()]) for loop in loops)
        assert np.allclose(first, second, atol=1e-6) == same


def test_teachers_answer_together_on_frames_as_they_are(runs: Path) -> None:
    models_of = [run / "model" for run in sorted(runs.iterdir())]
    teachers = f"trainer.teachers={[str(path) for path in models_of]}"
    chosen = config.load(None, (*SETTINGS[:2], "model.dropout=0", teachers, "trainer.taught_share=1"), unlock=True)
    rng = np.random.default_rng(1)
    plain, seen = rng.integers(0, 256, (2, 2, 64, 80, 3)).astype(np.uint8)
    target = {"mask": np.zeros((2, 64, 80, 2), np.uint8), "boxes": np.zeros((2, 8, 5), np.float32)}
    target |= {"weight": np.ones(2, np.float32), "plain": plain}
    batches = iter(tf.data.Dataset.from_tensors((seen, target)).repeat())
    loop = Loop(chosen, chosen.ps, steps=9, batch_size=2, precision="float32", strategy=devices.strategy("one"))
    answered = loop.network(seen.astype(np.float32), training=True).numpy().astype(np.float64)
    taught = np.mean([LoadedModel(path / "saved_model").predict_arrays(plain) for path in models_of], 0)
    expected = (np.logaddexp(0, answered) - answered * taught).mean((1, 2, 3)).sum()
    assert loop.steps(batches, tf.constant(1)).numpy()[0, 0] == pytest.approx(expected, rel=1e-4)


def test_no_iou_is_told_of_boxes_that_only_bound() -> None:
    bounds = Progress().add(4, np.array([2.0, 0, 0, 0, 0]))
    assert bounds.scores() == {"loss": 0.5}
    assert _told(bounds.scores()) == "loss 0.5000  iou –"
    contours = bounds.add(4, np.array([2.0, 3.0, 4.0, 30, 60]))
    assert contours.scores() == {"loss": 0.5, "iou": 0.75, "iou_pooled": 0.5}
    assert _told(Progress().scores()) == "no finite step"
