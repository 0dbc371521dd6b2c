"""The pipe without defects: perspective, material, joints, water, light, on-screen text, camera."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

TURN = 2048
DEPTH_STEPS = 1024
DEPTH_UNIT = 1 / 256
TILE = 512
MATERIALS = ((150, 150, 146), (188, 198, 210), (146, 112, 84), (92, 92, 96), (176, 166, 140))
CAPTIONS = ("O:Z_WIDE  Z: 1X", "P: 0.00PSI  D:__.__M", "DN400  W12-W13", "CAM 2 ROT 090", "SN 1147  GRADE")


@dataclass(frozen=True)
class View:
    """The camera's view: per pixel, the angle around the axis and the logarithm of the depth.

    ``angle`` `(height, width)` int, 0…2047, clockwise from the right, 2048 to a turn; ``depth`` `(height, width)` int,
    0…1023 in steps of ``DEPTH_UNIT`` of ln(z), 0 the nearest wall.
    """

    height: int
    width: int
    centre_x: float
    centre_y: float
    angle: np.ndarray
    depth: np.ndarray

    @classmethod
    def sample(cls, pipe_rng: np.random.Generator, rng: np.random.Generator, height: int, width: int) -> "View":
        """Returns a view with a random vanishing point, tilt and roll."""
        centre_x = width * rng.uniform(0.38, 0.62)
        centre_y = height * rng.uniform(0.35, 0.60)
        tilt = rng.uniform(0.95, 1.10)
        roll = rng.uniform(-10, 10) / 360 * TURN
        radius = height * pipe_rng.uniform(0.75, 1.0)
        x = (np.arange(width) - centre_x)[None, :] * tilt
        y = (np.arange(height) - centre_y)[:, None]
        turns = np.arctan2(y, x) * (TURN / (2 * np.pi)) + roll
        angle = np.round(turns).astype(np.int32) & (TURN - 1)
        log_depth = np.log(radius) - 0.5 * np.log(x * x + y * y + 1.0)
        depth = np.clip(np.round((log_depth + 0.6) / DEPTH_UNIT), 0, DEPTH_STEPS - 1).astype(np.int32)
        return cls(height, width, centre_x, centre_y, angle, depth)


@cache
def tile(number: int) -> np.ndarray:
    """Returns texture ``number``: `(512, 512)` int16, -128…127, fractal and nearly seamless."""
    rng = np.random.default_rng([7_301, number])
    total = np.zeros((TILE, TILE), np.int32)
    for cells, gain in ((8, 4), (32, 3), (128, 2), (512, 2)):
        coarse = rng.integers(0, 256, (cells, cells), np.uint8)
        smooth = cv2.resize(coarse, (TILE, TILE), interpolation=cv2.INTER_LINEAR_EXACT)
        total += (smooth.astype(np.int32) - 128) * gain
    return np.asarray(total // 8, np.int16)


@cache
def grain() -> np.ndarray:
    """Returns camera noise: `(1024, 1024)` int16, standard deviation 64, a sum of twelve uniform integers."""
    rng = np.random.default_rng(9_177)
    total = rng.integers(0, 65, (12, 1024, 1024), np.uint8).astype(np.int16).sum(0)
    return np.asarray(total - 384, np.int16)


def texture(view: View, number: int, rng: np.random.Generator, stretch: int = 1) -> np.ndarray:
    """Returns texture on the wall, `(height, width)` int16, at a random position along the pipe."""
    along, around = rng.integers(0, TILE, 2)
    rows = (view.depth // stretch + along) & (TILE - 1)
    columns = ((view.angle >> 2) + around) & (TILE - 1)
    return np.asarray(tile(number)[rows, columns])


def paint(view: View, pipe_rng: np.random.Generator, rng: np.random.Generator) -> np.ndarray:
    """Returns the lit wall with joints, water and laterals: `(height, width, 3)` float64, 0…255."""
    material = np.array(MATERIALS[pipe_rng.integers(len(MATERIALS))], np.float64)
    rough = pipe_rng.uniform(0.15, 0.5)
    wall = 128 + rough * texture(view, int(pipe_rng.integers(8)), rng)
    wall += 0.25 * texture(view, int(pipe_rng.integers(8, 12)), rng, stretch=6)
    along, around = _along(pipe_rng, rng), _around(pipe_rng)
    shade = wall / 128 * along[view.depth] * around[view.angle]
    _lateral(shade, view, rng)
    canvas: np.ndarray = shade[..., None] * (material + pipe_rng.uniform(-14, 14, 3))
    if pipe_rng.random() < 0.6:
        _water(canvas, view, pipe_rng, rng)
    return canvas


def _along(pipe_rng: np.random.Generator, rng: np.random.Generator) -> np.ndarray:
    """Returns brightness by depth: light fall-off, a joint after every length of pipe, ribs."""
    z = np.exp(np.arange(DEPTH_STEPS) * DEPTH_UNIT - 0.6)
    light = 1.25 * np.exp(-pipe_rng.uniform(0.10, 0.35) * (z - 0.55)) + 0.06
    spacing, start = pipe_rng.uniform(0.9, 2.5), rng.uniform(0.3, 1.2)
    to_joint = np.abs((z - start) / spacing - np.round((z - start) / spacing)) * spacing / z
    width = pipe_rng.uniform(0.008, 0.022)
    light *= 1 - pipe_rng.uniform(0.35, 0.8) * (to_joint < width)
    light *= 1 + 0.25 * ((to_joint >= width) & (to_joint < 2 * width))
    if pipe_rng.random() < 0.3:
        light *= 1 + 0.18 * np.sign(np.sin(z * pipe_rng.uniform(18, 30)))
    light[z > pipe_rng.uniform(7, 14)] *= 0.35
    return np.asarray(light)


def _around(pipe_rng: np.random.Generator) -> np.ndarray:
    """Returns brightness by angle: the lamp's side, a tide line."""
    angle = np.arange(TURN) * (2 * np.pi / TURN)
    light = 1 + pipe_rng.uniform(0.05, 0.3) * np.cos(angle - pipe_rng.uniform(0, 2 * np.pi))
    height = np.sin(angle)
    light *= np.where(height > pipe_rng.uniform(0.2, 0.7), pipe_rng.uniform(0.6, 0.95), 1.0)
    return np.asarray(light)


def _lateral(shade: np.ndarray, view: View, rng: np.random.Generator) -> None:
    """Darkens the mouth of a side pipe, which is no defect, in one frame of eight."""
    if rng.random() > 0.125:
        return
    centre = (int(view.width * rng.uniform(0.05, 0.95)), int(view.height * rng.uniform(0.1, 0.6)))
    axes = (int(rng.integers(10, 26)), int(rng.integers(10, 26)))
    hole = cv2.ellipse(np.zeros(shade.shape, np.uint8), centre, axes, 0, 0, 360, 1, -1)
    rim = cv2.ellipse(np.zeros(shade.shape, np.uint8), centre, axes, 0, 0, 360, 1, 2)
    shade *= 1 - 0.75 * hole + 0.35 * rim


def _water(canvas: np.ndarray, view: View, pipe_rng: np.random.Generator, rng: np.random.Generator) -> None:
    """Fills the invert: the flat surface of water in a cylinder is a wedge seen from its axis."""
    level = pipe_rng.uniform(0.80, 0.97)
    wet = (np.sin(np.arange(TURN) * (2 * np.pi / TURN)) > level)[view.angle]
    ripple = texture(view, 12, rng, stretch=3)[wet].astype(np.float64)
    colour = np.array([96, 92, 78]) * pipe_rng.uniform(0.5, 1.2)
    canvas[wet] = 0.35 * canvas[wet] + 0.5 * colour + 0.35 * ripple[:, None]


def finish(canvas: np.ndarray, view: View, rng: np.random.Generator) -> np.ndarray:
    """Returns the recorded image: glare, blur, noise, interlace, text; `(height, width, 3)` uint8 RGB."""
    exposure = rng.uniform(0.7, 1.25)
    image = np.clip(canvas * exposure, 0, 255).round().astype(np.uint8)
    _glare(image, rng)
    if rng.random() < 0.7:
        size = int(rng.choice([3, 5]))
        image = np.asarray(cv2.GaussianBlur(image, (size, size), 0), np.uint8)
    image = _noise(image, rng)
    if rng.random() < 0.1:
        image[::2] = np.roll(image[::2], int(rng.integers(1, 4)), axis=1)
    _text(image, rng)
    if rng.random() < 0.1:
        bar = int(rng.integers(6, 20))
        image[:bar] = image[-bar:] = 0
    return image


def _glare(image: np.ndarray, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(0, 4))):
        height, width = image.shape[:2]
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(image, centre, int(rng.integers(1, 6)), (250, 252, 255), -1, cv2.LINE_AA)


def _noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    top, left = rng.integers(0, 1024 - height), rng.integers(0, 1024 - width)
    strength = int(rng.integers(2, 18))
    noise = grain()[top : top + height, left : left + width].astype(np.int32) * strength // 128
    return np.clip(image + noise[..., None], 0, 255).astype(np.uint8)


def _text(image: np.ndarray, rng: np.random.Generator) -> None:
    height = image.shape[0]
    lines = [str(rng.choice(CAPTIONS)), f"2016-09-{rng.integers(1, 29):02d} 21:{rng.integers(60):02d}:45"]
    baselines = [(8, 16), (8, height - 8)]
    for line, origin in zip(lines, baselines, strict=True):
        if rng.random() < 0.75:
            cv2.putText(image, line, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.38, (240, 240, 240), 1, cv2.LINE_AA)
    if rng.random() < 0.15:
        x, y = int(rng.integers(40, image.shape[1] - 40)), int(rng.integers(40, height - 40))
        colour = (220, 40, 30) if rng.random() < 0.5 else (40, 200, 60)
        cv2.arrowedLine(image, (x, y), (x + int(rng.integers(-30, 30)), y - 25), colour, 2)
