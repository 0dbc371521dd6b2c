"""Rendered frames: repeatable, with boxes as loose as real ones."""

import hashlib
from functools import cache

import cv2
import numpy as np
import pytest

from pipe_seg.annotations import raster
from pipe_seg.data import synthetic
from pipe_seg.schema import CLASS_NAMES, Annotation

# Median share of the frame that a box takes in real frames, by class.
REAL_BOX_AREA = dict(zip(CLASS_NAMES, (0.054, 0.149, 0.056, 0.430, 0.182, 0.464), strict=True))
FILL = {"deformation": (0.5, 0.8), "obstacle": (0.2, 0.7), "rupture": (0.5, 0.8), "deposition": (0.5, 0.85)}
FILL |= {"disconnect": (0.09, 0.20), "misalignment": (0.09, 0.20)}
FRAMES = 700


@cache
def frames() -> list[synthetic.RenderedFrame]:
    return [synthetic.render(11, index, 0) for index in range(FRAMES)]


def filled(frame: synthetic.RenderedFrame) -> np.ndarray:
    return raster.rasterise(Annotation(frame.boxes), *frame.mask.shape)


def alone(name: str) -> list[synthetic.RenderedFrame]:
    label = CLASS_NAMES.index(name)
    return [f for f in frames() if f.labels == (label,) and len(f.boxes) == 1 and f.boxes[0].label == label]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def test_the_same_numbers_give_the_same_bytes() -> None:
    first, second = synthetic.render(3, 7, 1), synthetic.render(3, 7, 1)
    assert first.jpeg == second.jpeg
    assert synthetic.render(3, 7, 0).jpeg != first.jpeg
    assert synthetic.render(4, 7, 1).jpeg != first.jpeg


def test_pixels_and_masks_are_those_of_every_machine() -> None:
    total = hashlib.sha256()
    for index in range(12):
        frame = synthetic.render(2, index, index % 2)
        total.update(
            frame.mask.tobytes() + repr([np.round((b.x_min, b.y_max), 9).tolist() for b in frame.boxes]).encode()
        )
        total.update(frame.image.tobytes())
    assert total.hexdigest() == "bc9d604b540d22d5bc70f06eabbf942fa49f68a29296aa59ac0d7796a477e9cc"


def test_shots_of_one_pipe_share_a_group() -> None:
    assert (
        synthetic.render(1, 4, 0).group_id == synthetic.render(1, 4, 1).group_id != synthetic.render(1, 5, 0).group_id
    )


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_boxes_are_as_large_as_real_ones(name: str) -> None:
    label = CLASS_NAMES.index(name)
    areas = [(b.x_max - b.x_min) * (b.y_max - b.y_min) for f in frames() for b in f.boxes if b.label == label]
    assert len(areas) > 50
    assert np.median(areas) == pytest.approx(REAL_BOX_AREA[name], rel=0.2)


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_boxes_are_filled_as_real_ones_are(name: str) -> None:
    low, high = FILL[name]
    fill = np.median([(filled(f) & f.mask).sum() / filled(f).sum() for f in alone(name)])
    assert low <= fill <= high


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_boxes_do_not_hold_the_whole_defect(name: str) -> None:
    inside = [(filled(f) & f.mask).sum() / f.mask.sum() for f in alone(name)]
    low = 0.65 if name == "deformation" else 0.75
    assert low <= np.mean(inside) < 1.0


def test_filled_boxes_score_between_45_and_55() -> None:
    scores = [iou(filled(frame), frame.mask) for frame in frames() if frame.mask.any()]
    assert 0.45 <= np.mean(scores) <= 0.55


def test_most_frames_hold_one_box_and_some_are_clean() -> None:
    numbers = np.bincount([len(frame.boxes) for frame in frames()]) / FRAMES
    assert 0.6 < numbers[1] < 0.85
    assert 0.1 < numbers[2:].sum() < 0.3
    assert 0.02 < np.mean([not frame.mask.any() for frame in frames()]) < 0.12


def test_brightness_alone_does_not_find_defects() -> None:
    scores = []
    for frame in frames()[:200]:
        grey = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)
        dark = (cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)[1]).astype(np.uint8)
        if frame.mask.any():
            scores.append((iou(dark, frame.mask), iou(1 - dark, frame.mask)))
    assert np.mean(scores, axis=0).max() < 0.35


def test_frames_look_like_real_ones_in_light_and_contrast() -> None:
    greys = [cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY) for frame in frames()]
    assert 85 < np.median([grey.mean() for grey in greys]) < 130  # real: 106
    assert 35 < np.median([grey.std() for grey in greys]) < 65  # real: 51
