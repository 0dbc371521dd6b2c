"""The loss of labelled pixels and the terms of loose boxes."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from pipe_seg.config import Bce, BceDice, SupervisionSection
from pipe_seg.nn import losses
from pipe_seg.nn.box_supervision import BoxSupervisionLoss

SIZE = 32
SURE = 12.0


def target(*boxes: Any, valid: np.ndarray | None = None, mask: np.ndarray | None = None) -> dict[str, Any]:
    """Returns the target of one frame: mask, labelled pixels, boxes (left, top, right, bottom, fill rate)."""
    mask, valid = (
        (np.zeros((SIZE, SIZE)) if mask is None else mask),
        (np.ones((SIZE, SIZE)) if valid is None else valid),
    )
    rows = np.zeros((8, 5), np.float32)
    rows[: len(boxes)] = boxes or np.zeros((0, 5))
    channels = np.stack([mask * valid, valid], -1).astype(np.uint8)
    return {"mask": channels[None], "boxes": rows[None], "weight": np.ones(1)}


def logits_of(*rectangles: tuple[slice, slice], sure: float = SURE) -> np.ndarray:
    """Returns logits that predict some rectangles (rows, columns) and nothing else."""
    logits = np.full((1, SIZE, SIZE, 1), -sure, np.float32)
    for rows, columns in rectangles:
        logits[0, rows, columns] = sure
    return logits


def loss_of(example: dict[str, Any], logits: np.ndarray, **section: object) -> float:
    loss = BoxSupervisionLoss(SupervisionSection.model_validate(section), losses.build(Bce()))
    return float(loss({name: tf.constant(value) for name, value in example.items()}, tf.constant(logits))[0])


def outside(box: tuple[int, int, int, int]) -> np.ndarray:
    valid = np.ones((SIZE, SIZE))
    left, top, right, bottom = box
    valid[top:bottom, left:right] = 0
    return valid


BOX = (8, 8, 24, 24)
BAR = (slice(8, 24), slice(12, 16))  # a quarter of the box: every row, four of sixteen columns
CROSS = (BAR, (slice(12, 14), slice(8, 24)))  # 4*16 + 2*16 - 2*4 = 88 of 256 pixels: every row and column


def test_without_boxes_it_is_the_criterion() -> None:
    rng = np.random.default_rng(1)
    mask, logits = rng.random((SIZE, SIZE)) < 0.3, rng.normal(size=(1, SIZE, SIZE, 1)).astype(np.float32)
    plain = losses.build(BceDice())
    routed = BoxSupervisionLoss(SupervisionSection(), plain)
    example = target(mask=mask)
    np.testing.assert_allclose(routed(example, logits), plain.call(example["mask"], logits), rtol=1e-6)


def test_a_defect_in_every_row_and_column_with_the_expected_fill_rate_costs_nothing() -> None:
    example = target((*BOX, 88 / 256), valid=outside(BOX))
    assert loss_of(example, logits_of(*CROSS)) < 1e-3


def test_a_row_or_column_without_a_prediction_costs() -> None:
    """Twelve of sixteen columns are missed, each −ln p ≈ 12; columns are half of the term: 4.5."""
    example = target((*BOX, 0.25), valid=outside(BOX))
    missed = loss_of(example, logits_of(BAR), fill_weight=0)
    assert missed == pytest.approx(0.5 * SURE * 12 / 16, rel=0.05)
    assert missed > 100 * loss_of(example, logits_of(*CROSS), fill_weight=0)


def test_the_likeliest_pixels_are_pushed_up_and_the_least_likely_down_by_the_fill_rate() -> None:
    """A ramp from left to right: 0.25 · 0.8 = 3.2 columns of 16 go up, all but 0.25 · 1.2 = 4.8 go down."""
    example = target((*BOX, 0.25), valid=outside(BOX))
    logits = logits_of(sure=2.0)
    logits[0, 8:24, 8:24, 0] = np.linspace(-1, 1, 16)
    variable = tf.Variable(logits)
    section = SupervisionSection(tightness_weight=0, fill_tolerance=0.2)
    loss = BoxSupervisionLoss(section, losses.build(Bce()))
    with tf.GradientTape() as tape:
        value = loss({name: tf.constant(v) for name, v in example.items()}, variable)
    direction = np.sign(-tape.gradient(value, variable).numpy()[0, 16, 8:24, 0])
    half = direction.reshape(8, 2).mean(1)  # at half size, pairs of columns: 1.6 go up, all but 2.4 of 8 down
    np.testing.assert_array_equal(half, [-1, -1, -1, -1, -1, -1, 0, 1])


@pytest.mark.parametrize(
    ("share", "up"),
    [
        (0.2, [[7, 3], [3, 7]]),  # 12.8 of 64 cells: 8 are nearest to the midline at 0.93, 12 more are too many
        (0.5, [[1, 1], [1, 3], [3, 1], [3, 3], [1, 5], [5, 1], [3, 5], [5, 3]]),  # 32 of 64: a disc
    ],
)
def test_the_shape_prior_ranks_pixels_of_equal_logits(share: float, up: list[list[int]]) -> None:
    """At half size the box has 8 × 8 cells; their centres lie 1, 3, 5 and 7 eighths of half a side from its middle."""
    example = target((*BOX, share), valid=outside(BOX))
    logits = tf.Variable(logits_of(sure=0.0))
    section = SupervisionSection(tightness_weight=0, fill_tolerance=0, shape_prior_weight=2)
    loss = BoxSupervisionLoss(section, losses.build(Bce()))
    with tf.GradientTape() as tape:
        value = loss({name: tf.constant(v) for name, v in example.items()}, logits)
    assert float(value[0]) == pytest.approx(2 * np.log(2), rel=1e-5)
    direction = -tape.gradient(value, logits).numpy()[0, 8:24, 8:24, 0]
    eighths = np.abs(np.arange(-7, 8, 2))
    expected = [[1 if [y, x] in up else -1 for x in eighths] for y in eighths]
    np.testing.assert_array_equal(np.sign(direction), np.kron(expected, np.ones((2, 2))))


def test_confident_logits_outweigh_the_shape_prior() -> None:
    example = target((*BOX, 88 / 256), valid=outside(BOX))
    assert loss_of(example, logits_of(*CROSS), shape_prior_weight=2) < 1e-3


def test_the_weight_of_a_frame_is_a_factor() -> None:
    example = target((*BOX, 0.25), valid=outside(BOX))
    heavy = {**example, "weight": np.array([3.0])}
    assert loss_of(heavy, logits_of(BAR)) == pytest.approx(3 * loss_of(example, logits_of(BAR)), rel=1e-5)


def test_terms_are_the_mean_over_the_boxes_of_a_frame() -> None:
    far = (26, 26, 30, 30, 0.5)
    one = loss_of(target((*BOX, 0.25), valid=outside(BOX)), logits_of(BAR))
    both = loss_of(
        target((*BOX, 0.25), far, valid=outside(BOX)), logits_of(BAR, (slice(26, 30), slice(26, 28))), fill_weight=0
    )
    alone = loss_of(target(far, valid=outside(BOX)), logits_of((slice(26, 30), slice(26, 28))), fill_weight=0)
    missed = loss_of(target((*BOX, 0.25), valid=outside(BOX)), logits_of(BAR), fill_weight=0)
    false_positive = 4 * 2 * SURE / outside(BOX).sum()  # the second prediction on labelled background
    assert both - false_positive == pytest.approx((missed + alone - false_positive) / 2, rel=0.05)
    assert one >= missed


def test_lines_clipped_by_the_frame_do_not_enter_the_tightness_term() -> None:
    """The box begins left of the frame, where its rows may contain the defect; its columns lie inside."""
    cut = (-16, 8, 8, 24)
    example = target((*cut, 0.2), valid=outside((0, 8, 8, 24)))
    column = (slice(10, 12), slice(0, 8))
    assert loss_of(example, logits_of(column), fill_weight=0) < 1e-3
    assert loss_of(example, logits_of((slice(8, 24), slice(0, 2))), fill_weight=0) > 1.0


def test_ignored_pixels_have_no_gradient_and_labelled_ones_have() -> None:
    valid = np.zeros((SIZE, SIZE))
    valid[:, :16] = 1
    logits = tf.Variable(logits_of(sure=1.0))
    loss = BoxSupervisionLoss(SupervisionSection(), losses.build(BceDice()))
    with tf.GradientTape() as tape:
        value = loss({name: tf.constant(v) for name, v in target(valid=valid).items()}, logits)
    gradient = tape.gradient(value, logits).numpy()[0, ..., 0]
    assert (gradient[:, 16:] == 0).all()
    assert (gradient[:, :16] != 0).all()


def test_every_term_pushes_the_right_way() -> None:
    """In a loose box: up where a line is missed, down where too much is predicted."""
    loss = BoxSupervisionLoss(SupervisionSection(), losses.build(Bce()))
    example = {name: tf.constant(v) for name, v in target((*BOX, 0.2), valid=outside(BOX)).items()}
    for sure, sign in ((6.0, -1), (-6.0, 1)):
        logits = tf.Variable(logits_of(sure=sure))
        with tf.GradientTape() as tape:
            value = loss(example, logits)
        inside = tape.gradient(value, logits).numpy()[0, 8:24, 8:24, 0]
        assert np.sign(inside.sum()) == sign
