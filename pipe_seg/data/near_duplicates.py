"""Which frames show the same scene: copies, re-encoded copies, mirrored or turned siblings, near neighbours.

Perceptual hashes do not find siblings that were turned or cropped. Here every frame is a set of SIFT
features; frames that share words of a random vocabulary are candidates (a mirrored feature is the same
numbers in another order); a similarity transform must then explain the matches, and the two frames laid
over each other by it must correlate in the middle of the picture, where no text is burnt in.

Lowe, Distinctive Image Features from Scale-Invariant Keypoints, IJCV 2004; Sivic and Zisserman, Video
Google, ICCV 2003; Arandjelović and Zisserman, Three things everyone should know, CVPR 2012 (RootSIFT).
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from pipe_seg import images
from pipe_seg.progress import Report

SHORT_SIDE_PX = 240
MAX_ASPECT = 8
FEATURES = 150
WORDS = 2048
NEAREST_WORDS = 3
CANDIDATES = 12
MIN_MATCHES = 4
RATIO = 0.81
SCALES = (0.4, 2.5)
SAME = 0.65
SAME_IN_PLACE = 0.8
MIN_OVERLAP = 0.15
ROWS = (0.25, 0.80)
COLUMNS = (0.05, 0.95)
TEXT_ROWS = (0.17, 0.85)

_BINS = np.arange(128).reshape(4, 4, 8)
MIRRORED = _BINS[::-1][:, :, -np.arange(8) % 8].ravel()

Candidate = tuple[int, int, bool, bool]


@dataclass(frozen=True)
class Descriptor:
    """What is kept of a frame: ``points`` (n, 2) px, ``features`` (n, 128), ``picture`` in local contrast."""

    points: np.ndarray
    features: np.ndarray
    picture: np.ndarray
    middle: np.ndarray


@dataclass(frozen=True)
class Pair:
    """Two frames of one scene, by index, ``first`` < ``second``; ``likeness`` is their correlation, 0…1."""

    first: int
    second: int
    likeness: float
    mirrored: bool


def look(data: bytes) -> Descriptor:
    """Give what is kept of an encoded frame.

    Raises:
        ValueError: it cannot be decoded, or is too long and narrow.
    """
    return look_at(images.decode(data, images.GREY_HALF))


def look_at(grey: np.ndarray) -> Descriptor:
    """Give what is kept of a frame's grey picture (height, width) uint8, half its size, as ``look`` does."""
    if max(grey.shape) > MAX_ASPECT * min(grey.shape):
        raise ValueError("too long and narrow to be compared")
    grey = _upright(grey)
    height, width = grey.shape
    inner = np.zeros((height, width), np.uint8)
    inner[int(TEXT_ROWS[0] * height) : int(TEXT_ROWS[1] * height)] = 255
    sift = cv2.SIFT.create(nfeatures=FEATURES, contrastThreshold=0.02)
    points, features = sift.detectAndCompute(grey, inner)
    features = np.zeros((0, 128), np.float32) if features is None else features[:FEATURES]
    rooted = np.sqrt(features / np.maximum(features.sum(1, keepdims=True), 1e-6))
    small = cv2.resize(grey, (round(width / 2), round(height / 2)), interpolation=cv2.INTER_AREA)
    return Descriptor(
        np.array([point.pt for point in points[: len(rooted)]], np.float32).reshape(-1, 2),
        rooted.astype(np.float16),
        _contrast(small),
        _middle(small),
    )


def pairs(looks: Sequence[Descriptor], report: Report = lambda done, total: None) -> list[Pair]:
    """Give the pairs of frames that show the same scene, ordered; every process and order gives the same.

    ``report`` is called with how many candidates were judged, of how many.
    """
    candidates = sorted(_candidates(looks)) if len(looks) > 1 else []
    best: dict[tuple[int, int], Pair] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        judged = pool.map(lambda candidate: _judge(looks, candidate), candidates)
        for done, pair in enumerate(judged, 1):
            if pair:
                place = (pair.first, pair.second)
                best[place] = max(pair, best.get(place, pair), key=lambda found: found.likeness)
            report(done, len(candidates))
    return [best[place] for place in sorted(best)]


def _upright(grey: np.ndarray) -> np.ndarray:
    """Give a frame of a common size, without salt and pepper, in local contrast."""
    scale = SHORT_SIDE_PX / min(grey.shape)
    size = (max(8, round(grey.shape[1] * scale)), max(8, round(grey.shape[0] * scale)))
    smaller = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return np.asarray(cv2.createCLAHE(3, (4, 4)).apply(cv2.medianBlur(smaller, 5)))


def _contrast(grey: np.ndarray) -> np.ndarray:
    """Give brightness against the surroundings, in units of their spread, as int8 sixteenths."""
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0)
    difference = smooth - cv2.GaussianBlur(smooth, (0, 0), 7.0)
    spread = np.sqrt(cv2.GaussianBlur(difference * difference, (0, 0), 7.0)) + 3.0
    return np.clip(np.round(difference / spread * 16), -127, 127).astype(np.int8)


def _middle(grey: np.ndarray) -> np.ndarray:
    """Give 1 where a frame is compared: its middle rows, without the black corners of a turned sibling."""
    height, width = grey.shape
    found = np.zeros((height, width), np.uint8)
    found[int(ROWS[0] * height) : int(ROWS[1] * height), int(COLUMNS[0] * width) : int(COLUMNS[1] * width)] = 1
    lit = np.asarray(cv2.erode((grey > 4).astype(np.uint8), np.ones((5, 5), np.uint8)), np.uint8)
    return np.asarray(found & lit)


def _candidates(looks: Sequence[Descriptor]) -> set[Candidate]:
    """Give pairs worth a closer look: by shared words, and by the whole picture in place; plain and mirrored."""
    words, mirrored = _words(looks)
    thumbs = np.array([_thumb(seen.picture) for seen in looks]).reshape(len(looks), -1)
    flipped = np.array([_thumb(seen.picture[:, ::-1]) for seen in looks]).reshape(len(looks), -1)
    found: set[Candidate] = set()
    for own, others, most, turned, in_place in (
        (words, words, CANDIDATES, False, False),
        (mirrored, words, CANDIDATES, True, False),
        (thumbs, thumbs, 3, False, True),
        (flipped, thumbs, 3, True, True),
    ):
        found |= {(*pair, turned, in_place) for pair in _nearest(own, others, most)}
    return found


def _nearest(own: np.ndarray, others: np.ndarray, most: int) -> set[tuple[int, int]]:
    found = set()
    for start in range(0, len(own), 1024):
        likeness = own[start : start + 1024] @ others.T
        rows = np.arange(len(likeness))
        likeness[rows, start + rows] = -1.0
        nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :most]
        for first, row in enumerate(nearest.tolist(), start):
            found |= {(min(first, second), max(first, second)) for second in row if second != first}
    return found


def _thumb(picture: np.ndarray) -> np.ndarray:
    small = cv2.resize(picture.astype(np.float32), (16, 16), interpolation=cv2.INTER_AREA)
    return np.asarray(small / max(float(np.linalg.norm(small)), 1e-6))


def _words(looks: Sequence[Descriptor]) -> tuple[np.ndarray, np.ndarray]:
    """Give (frames, words) weights of each frame as it is and mirrored, rows of length 1."""
    everything = np.concatenate([np.zeros((0, 128), np.float16), *(seen.features for seen in looks)])
    if not len(everything):
        empty = np.zeros((len(looks), 1), np.float32)
        return empty, empty
    chosen = np.linspace(0, len(everything) - 1, min(WORDS, len(everything))).astype(int)
    vocabulary = everything[np.unique(chosen)].astype(np.float32)
    owner = np.repeat(np.arange(len(looks)), [len(seen.features) for seen in looks])
    plain = _histogram(everything, vocabulary, owner, len(looks))
    mirrored = _histogram(everything[:, MIRRORED], vocabulary, owner, len(looks))
    rare = np.log(len(looks) / (1.0 + (plain > 0).sum(0)))
    return _weighed(plain, rare), _weighed(mirrored, rare)


def _histogram(features: np.ndarray, vocabulary: np.ndarray, owner: np.ndarray, frames: int) -> np.ndarray:
    words = len(vocabulary)
    near = min(NEAREST_WORDS, words)
    total = np.zeros(frames * words, np.float64)
    for start in range(0, len(features), 8192):
        likeness = features[start : start + 8192].astype(np.float32) @ vocabulary.T
        nearest = np.argpartition(-likeness, near - 1, axis=1)[:, :near]
        weight = np.maximum(np.take_along_axis(likeness, nearest, 1) - 0.5, 0) ** 2
        cell = owner[start : start + 8192, None] * words + nearest
        total += np.bincount(cell.ravel(), weight.ravel(), minlength=frames * words)
    return total.reshape(frames, words).astype(np.float32)


def _weighed(histogram: np.ndarray, rare: np.ndarray) -> np.ndarray:
    weighed = np.sqrt(histogram) * np.maximum(rare, 0.0)
    return np.asarray(weighed / np.maximum(np.linalg.norm(weighed, axis=1, keepdims=True), 1e-9), np.float32)


def _judge(looks: Sequence[Descriptor], candidate: Candidate) -> Pair | None:
    """Give the pair if one frame can be laid over the other."""
    first, second, mirrored, in_place = candidate
    one, other = looks[first], looks[second]
    if in_place:
        transform: np.ndarray | None = _in_place(one, other, mirrored=mirrored)
    else:
        transform = _transform(one, other, mirrored=mirrored)
    if transform is None:
        return None
    likeness = _overlaid(one, other, transform, mirrored=mirrored)
    same = likeness >= (SAME_IN_PLACE if in_place else SAME)
    return Pair(first, second, round(likeness, 3), mirrored) if same else None


def _in_place(one: Descriptor, other: Descriptor, *, mirrored: bool) -> np.ndarray:
    """Give the transform of a frame that changed nothing but its size; a mirrored x runs from -width to 0."""
    (height, width), (target_height, target_width) = one.picture.shape, other.picture.shape
    shift = target_width - 1.0 if mirrored else 0.0
    return np.array([[target_width / width, 0.0, shift], [0.0, target_height / height, 0.0]])


def _transform(one: Descriptor, other: Descriptor, *, mirrored: bool) -> np.ndarray | None:
    """Give the similarity transform, in pixels of the small pictures, that most matches agree on."""
    if min(len(one.features), len(other.features)) < MIN_MATCHES:
        return None
    points = one.points * [-1.0, 1.0] if mirrored else one.points
    features = one.features[:, MIRRORED] if mirrored else one.features
    likeness = features.astype(np.float32) @ other.features.astype(np.float32).T
    rows = np.arange(len(likeness))
    nearest = likeness.argmax(1)
    best = likeness[rows, nearest]
    mutual = likeness.argmax(0)[nearest] == rows
    likeness[rows, nearest] = -1.0
    kept = mutual & (1.0 - best < RATIO * (1.0 - likeness.max(1)))
    if kept.sum() < MIN_MATCHES:
        return None
    found, agreed = cv2.estimateAffinePartial2D(
        points[kept].astype(np.float32),
        other.points[nearest[kept]],
        method=cv2.RANSAC,
        ransacReprojThreshold=SHORT_SIDE_PX / 40,
        maxIters=500,
    )
    if found is None or agreed.sum() < MIN_MATCHES or not SCALES[0] < np.hypot(found[0, 0], found[1, 0]) < SCALES[1]:
        return None
    found[:, 2] /= 2.0
    return np.asarray(found)


def _overlaid(one: Descriptor, other: Descriptor, transform: np.ndarray, *, mirrored: bool) -> float:
    """Give the correlation of the two pictures' middles, ``one`` laid over ``other`` by ``transform``."""
    moved = transform.copy()
    if mirrored:
        moved[:, 0] *= -1.0
    size = (other.picture.shape[1], other.picture.shape[0])
    laid = cv2.warpAffine(one.picture.astype(np.float32), moved, size)
    both = (cv2.warpAffine(one.middle, moved, size, flags=cv2.INTER_NEAREST) & other.middle) > 0
    if both.sum() < MIN_OVERLAP * both.size:
        return 0.0
    here, there = laid[both], other.picture[both].astype(np.float32)
    here, there = here - here.mean(), there - there.mean()
    return float(here @ there / max(float(np.sqrt((here @ here) * (there @ there))), 1e-6))
