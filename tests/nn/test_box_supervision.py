"""What a label pays for: told pixels, and what a loose box says of its inside."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from pipe_seg.config import Bce, BceDice, SupervisionSection
from pipe_seg.nn import losses
from pipe_seg.nn.box_supervision import BoxSupervisionLoss

SIZE = 32
SURE = 12.0


def target(*boxes: tuple[float, ...], told: np.ndarray | None = None, mask: np.ndarray | None = None) -> dict[str, Any]:
    """One frame: its mask, what of it is told, and boxes (left, top, right, bottom, share)."""
    mask = np.zeros((SIZE, SIZE)) if mask is None else mask
    told = np.ones((SIZE, SIZE)) if told is None else told
    rows = np.zeros((8, 5), np.float32)
    rows[: len(boxes)] = boxes or np.zeros((0, 5))
    return {"mask": np.stack([mask * told, told], -1)[None].astype(np.uint8), "boxes": rows[None], "weight": np.ones(1)}


def answer(*claims: tuple[slice, slice], sure: float = SURE) -> np.ndarray:
    """Logits that claim some rectangles (rows, columns) and nothing else."""
    logits = np.full((1, SIZE, SIZE, 1), -sure, np.float32)
    for rows, columns in claims:
        logits[0, rows, columns] = sure
    return logits


def cost(told: dict[str, Any], logits: np.ndarray, **section: object) -> float:
    loss = BoxSupervisionLoss(SupervisionSection.model_validate(section), losses.build(Bce()))
    return float(loss({name: tf.constant(value) for name, value in told.items()}, tf.constant(logits))[0])


def outside(box: tuple[int, int, int, int]) -> np.ndarray:
    told = np.ones((SIZE, SIZE))
    left, top, right, bottom = box
    told[top:bottom, left:right] = 0
    return told


BOX = (8, 8, 24, 24)
BAR = (slice(8, 24), slice(12, 16))  # a quarter of the box, meeting every row and four of sixteen columns
CROSS = (BAR, (slice(12, 14), slice(8, 24)))  # 4*16 + 2*16 - 2*4 = 88 of 256 pixels, meeting every row and column


def test_without_boxes_it_is_the_criterion() -> None:
    rng = np.random.default_rng(1)
    mask, logits = rng.random((SIZE, SIZE)) < 0.3, rng.normal(size=(1, SIZE, SIZE, 1)).astype(np.float32)
    plain = losses.build(BceDice())
    routed = BoxSupervisionLoss(SupervisionSection(), plain)
    told = target(mask=mask)
    np.testing.assert_allclose(routed(told, logits), plain.call(told["mask"], logits), rtol=1e-6)


def test_a_defect_that_meets_every_row_and_column_with_the_usual_share_costs_nothing() -> None:
    told = target((*BOX, 88 / 256), told=outside(BOX))
    assert cost(told, answer(*CROSS)) < 1e-3


def test_a_row_or_column_without_a_claim_costs() -> None:
    """Of the sixteen columns twelve are missed, each −ln p ≈ 12; half of the mean is that of the columns: 4.5."""
    told = target((*BOX, 0.25), told=outside(BOX))
    missed = cost(told, answer(BAR), fill_weight=0)
    assert missed == pytest.approx(0.5 * SURE * 12 / 16, rel=0.05)
    assert missed > 100 * cost(told, answer(*CROSS), fill_weight=0)


def test_the_likeliest_pixels_are_pushed_up_and_the_least_likely_down_by_the_usual_share() -> None:
    """A ramp from left to right: 0.25 · 0.8 = 3.2 columns of 16 go up, all but 0.25 · 1.2 = 4.8 go down."""
    told = target((*BOX, 0.25), told=outside(BOX))
    logits = answer(sure=2.0)
    logits[0, 8:24, 8:24, 0] = np.linspace(-1, 1, 16)
    variable = tf.Variable(logits)
    section = SupervisionSection(tightness_weight=0, fill_tolerance=0.2)
    loss = BoxSupervisionLoss(section, losses.build(Bce()))
    with tf.GradientTape() as tape:
        value = loss({name: tf.constant(v) for name, v in told.items()}, variable)
    direction = np.sign(-tape.gradient(value, variable).numpy()[0, 16, 8:24, 0])
    half = direction.reshape(8, 2).mean(1)  # the terms see pairs of columns: 1.6 go up, all but 2.4 of 8 down
    np.testing.assert_array_equal(half, [-1, -1, -1, -1, -1, -1, 0, 1])


@pytest.mark.parametrize(
    ("share", "up"),
    [
        (0.2, [[7, 3], [3, 7]]),  # of 64 cells 12.8: 8 are nearest to the midline at 0.93, the next 12 are too many
        (0.5, [[1, 1], [1, 3], [3, 1], [3, 3], [1, 5], [5, 1], [3, 5], [5, 3]]),  # 32 of 64: a disc
    ],
)
def test_where_nothing_is_likelier_the_shape_prior_decides(share: float, up: list[list[int]]) -> None:
    """The terms see 8 × 8 cells of the box, whose centres lie 1, 3, 5 and 7 eighths of half a side from its middle."""
    told = target((*BOX, share), told=outside(BOX))
    logits = tf.Variable(answer(sure=0.0))
    section = SupervisionSection(tightness_weight=0, fill_tolerance=0, shape_prior_weight=2)
    loss = BoxSupervisionLoss(section, losses.build(Bce()))
    with tf.GradientTape() as tape:
        value = loss({name: tf.constant(v) for name, v in told.items()}, logits)
    assert float(value[0]) == pytest.approx(2 * np.log(2), rel=1e-5)
    pushed = -tape.gradient(value, logits).numpy()[0, 8:24, 8:24, 0]
    eighths = np.abs(np.arange(-7, 8, 2))
    expected = [[1 if [y, x] in up else -1 for x in eighths] for y in eighths]
    np.testing.assert_array_equal(np.sign(pushed), np.kron(expected, np.ones((2, 2))))


def test_what_the_network_is_sure_of_outweighs_the_shape_prior() -> None:
    told = target((*BOX, 88 / 256), told=outside(BOX))
    assert cost(told, answer(*CROSS), shape_prior_weight=2) < 1e-3


def test_the_weight_of_a_frame_is_a_factor() -> None:
    told = target((*BOX, 0.25), told=outside(BOX))
    heavy = {**told, "weight": np.array([3.0])}
    assert cost(heavy, answer(BAR)) == pytest.approx(3 * cost(told, answer(BAR)), rel=1e-5)


def test_terms_are_the_mean_over_the_boxes_of_a_frame() -> None:
    far = (26, 26, 30, 30, 0.5)
    one = cost(target((*BOX, 0.25), told=outside(BOX)), answer(BAR))
    both = cost(
        target((*BOX, 0.25), far, told=outside(BOX)), answer(BAR, (slice(26, 30), slice(26, 28))), fill_weight=0
    )
    alone = cost(target(far, told=outside(BOX)), answer((slice(26, 30), slice(26, 28))), fill_weight=0)
    missed = cost(target((*BOX, 0.25), told=outside(BOX)), answer(BAR), fill_weight=0)
    stray = 4 * 2 * SURE / outside(BOX).sum()  # what the second claim costs as told background
    assert both - stray == pytest.approx((missed + alone - stray) / 2, rel=0.05)
    assert one >= missed


def test_lines_that_the_frame_cuts_short_are_not_asked_for() -> None:
    """The box begins left of the frame: a row may have met its defect there, a column has not."""
    cut = (-16, 8, 8, 24)
    told = target((*cut, 0.2), told=outside((0, 8, 8, 24)))
    column = (slice(10, 12), slice(0, 8))
    assert cost(told, answer(column), fill_weight=0) < 1e-3
    assert cost(told, answer((slice(8, 24), slice(0, 2))), fill_weight=0) > 1.0


def test_untold_pixels_have_no_gradient_and_told_ones_have() -> None:
    told = np.zeros((SIZE, SIZE))
    told[:, :16] = 1
    logits = tf.Variable(answer(sure=1.0))
    loss = BoxSupervisionLoss(SupervisionSection(), losses.build(BceDice()))
    with tf.GradientTape() as tape:
        value = loss({name: tf.constant(v) for name, v in target(told=told).items()}, logits)
    gradient = tape.gradient(value, logits).numpy()[0, ..., 0]
    assert (gradient[:, 16:] == 0).all()
    assert (gradient[:, :16] != 0).all()


def test_every_term_pushes_the_right_way() -> None:
    """In an undecided box: up, where a line is missed; down, where too much is claimed."""
    loss = BoxSupervisionLoss(SupervisionSection(), losses.build(Bce()))
    told = {name: tf.constant(v) for name, v in target((*BOX, 0.2), told=outside(BOX)).items()}
    for sure, sign in ((6.0, -1), (-6.0, 1)):
        logits = tf.Variable(answer(sure=sure))
        with tf.GradientTape() as tape:
            value = loss(told, logits)
        inside = tape.gradient(value, logits).numpy()[0, 8:24, 8:24, 0]
        assert np.sign(inside.sum()) == sign


def seen(*spots: tuple[slice, slice]) -> np.ndarray:
    """A grey frame with white spots (rows, columns)."""
    frame = np.full((1, SIZE, SIZE, 3), 90, np.uint8)
    for rows, columns in spots:
        frame[0, rows, columns] = 250
    return frame


def affinity(told: dict[str, Any], logits: np.ndarray, frame: np.ndarray) -> float:
    return cost(told | {"plain": frame}, logits, tightness_weight=0, fill_weight=0, affinity_weight=1)


def test_neighbours_of_one_colour_are_of_one_kind() -> None:
    """Two columns of two pixels, seen at half the size, logits 2 and −2: of six pairs four differ."""
    told = target((0, 0, 4, 4, 0.5))
    told["mask"] = np.zeros((1, 4, 4, 2), np.uint8)
    logits = np.full((1, 4, 4, 1), 2.0, np.float32)
    logits[0, :, 2:] = -2.0
    p = 1 / (1 + np.exp(-2.0))
    differ, same = -np.log(2 * p * (1 - p)), -np.log(p * p + (1 - p) * (1 - p))
    assert affinity(told, logits, seen()[:, :4, :4]) == pytest.approx((4 * differ + 2 * same) / 6, rel=1e-5)
    told["boxes"][..., 4] = 0
    assert affinity(told, logits, seen()[:, :4, :4]) == 0


def test_an_edge_costs_little_where_the_colour_changes_and_much_where_it_does_not() -> None:
    told = target((*BOX, 0.25), told=np.zeros((SIZE, SIZE)))
    square, beside = (slice(12, 20), slice(12, 20)), (slice(12, 20), slice(8, 16))
    right, wrong = (affinity(told, answer(claim), seen(square)) for claim in (square, beside))
    assert 0 < right < 0.1 * wrong
    assert affinity(told, answer(), seen(square)) < 1e-4  # all of one kind: what says otherwise are the other terms
    assert affinity(told, answer(), seen()) < 1e-4  # one colour everywhere: no difference to measure by


def test_what_looks_like_what_lies_outside_a_box_is_pulled_to_it() -> None:
    told = target((*BOX, 0.25), told=np.zeros((SIZE, SIZE)))
    logits = answer()
    logits[0, 8:24, 8:24] = 1.0
    logits = tf.Variable(logits)
    loss = BoxSupervisionLoss(
        SupervisionSection(tightness_weight=0, fill_weight=0, affinity_weight=1), losses.build(Bce())
    )
    with tf.GradientTape() as tape:
        value = loss({name: tf.constant(v) for name, v in (told | {"plain": seen()}).items()}, logits)
    gradient = tape.gradient(value, logits).numpy()[0, ..., 0]
    assert gradient[8:10, 8:24].min() > 0  # down, at the box's edge
    assert gradient[12:20, 12:20].max() < 0  # up, within
    assert (gradient[:4] == 0).all()
