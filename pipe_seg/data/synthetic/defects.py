"""The six defect classes: their appearance and exact masks."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from pipe_seg.data.synthetic.scene import TURN, View, texture
from pipe_seg.schema import CLASS_NAMES

SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Defect:
    """One defect: class id and exact ``mask`` (height, width) uint8 {0, 1}."""

    label: int
    mask: np.ndarray


@dataclass(frozen=True)
class Size:
    """Box geometry of one class in real frames.

    Median and 10/90 % quantiles of the fraction of the frame, aspect (width/height, normalised), median centre, and
    number of boxes. The medians describe the defect before the annotator loosens or cuts its box.
    """

    low: float
    median: float
    high: float
    aspect: float
    centre: tuple[float, float]
    count: int


SIZES = {
    "deformation": Size(0.017, 0.050, 0.159, 1.82, (0.50, 0.36), 227),
    "obstacle": Size(0.025, 0.150, 0.482, 1.32, (0.51, 0.64), 328),
    "rupture": Size(0.013, 0.046, 0.178, 1.16, (0.49, 0.33), 257),
    "disconnect": Size(0.127, 0.430, 0.780, 0.91, (0.50, 0.46), 133),
    "misalignment": Size(0.057, 0.182, 0.426, 0.98, (0.52, 0.41), 154),
    "deposition": Size(0.254, 0.464, 0.694, 1.45, (0.50, 0.65), 202),
}
RINGS = ("disconnect", "misalignment")
SHARES = np.array([SIZES[name].count for name in CLASS_NAMES]) / sum(size.count for size in SIZES.values())


@dataclass(frozen=True)
class Location:
    """Centre and half extents of one defect, in px."""

    x: float
    y: float
    half_width: float
    half_height: float


def add(canvas: np.ndarray, view: View, rng: np.random.Generator) -> list[Defect]:
    """Paints one to three defects into ``canvas`` and returns them; later ones cover earlier ones."""
    count = 1 + int(np.searchsorted([0.79, 0.95], rng.random()))
    labels = rng.choice(len(CLASS_NAMES), size=count, replace=False, p=SHARES)
    order = sorted((int(label) for label in labels), key=lambda label: -SIZES[CLASS_NAMES[label]].median)
    defects: list[Defect] = []
    for label in order:
        mask = SHAPES[CLASS_NAMES[label]](canvas, view, _sample_location(CLASS_NAMES[label], view, rng), rng)
        defects = [Defect(other.label, other.mask & (1 - mask)) for other in defects]
        defects.append(Defect(label, mask))
    return [defect for defect in defects if defect.mask.sum() >= 12]


def _sample_location(name: str, view: View, rng: np.random.Generator) -> Location:
    size = SIZES[name]
    spread = np.log(size.high / size.low) / 2.563
    area = np.clip(size.median * np.exp(spread * rng.standard_normal()), 0.006, 0.95)
    ring = name in RINGS
    aspect = size.aspect * np.exp((0.08 if ring else 0.25) * rng.standard_normal())
    width, height = min(np.sqrt(area * aspect), 1.0), min(np.sqrt(area / aspect), 1.0)
    centre = (view.centre_x / view.width, view.centre_y / view.height) if ring else size.centre
    scatter = (0.05, 0.05) if ring else (0.13, 0.11)
    x, y = np.array(centre) + np.array(scatter) * rng.standard_normal(2)
    x = np.clip(x, width / 2, 1 - width / 2)
    y = np.clip(y, height / 2, 1 - height / 2)
    return Location(x * view.width, y * view.height, width * view.width / 2, height * view.height / 2)


def _fill(view: View, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the mask of a polygon given in float px, rounded to sixteenths."""
    points = np.round(np.stack([x, y], -1) * (1 << SUBPIXEL_BITS)).astype(np.int32)
    mask = np.zeros((view.height, view.width), np.uint8)
    return np.asarray(cv2.fillPoly(mask, [points], 1, shift=SUBPIXEL_BITS))


def _star(location: Location, rng: np.random.Generator, corners: int, rough: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns a closed jagged outline that touches the four sides of ``location``."""
    angle = (np.arange(corners) + rng.uniform(-0.35, 0.35, corners)) * (2 * np.pi / corners)
    radius = 1 + rough * rng.uniform(-1, 1, corners)
    x, y = np.cos(angle) * radius, np.sin(angle) * radius
    x, y = ((2 * (v - v.min()) / (v.max() - v.min()) - 1) for v in (x, y))
    return location.x + x * location.half_width, location.y + y * location.half_height


def _shade(canvas: np.ndarray, mask: np.ndarray, gain: float, colour: tuple[float, ...] = (0, 0, 0)) -> None:
    inside = mask.astype(bool)
    canvas[inside] = canvas[inside] * gain + np.array(colour, np.float64)


def _edge(mask: np.ndarray, width: int) -> np.ndarray:
    """Returns the rim just inside ``mask``."""
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    return np.asarray(mask & (1 - cv2.erode(mask, kernel)))


def deformation(canvas: np.ndarray, view: View, location: Location, rng: np.random.Generator) -> np.ndarray:
    """Paints a liner that hangs from the crown: a sharp free edge below, a soft limit above."""
    steps = np.linspace(0, 1, 24)
    sag = np.sin(np.pi * steps) ** rng.uniform(0.5, 0.9) + 0.12 * rng.uniform(-1, 1, 24)
    lip = location.y + location.half_height * (2 * np.clip(sag, 0, 1.05) - 1)
    crown = location.y - location.half_height * (0.95 + rng.uniform(0.0, 0.7) * np.sin(np.pi * steps))
    x = location.x + location.half_width * (2 * steps - 1)
    mask = _fill(view, np.concatenate([x, x[::-1]]), np.concatenate([lip, crown[::-1]]))
    folds = 1 + 0.22 * np.sin(view.angle * (2 * np.pi / TURN) * rng.integers(20, 44))
    inside = mask.astype(bool)
    canvas[inside] *= (rng.uniform(0.8, 1.15) * folds[inside])[:, None]
    below = np.roll(mask, 4, axis=0) & (1 - mask)
    _shade(canvas, below, 0.45)
    _shade(canvas, _edge(mask, 1) & np.roll(below, -5, axis=0), 1.1, (22, 22, 20))
    return mask


def obstacle(canvas: np.ndarray, view: View, location: Location, rng: np.random.Generator) -> np.ndarray:
    """Paints a stone, sack, brick or trunk with its contact shadow."""
    if rng.random() < 0.22:
        slope = 1 if rng.random() < 0.5 else -1
        across = rng.uniform(0.25, 0.45)
        x = np.array([-1, -1 + across, 1, 1 - across]) * location.half_width + location.x
        y = slope * np.array([1 - across, 1, -1 + across, -1]) * location.half_height + location.y
    else:
        x, y = _star(location, rng, int(rng.integers(6, 12)), rng.uniform(0.05, 0.25))
    mask = _fill(view, x, y)
    shadow = np.roll(mask, (5, int(rng.integers(-6, 7))), axis=(0, 1)) & (1 - mask)
    _shade(canvas, shadow, 0.4)
    colour = np.array([120, 112, 98]) * rng.uniform(0.35, 1.5) + rng.uniform(-25, 25, 3)
    bumps = texture(view, int(rng.integers(13, 17)), rng)[mask.astype(bool)].astype(np.float64)
    canvas[mask.astype(bool)] = colour * (1 + bumps[:, None] / 160) + 0.15 * canvas[mask.astype(bool)]
    _shade(canvas, _edge(mask, 1), 0.7)
    return mask


def rupture(canvas: np.ndarray, view: View, location: Location, rng: np.random.Generator) -> np.ndarray:
    """Paints a jagged hole with soil behind it and cracks that run from it."""
    x, y = _star(location, rng, int(rng.integers(9, 16)), rng.uniform(0.1, 0.35))
    mask = _fill(view, x, y)
    soil = texture(view, 17, rng)[mask.astype(bool)].astype(np.float64)
    dark = rng.uniform(0.15, 0.5)
    canvas[mask.astype(bool)] = dark * (np.array([74, 62, 48]) + 0.5 * soil[:, None])
    _shade(canvas, _edge(mask, 1), 1.0, (26, 24, 20))
    for _ in range(int(rng.integers(0, 3))):
        _crack(canvas, location, rng)
    return mask


def _crack(canvas: np.ndarray, location: Location, rng: np.random.Generator) -> None:
    """Paints a hairline that starts at the hole and is too thin for an annotator to draw."""
    angle = rng.uniform(0, 2 * np.pi)
    steps = np.arange(6)
    x = location.x + np.cos(angle) * location.half_width * (0.8 + 0.25 * steps) + rng.uniform(-3, 3, 6)
    y = location.y + np.sin(angle) * location.half_height * (0.8 + 0.25 * steps) + rng.uniform(-3, 3, 6)
    points = np.round(np.stack([x, y], -1)).astype(np.int32)
    line = cv2.polylines(np.zeros(canvas.shape[:2], np.uint8), [points], False, 1, 1)
    _shade(canvas, line, 0.45)


def _ellipse(view: View, x: float, y: float, half_width: float, half_height: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    return _fill(view, x + np.cos(angle) * half_width, y + np.sin(angle) * half_height)


def disconnect(canvas: np.ndarray, view: View, location: Location, rng: np.random.Generator) -> np.ndarray:
    """Paints an open joint: an even ring, sometimes only part of it, with a hanging gasket."""
    inner_scale = 1 - rng.uniform(0.07, 0.16)
    outer = _ellipse(view, location.x, location.y, location.half_width, location.half_height)
    inner = _ellipse(
        view, location.x, location.y, location.half_width * inner_scale, location.half_height * inner_scale
    )
    ring = outer & (1 - inner)
    if rng.random() < 0.25:
        start = int(rng.integers(TURN))
        ring &= (((view.angle - start) & (TURN - 1)) > TURN * rng.uniform(0.1, 0.25)).astype(np.uint8)
    _shade(canvas, ring, rng.uniform(0.12, 0.4), (8, 7, 6))
    _shade(canvas, _edge(outer, 1) & ring, 1.0, (30, 30, 28))
    return np.asarray(ring)


def misalignment(canvas: np.ndarray, view: View, location: Location, rng: np.random.Generator) -> np.ndarray:
    """Paints a step at a joint: the crescent between two eccentric circles."""
    step = rng.uniform(0.06, 0.13)
    direction = rng.uniform(0, 2 * np.pi)
    x = location.x + np.cos(direction) * step * location.half_width
    y = location.y + np.sin(direction) * step * location.half_height
    outer = _ellipse(view, location.x, location.y, location.half_width, location.half_height)
    inner = _ellipse(view, x, y, location.half_width * (1 - step), location.half_height * (1 - step))
    crescent = outer & (1 - inner)
    bright = rng.random() < 0.5
    _shade(canvas, crescent, 1.25 if bright else 0.4, (34, 32, 28) if bright else (6, 6, 6))
    _shade(canvas, _edge(inner, 1), 0.55)
    return np.asarray(crescent)


def deposition(canvas: np.ndarray, view: View, location: Location, rng: np.random.Generator) -> np.ndarray:
    """Paints sediment in the invert: its flat top narrows with depth, its edge is noisy."""
    steps = np.linspace(-1, 1, 28)
    crest = np.abs(steps) ** rng.uniform(1.2, 3.5)
    wobble = 0.10 * rng.uniform(-1, 1, 28)
    top = location.y + location.half_height * np.clip(2 * rng.uniform(0.65, 1.0) * crest + wobble - 1, -1, 1)
    bottom = location.y + location.half_height * (1 - 0.5 * np.abs(steps) ** 4 * rng.uniform(0, 1))
    x = location.x + location.half_width * steps
    mask = _fill(view, np.concatenate([x, x[::-1]]), np.concatenate([top, bottom[::-1]]))
    inside = mask.astype(bool)
    silt = np.array([118, 100, 74]) * rng.uniform(0.5, 1.4)
    grit = texture(view, int(rng.integers(18, 22)), rng)[inside].astype(np.float64)
    canvas[inside] = 0.25 * canvas[inside] + 0.75 * silt * (1 + grit[:, None] / 140)
    return mask


SHAPES: dict[str, Callable[[np.ndarray, View, Location, np.random.Generator], np.ndarray]] = {
    "deformation": deformation,
    "obstacle": obstacle,
    "rupture": rupture,
    "disconnect": disconnect,
    "misalignment": misalignment,
    "deposition": deposition,
}
