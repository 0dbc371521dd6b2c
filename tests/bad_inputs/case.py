"""One bad input: the files, the command, and what must come of it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

SIZE = (48, 64)
Content = bytes | str | Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """``argv`` has ``{src}`` and ``{out}``; ``says`` must stand in the error; ``code`` is the exit code."""

    name: str
    files: Mapping[str, Content]
    argv: tuple[str, ...]
    code: int
    says: str = ""
    links: Mapping[str, str] = field(default_factory=dict)

    def lay(self, root: Path) -> None:
        """Write the files below ``root``."""
        for name, content in self.files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if callable(content):
                content(path)
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        for name, target in self.links.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Give a frame with something to see, (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (6, 8, 3), np.uint8)
    return np.asarray(cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC))


def jpeg(seed: int = 0, size: tuple[int, int] = SIZE, *flags: int) -> bytes:
    return cv2.imencode(".jpg", picture(seed, size), list(flags))[1].tobytes()


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def mask(high: int = 255, size: tuple[int, int] = SIZE) -> np.ndarray:
    pixels = np.zeros(size, np.uint8)
    pixels[8:24, 10:40] = high
    return pixels


def dumped(value: object) -> str:
    return json.dumps(value)
