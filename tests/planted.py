"""Frames with known relatives: copies, re-encoded copies, siblings and video neighbours under new names."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipe_seg import images
from pipe_seg.components import statistics_gen
from pipe_seg.data import synthetic


@dataclass(frozen=True)
class Planted:
    """One frame: ``scene`` is what it shows, ``kind`` how it was made from that scene's first frame."""

    name: str
    data: bytes
    scene: int
    kind: str


def grouped(folder: Path, scenes: int, seed: int) -> tuple[dict[str, Planted], dict[str, int]]:
    """Write the frames into ``folder`` and let their relatives be found; give the frames and their groups by name."""
    planted = {frame.name: frame for frame in frames(scenes, seed)}
    for frame in planted.values():
        (folder / frame.name).write_bytes(frame.data)
    found = statistics_gen.run(folder)
    return planted, {frame.path.name: group for frame, group in zip(found.frames, found.groups, strict=True)}


def frames(scenes: int, seed: int) -> Iterator[Planted]:
    """Give, for every scene, its frame, a copy, a re-encoded copy, a sibling and a video neighbour."""
    rng = np.random.default_rng(seed)
    names = [f"{number:04x}" for number in rng.permutation(5 * scenes)]
    for scene in range(scenes):
        first = synthetic.render(seed, scene, 0)
        pixels = first.image[..., ::-1]
        made = {
            "first": first.jpeg,
            "exact": first.jpeg,
            "re-encoded": images.encode(pixels, ".jpg", int(rng.integers(35, 95))),
            "sibling": images.encode(sibling(pixels, rng), ".jpg", int(rng.integers(60, 95))),
            "neighbour": images.encode(neighbour(pixels, rng), ".jpg", int(rng.integers(60, 95))),
        }
        for kind, data in made.items():
            yield Planted(f"{names.pop()}{'abcdef'[scene % 6]}.jpg", data, scene, kind)


def sibling(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirror, turn with black corners, darken, and strew salt and pepper: what offline augmentation does."""
    height, width = pixels.shape[:2]
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-15, 15), rng.uniform(0.9, 1.1))
    pixels = cv2.warpAffine(np.ascontiguousarray(pixels), turn, (width, height))
    pixels = np.clip(pixels * rng.uniform(0.6, 1.2), 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        strewn = rng.random((height, width))
        pixels[strewn < 0.01] = 0
        pixels[strewn > 0.99] = 255
    return pixels


def neighbour(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move the camera on by one to five frames: a little nearer, a little aside, other light and noise."""
    height, width = pixels.shape[:2]
    move = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-1, 1), 1 + 0.012 * rng.integers(1, 6))
    move[:, 2] += rng.uniform(-4, 4, 2)
    moved = cv2.warpAffine(np.ascontiguousarray(pixels), move, (width, height), borderMode=cv2.BORDER_REFLECT)
    lit = moved * rng.uniform(0.92, 1.08) + rng.normal(0, 4, moved.shape)
    return np.clip(lit, 0, 255).astype(np.uint8)
