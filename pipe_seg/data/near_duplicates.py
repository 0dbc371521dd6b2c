"""Frames of the same scene: copies, re-encoded copies, mirrored or turned siblings, neighbours.

Perceptual hashes do not find siblings that were turned or cropped. Here every frame is a set of SIFT features. Frames
that share words of a random vocabulary are candidates; a mirrored feature is a permutation of its numbers. A pair needs
a similarity transform that explains the matches, and the two frames aligned by it must correlate in the middle rows,
where no text is burnt in.

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
from pipe_seg.progress import OnProgress

SHORT_SIDE_PX = 240
MAX_ASPECT = 8
FEATURES = 150
WORDS = 2048
NEAREST_WORDS = 3
CANDIDATES = 12
MIN_MATCHES = 4
RATIO = 0.81
SCALES = (0.4, 2.5)
MIN_CORRELATION = 0.65
MIN_CORRELATION_ALIGNED = 0.8
MIN_OVERLAP = 0.15
ROWS = (0.25, 0.80)
COLUMNS = (0.05, 0.95)
TEXT_ROWS = (0.17, 0.85)

_BINS = np.arange(128).reshape(4, 4, 8)
MIRRORED = _BINS[::-1][:, :, -np.arange(8) % 8].ravel()

Candidate = tuple[int, int, bool, bool]


@dataclass(frozen=True)
class Descriptor:
    """Features of a frame: ``points`` `(n, 2)` px, ``features`` `(n, 128)`, local-contrast ``picture``."""

    points: np.ndarray
    features: np.ndarray
    picture: np.ndarray
    middle: np.ndarray


@dataclass(frozen=True)
class Pair:
    """Two frames of one scene by index, ``first`` < ``second``; ``likeness`` is their correlation, 0…1."""

    first: int
    second: int
    likeness: float
    mirrored: bool


def descriptor_of_bytes(data: bytes) -> Descriptor:
    """Returns the descriptor of an encoded frame.

    Raises:
        ValueError: the frame cannot be decoded, or is too long and narrow.
    """
    return descriptor_of_pixels(images.decode(data, images.GREY_HALF))


def descriptor_of_pixels(grey: np.ndarray) -> Descriptor:
    """Returns the descriptor of a frame's grey picture `(height, width)` uint8 at half its size."""
    if max(grey.shape) > MAX_ASPECT * min(grey.shape):
        raise ValueError("too long and narrow to be compared")
    grey = _normalised(grey)
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
        _local_contrast(small),
        _comparison_mask(small),
    )


def pairs(descriptors: Sequence[Descriptor], on_progress: OnProgress = lambda done, total: None) -> list[Pair]:
    """Returns the pairs of frames that show the same scene, sorted and deterministic.

    ``on_progress`` receives the number of verified candidates and of all candidates.
    """
    candidates = sorted(_candidates(descriptors)) if len(descriptors) > 1 else []
    best: dict[tuple[int, int], Pair] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        verified = pool.map(lambda candidate: _verify(descriptors, candidate), candidates)
        for done, pair in enumerate(verified, 1):
            if pair:
                key = (pair.first, pair.second)
                best[key] = max(pair, best.get(key, pair), key=lambda pair: pair.likeness)
            on_progress(done, len(candidates))
    return [best[key] for key in sorted(best)]


def _normalised(grey: np.ndarray) -> np.ndarray:
    """Returns the frame at a common size, without salt-and-pepper noise, in local contrast."""
    scale = SHORT_SIDE_PX / min(grey.shape)
    size = (max(8, round(grey.shape[1] * scale)), max(8, round(grey.shape[0] * scale)))
    smaller = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return np.asarray(cv2.createCLAHE(3, (4, 4)).apply(cv2.medianBlur(smaller, 5)))


def _local_contrast(grey: np.ndarray) -> np.ndarray:
    """Returns brightness minus its surroundings, in units of their spread, as int8 sixteenths."""
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0)
    difference = smooth - cv2.GaussianBlur(smooth, (0, 0), 7.0)
    spread = np.sqrt(cv2.GaussianBlur(difference * difference, (0, 0), 7.0)) + 3.0
    return np.clip(np.round(difference / spread * 16), -127, 127).astype(np.int8)


def _comparison_mask(grey: np.ndarray) -> np.ndarray:
    """Returns 1 where frames are compared: the middle rows, without the black corners of a turned frame."""
    height, width = grey.shape
    mask = np.zeros((height, width), np.uint8)
    mask[int(ROWS[0] * height) : int(ROWS[1] * height), int(COLUMNS[0] * width) : int(COLUMNS[1] * width)] = 1
    lit = np.asarray(cv2.erode((grey > 4).astype(np.uint8), np.ones((5, 5), np.uint8)), np.uint8)
    return np.asarray(mask & lit)


def _candidates(descriptors: Sequence[Descriptor]) -> set[Candidate]:
    """Returns pairs to verify, by shared words and by aligned thumbnails, plain and mirrored."""
    words, mirrored = _words(descriptors)
    thumbnails = np.array([_thumbnail(descriptor.picture) for descriptor in descriptors]).reshape(len(descriptors), -1)
    flipped = np.array([_thumbnail(descriptor.picture[:, ::-1]) for descriptor in descriptors]).reshape(
        len(descriptors), -1
    )
    candidates: set[Candidate] = set()
    for queries, targets, limit, is_mirrored, aligned in (
        (words, words, CANDIDATES, False, False),
        (mirrored, words, CANDIDATES, True, False),
        (thumbnails, thumbnails, 3, False, True),
        (flipped, thumbnails, 3, True, True),
    ):
        candidates |= {(*pair, is_mirrored, aligned) for pair in _nearest(queries, targets, limit)}
    return candidates


def _nearest(queries: np.ndarray, targets: np.ndarray, limit: int) -> set[tuple[int, int]]:
    indices = set()
    for start in range(0, len(queries), 1024):
        similarity = queries[start : start + 1024] @ targets.T
        rows = np.arange(len(similarity))
        similarity[rows, start + rows] = -1.0
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :limit]
        for first, row in enumerate(nearest.tolist(), start):
            indices |= {(min(first, second), max(first, second)) for second in row if second != first}
    return indices


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    small = cv2.resize(picture.astype(np.float32), (16, 16), interpolation=cv2.INTER_AREA)
    return np.asarray(small / max(float(np.linalg.norm(small)), 1e-6))


def _words(descriptors: Sequence[Descriptor]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the `(frames, words)` weights of plain and mirrored frames, rows of length 1."""
    features = np.concatenate([np.zeros((0, 128), np.float16), *(descriptor.features for descriptor in descriptors)])
    if not len(features):
        empty = np.zeros((len(descriptors), 1), np.float32)
        return empty, empty
    chosen = np.linspace(0, len(features) - 1, min(WORDS, len(features))).astype(int)
    vocabulary = features[np.unique(chosen)].astype(np.float32)
    owner = np.repeat(np.arange(len(descriptors)), [len(descriptor.features) for descriptor in descriptors])
    plain = _histogram(features, vocabulary, owner, len(descriptors))
    mirrored = _histogram(features[:, MIRRORED], vocabulary, owner, len(descriptors))
    idf = np.log(len(descriptors) / (1.0 + (plain > 0).sum(0)))
    return _weighted(plain, idf), _weighted(mirrored, idf)


def _histogram(features: np.ndarray, vocabulary: np.ndarray, owner: np.ndarray, frames: int) -> np.ndarray:
    words = len(vocabulary)
    nearest_count = min(NEAREST_WORDS, words)
    total = np.zeros(frames * words, np.float64)
    for start in range(0, len(features), 8192):
        similarity = features[start : start + 8192].astype(np.float32) @ vocabulary.T
        nearest = np.argpartition(-similarity, nearest_count - 1, axis=1)[:, :nearest_count]
        weight = np.maximum(np.take_along_axis(similarity, nearest, 1) - 0.5, 0) ** 2
        cell = owner[start : start + 8192, None] * words + nearest
        total += np.bincount(cell.ravel(), weight.ravel(), minlength=frames * words)
    return total.reshape(frames, words).astype(np.float32)


def _weighted(histogram: np.ndarray, idf: np.ndarray) -> np.ndarray:
    weighted = np.sqrt(histogram) * np.maximum(idf, 0.0)
    return np.asarray(weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-9), np.float32)


def _verify(descriptors: Sequence[Descriptor], candidate: Candidate) -> Pair | None:
    """Returns the pair if one frame can be aligned with the other."""
    first, second, mirrored, aligned = candidate
    one, other = descriptors[first], descriptors[second]
    if aligned:
        transform: np.ndarray | None = _resize_transform(one, other, mirrored=mirrored)
    else:
        transform = _transform(one, other, mirrored=mirrored)
    if transform is None:
        return None
    similarity = _correlation(one, other, transform, mirrored=mirrored)
    same = similarity >= (MIN_CORRELATION_ALIGNED if aligned else MIN_CORRELATION)
    return Pair(first, second, round(similarity, 3), mirrored) if same else None


def _resize_transform(one: Descriptor, other: Descriptor, *, mirrored: bool) -> np.ndarray:
    """Returns the transform of a pure change of size; a mirrored x runs from -width to 0."""
    (height, width), (target_height, target_width) = one.picture.shape, other.picture.shape
    shift = target_width - 1.0 if mirrored else 0.0
    return np.array([[target_width / width, 0.0, shift], [0.0, target_height / height, 0.0]])


def _transform(one: Descriptor, other: Descriptor, *, mirrored: bool) -> np.ndarray | None:
    """Returns the similarity transform, in px of the small pictures, that most matches agree on."""
    if min(len(one.features), len(other.features)) < MIN_MATCHES:
        return None
    points = one.points * [-1.0, 1.0] if mirrored else one.points
    features = one.features[:, MIRRORED] if mirrored else one.features
    similarity = features.astype(np.float32) @ other.features.astype(np.float32).T
    rows = np.arange(len(similarity))
    nearest = similarity.argmax(1)
    best = similarity[rows, nearest]
    mutual = similarity.argmax(0)[nearest] == rows
    similarity[rows, nearest] = -1.0
    matched = mutual & (1.0 - best < RATIO * (1.0 - similarity.max(1)))
    if matched.sum() < MIN_MATCHES:
        return None
    matrix, inliers = cv2.estimateAffinePartial2D(
        points[matched].astype(np.float32),
        other.points[nearest[matched]],
        method=cv2.RANSAC,
        ransacReprojThreshold=SHORT_SIDE_PX / 40,
        maxIters=500,
    )
    if (
        matrix is None
        or inliers.sum() < MIN_MATCHES
        or not SCALES[0] < np.hypot(matrix[0, 0], matrix[1, 0]) < SCALES[1]
    ):
        return None
    matrix[:, 2] /= 2.0
    return np.asarray(matrix)


def _correlation(one: Descriptor, other: Descriptor, transform: np.ndarray, *, mirrored: bool) -> float:
    """Returns the correlation of the two comparison areas, ``one`` warped onto ``other``."""
    matrix = transform.copy()
    if mirrored:
        matrix[:, 0] *= -1.0
    size = (other.picture.shape[1], other.picture.shape[0])
    warped = cv2.warpAffine(one.picture.astype(np.float32), matrix, size)
    overlap = (cv2.warpAffine(one.middle, matrix, size, flags=cv2.INTER_NEAREST) & other.middle) > 0
    if overlap.sum() < MIN_OVERLAP * overlap.size:
        return 0.0
    a, b = warped[overlap], other.picture[overlap].astype(np.float32)
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / max(float(np.sqrt((a @ a) * (b @ b))), 1e-6))
