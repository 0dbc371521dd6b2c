"""Numbers that are not finite never reach the weights, wherever they come from; the batch's files are named."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from pipe_seg.artifacts import Dataset
from pipe_seg.components import transform
from pipe_seg.components.trainer import validation
from pipe_seg.data.batches import TransformedExamples
from pipe_seg.data.training_data import TrainingData
from pipe_seg.errors import DivergedError
from pipe_seg.inference.signatures import Predictor
from pipe_seg.nn.schedules import Rate
from tests import tiny_training

STEPS = 2
EPOCHS = 4
PLAIN = ("trainer.strategy=one", f"ps.epochs={EPOCHS}", "trainer.schedule=constant", "trainer.checkpoint_every_s=0")
NAN = float("nan")


@pytest.fixture(scope="module")
def dataset(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny_training.build(folder, tmp_path_factory.mktemp("tfds"))


Spoil = Callable[[Any, Any, Any], tuple[Any, Any]]


def planted(spoil: Spoil) -> Callable[[TransformedExamples], TransformedExamples]:
    """Let ``spoil(number, image, target)`` change the batch of each step; numbers count from the first epoch on."""

    def plant(examples: TransformedExamples) -> TransformedExamples:
        def batches(epoch: int, step: int, **rest: Any) -> Any:
            first = epoch * examples.steps + step
            numbered = examples.batches(epoch, step, **rest).enumerate(first)
            return numbered.map(spoilt)

        def spoilt(number: Any, batch: tuple[Any, dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
            image, target = batch
            image, mask = spoil(number, *(tf.cast(part, tf.float32) for part in (image, target["mask"])))
            return image, {**target, "mask": mask}

        return dataclasses.replace(examples, batches=batches)

    return plant


def at(number: Any, steps: list[int]) -> Any:
    return tf.reduce_any(number == tf.constant(steps, tf.int64))


def names_of(dataset: Dataset, number: int) -> str:
    chosen = tiny_training.settings(*PLAIN)
    batches = transform.run(chosen, data=TrainingData("ps", {"ps": dataset}), split="train", batch_size=4)
    assert batches.steps == STEPS
    return ", ".join(batches.file_names(*divmod(number, STEPS)))


def test_steps_in_image_and_mask_are_skipped_first_middle_and_last(
    dataset: Dataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    last = STEPS * EPOCHS - 1

    def spoil(number: Any, image: Any, target: Any) -> tuple[Any, Any]:
        image = tf.where(at(number, [0, last]), NAN, image)
        return image, tf.where(at(number, [STEPS + 1]), NAN, target)

    tiny_training.train(tiny_training.settings(*PLAIN), dataset, tmp_path / "run", planted(spoil))
    found = tiny_training.outcome(tmp_path / "run")  # fails where a weight is not finite
    assert (found["skipped_steps"], len(found["history"])) == (3, EPOCHS)
    assert [epoch["train/skipped_steps"] for epoch in found["history"]] == [1, 2, 2, 3]
    told = [line for line in capfd.readouterr().err.splitlines() if "the step was skipped" in line]
    for line, number in zip(told, (0, STEPS + 1, last), strict=True):
        epoch, step = divmod(number, STEPS)
        assert line.startswith(f"warning: epoch {epoch + 1}, step {step + 1}: ")
        assert names_of(dataset, number) in line


def test_after_three_in_a_row_and_again_after_going_back_it_ends_with_7(
    dataset: Dataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def spoil(number: Any, image: Any, target: Any) -> tuple[Any, Any]:
        return tf.where(number >= STEPS + 1, NAN, image), target

    with pytest.raises(DivergedError) as caught:
        tiny_training.train(tiny_training.settings(*PLAIN), dataset, tmp_path / "run", planted(spoil))
    assert caught.value.exit_code == 7
    assert names_of(dataset, STEPS + 3) in str(caught.value)
    assert capfd.readouterr().err.count("back to epoch") == 1
    found = tiny_training.outcome(tmp_path / "run")
    assert found["best_epoch"] in (1, 2)
    record = json.loads((tmp_path / "run/trainer/artifact.json").read_text())
    assert record["details"]["diverged"] is True


def test_going_back_once_with_a_lower_rate_can_save_a_training(dataset: Dataset, tmp_path: Path) -> None:
    attempts: list[int] = []

    def plant(examples: TransformedExamples) -> TransformedExamples:
        def batches(epoch: int, step: int, **rest: Any) -> Any:
            attempts.append(epoch)
            first, bad = epoch * examples.steps + step, [2, 3, 4] if len(attempts) == 1 else [-1]
            return (
                examples.batches(epoch, step, **rest)
                .map(lambda image, target: (tf.cast(image, tf.float32), target))
                .enumerate(first)
                .map(lambda number, batch: (tf.where(at(number, bad), NAN, batch[0]), batch[1]))
            )

        return dataclasses.replace(examples, batches=batches)

    tiny_training.train(tiny_training.settings(*PLAIN), dataset, tmp_path / "run", plant)
    found = tiny_training.outcome(tmp_path / "run")
    assert len(attempts) == 2
    assert (len(found["history"]), found["skipped_steps"]) == (EPOCHS, 3)
    assert [epoch["train/learning_rate"] for epoch in found["history"]] == pytest.approx([0.001] * EPOCHS)


def test_a_rate_that_is_no_number_moves_no_weight(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = Rate.__call__
    monkeypatch.setattr(
        Rate, "__call__", lambda self, step: tf.where(tf.cast(step, tf.int64) >= 3, NAN, rate(self, step))
    )
    with pytest.raises(DivergedError, match="loss, gradient or rate is not finite"):
        tiny_training.train(tiny_training.settings(*PLAIN), dataset, tmp_path / "run")
    assert tiny_training.outcome(tmp_path / "run")["best_epoch"] == 2


def test_an_epoch_without_an_answer_cannot_be_the_best(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Sometimes(Predictor):
        asked = 0

        def probability(self, image: Any) -> Any:
            Sometimes.asked += 1
            return super().probability(image) * (NAN if Sometimes.asked <= 4 else 1.0)

    monkeypatch.setattr(validation, "Predictor", Sometimes)
    tiny_training.train(tiny_training.settings(*PLAIN), dataset, tmp_path / "run")
    found = tiny_training.outcome(tmp_path / "run")
    assert found["best_epoch"] > 1
    err = capfd.readouterr().err
    assert "epoch 1: the network's answer is not finite on" in err
    assert "; it cannot be the best" in err
