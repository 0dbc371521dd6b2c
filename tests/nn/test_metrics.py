"""Keras metrics against masks counted by hand."""

import math

import numpy as np
import pytest

from pipe_seg.nn import metrics
from tests import golden


def pair(name: str) -> tuple[np.ndarray, np.ndarray]:
    truth, predicted = (mask[None, ..., None].astype(np.float32) for mask in golden.PAIRS[name])
    return truth, np.where(predicted, np.float32(5.0), np.float32(-5.0))


@pytest.mark.parametrize("name", golden.PAIRS)
def test_counts_of_one_image(name: str) -> None:
    tp, fp, fn, *_ = golden.SCORES[name]
    assert [float(x[0]) for x in metrics.image_counts(*pair(name))] == [tp, fp, fn]


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        (metrics.IoU, golden.MEAN_IOU),
        (metrics.Dice, golden.MEAN_DICE),
        (metrics.PooledIoU, golden.POOLED_IOU),
        (metrics.PooledDice, golden.POOLED_DICE),
    ],
)
@pytest.mark.parametrize("batches", [[("A",), ("B",), ("C",)], [("A", "B"), ("C",)], [("B", "C"), ("A",)]])
def test_a_score_does_not_depend_on_the_batches(metric: type, value: float, batches: list[tuple[str, ...]]) -> None:
    counted = metric()
    for names in batches:
        truths, logits = zip(*map(pair, names), strict=True)
        counted.update_state(np.concatenate(truths), np.concatenate(logits))
    assert float(counted.result()) == pytest.approx(value, abs=1e-6)


def score(*names: str) -> float:
    counted = metrics.IoU()
    for name in names:
        counted.update_state(*pair(name))
    return float(counted.result())


def test_both_empty_is_skipped() -> None:
    assert score("A", "B", "C", "D both empty") == pytest.approx(golden.MEAN_IOU, abs=1e-6)


def test_a_false_positive_on_a_clean_frame_scores_zero() -> None:
    assert score("B", "E a claim on a clean frame") == pytest.approx(0.5)


def test_a_missed_defect_scores_zero() -> None:
    assert score("B", "F a missed defect") == pytest.approx(0.5)


def test_a_tie_is_predicted_positive() -> None:
    truth = np.array([[1, 1], [0, 0]], np.float32)[None, ..., None]
    counted = metrics.IoU()
    counted.update_state(truth, np.zeros_like(truth))  # p = 0.5 everywhere: all positive, 2/4
    assert float(counted.result()) == pytest.approx(0.5)


def test_the_threshold_is_one_of_probability() -> None:
    p = np.array([0.29, 0.31], np.float64)
    logits = np.log(p / (1 - p)).reshape(1, 1, 2, 1).astype(np.float32)
    tp, fp, fn = metrics.image_counts(np.ones((1, 1, 2, 1), np.float32), logits, threshold=0.3)
    assert [float(tp[0]), float(fp[0]), float(fn[0])] == [1, 0, 1]


def test_padding_is_not_counted() -> None:
    truth, logits = pair("A")
    counted = np.zeros_like(truth)
    assert [float(x[0]) for x in metrics.image_counts(np.concatenate([truth, counted], -1), logits)] == [0, 0, 0]


def test_without_updates_the_result_is_zero_not_nan() -> None:
    assert not math.isnan(float(metrics.IoU().result()))
