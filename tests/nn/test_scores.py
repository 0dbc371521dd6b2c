"""Scores in numpy against values computed by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipe_seg.nn import scores
from pipe_seg.nn.scores import Counts, FrameScore
from tests import golden


def frame(truth: np.ndarray, probability: np.ndarray, group: str = "g") -> FrameScore:
    return FrameScore.of(probability.astype(np.float32), truth, "f", group, (0,))


@pytest.mark.parametrize("name", golden.PAIRS)
def test_golden_counts_iou_and_dice(name: str) -> None:
    truth, prediction = golden.PAIRS[name]
    tp, fp, fn, iou, dice = golden.SCORES[name]
    counts = frame(truth, prediction).counts(0.5)
    assert (counts.tp, counts.fp, counts.fn, counts.tn) == (tp, fp, fn, truth.size - tp - fp - fn)
    assert counts.iou == pytest.approx(iou, abs=1e-6, nan_ok=True)
    assert counts.dice == pytest.approx(dice, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("empty", ["skip", "one", "zero"])
def test_the_rule_for_empty_frames_is_a_parameter(empty: scores.Empty) -> None:
    values = [golden.SCORES[name][3] for name in ("A", "B", "C", "D both empty")]
    assert scores.image_mean(values, empty) == pytest.approx(golden.MEAN_IOU_WITH_D[empty], abs=1e-6)


def test_dice_of_a_set_is_not_derived_from_its_iou() -> None:
    values = [golden.SCORES[name][4] for name in ("A", "B", "C")]
    assert scores.image_mean(values) == pytest.approx(golden.MEAN_DICE, abs=1e-6)
    derived = 2 * golden.MEAN_IOU / (1 + golden.MEAN_IOU)
    assert derived == pytest.approx(0.793566, abs=1e-6)
    assert abs(derived - scores.image_mean(values)) > 0.03


def test_counts_add() -> None:
    total = sum((Counts(*golden.SCORES[name][:3]) for name in ("B", "C")), Counts(*golden.SCORES["A"][:3]))
    assert total.iou == pytest.approx(golden.POOLED_IOU)
    assert total.dice == pytest.approx(golden.POOLED_DICE)


@pytest.mark.parametrize(
    ("name", "depth", "value"),
    [
        ("A", 1, 1 / 3),
        ("A", 2, 1 / 3),
        ("C", 1, 1.0),
        ("C", 2, 2 / 3),
        ("G", 1, 0.571429),
        ("G", 2, 1.0),
        ("G", 3, 0.777778),
    ],
)
def test_golden_boundary_iou(name: str, depth: int, value: float) -> None:
    assert scores.boundary_iou(*golden.PAIRS[name], depth) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "tolerance", "value"),
    [
        ("A", 1, 1.0),
        ("A", 0.5, 0.5),
        ("B", 0.5, 1.0),
        ("C", 1, 1.0),
        ("C", 0.5, 0.776666),
        ("G", 1, 0.787214),
        ("G", 2, 1.0),
        ("D both empty", 1, math.nan),
        ("E a claim on a clean frame", 1, 0.0),
        ("F a missed defect", 1, 0.0),
    ],
)
def test_golden_surface_dice(name: str, tolerance: float, value: float) -> None:
    assert scores.surface_dice(*golden.PAIRS[name], tolerance) == pytest.approx(value, abs=1e-6, nan_ok=True)


def test_golden_calibration_error() -> None:
    p, y = np.array([0.9, 0.6, 0.4, 0.2]), np.array([1, 0, 1, 0])
    # bins [.2, .4] and [.6, .9]: |.6 − 1|/4 + |1.5 − 1|/4
    assert scores.calibration_error(p, y, bins=2) == pytest.approx(0.225)


def test_golden_average_precision() -> None:
    score = frame(np.array([[1, 0, 1, 0]]), np.array([[0.9, 0.6, 0.4, 0.2]]))
    assert scores.average_precision([score]) == pytest.approx(0.833333, abs=1e-6)  # 1·½ + ⅔·½


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 999))
def test_a_threshold_counts_what_the_mask_shows(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    near = scores.THRESHOLDS[rng.integers(0, 1001, (4, 200))]
    probability = np.clip(near + rng.choice([-1e-7, 0, 1e-7, 1e-3], (4, 200)), 0, 1).astype(np.float32)
    truth = (rng.random((4, 200)) < 0.5).astype(np.uint8)
    predicted = probability >= scores.THRESHOLDS[k]
    counts = frame(truth, probability).counts(k / 1000)
    assert counts.tp == int((predicted & (truth == 1)).sum())
    assert counts.fp == int((predicted & (truth == 0)).sum())


def test_the_best_threshold_is_found() -> None:
    truth = np.array([[1, 1, 0, 0]])
    threshold = scores.best_threshold([frame(truth, np.array([[0.9, 0.7, 0.4, 0.1]]))])
    assert 0.4 < threshold <= 0.7


def test_intervals_resample_whole_scenes() -> None:
    values = np.array([0.0, 0.0, 1.0, 1.0])
    one_scene_each = scores.bootstrap_interval(values, ["a", "a", "b", "b"], 500, 1, lambda rows: float(rows.mean()))
    assert one_scene_each == (0.0, 1.0)
    same_scene = scores.bootstrap_interval(values, ["a"] * 4, 500, 1, lambda rows: float(rows.mean()))
    assert same_scene == (0.5, 0.5)


def test_the_threshold_of_a_recall_is_the_highest_one_that_reaches_it() -> None:
    """Ten defect pixels at 0.05, 0.15 … 0.95 and ten of background at 0, 0.1 … 0.9."""
    truth = np.array([[1] * 10 + [0] * 10], np.uint8)
    probability = np.array([[0.05 + k / 10 for k in range(10)] + [k / 10 for k in range(10)]])
    frames = [frame(truth, probability)]
    threshold = scores.threshold_of_recall(frames, 0.7)
    assert 0.25 < threshold <= 0.35  # seven are above 0.35 - ε, six above 0.45
    point = scores.operating_point(frames, threshold)
    assert point["recall"] == pytest.approx(0.7)
    assert point["false_positive_rate"] == pytest.approx(0.6)  # 0.4 … 0.9, six of ten: 0.3 is just under the threshold
    assert point["precision"] == pytest.approx(7 / 13)
    assert point["iou"] == pytest.approx(7 / 16)
    assert scores.threshold_of_recall(frames, 1.0) <= 0.05
    assert scores.operating_point([frame(np.zeros((1, 4), np.uint8), np.zeros((1, 4)))], 0.5)["recall"] is None


def test_reliability_lists_each_bin_and_adds_up_to_the_calibration_error() -> None:
    """Golden: two bins, p = (.9, .6, .4, .2), y = (1, 0, 1, 0): |.75 − .5|/2 + |.3 − .5|/2 = 0.225."""
    probability, truth = np.array([0.9, 0.6, 0.4, 0.2]), np.array([1, 0, 1, 0])
    confidence, frequency, share = scores.reliability(probability, truth, 2)
    assert (confidence, frequency, share) == (pytest.approx([0.3, 0.75]), [0.5, 0.5], [0.5, 0.5])
    assert scores.calibration_error(probability, truth, 2) == pytest.approx(0.225)
