"""A contact sheet: frames of each class with boxes and contours, as fed to the network, as augmented."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from pipe_seg import disk, images
from pipe_seg.config import TransformSection
from pipe_seg.data import augmentation, preprocessing
from pipe_seg.schema import CLASS_NAMES, Frame

TILE_WIDTH_PX = 220
GAP_PX = 4
TITLE_PX = 22
CONTOUR_COLOUR = (80, 220, 80)
BOX_COLOUR = (60, 160, 255)
TITLE_COLOUR = (235, 235, 235)
COLUMNS = "frame with boxes and contour | as fed to the network | as augmented"
NO_DEFECT = "no defect"


def run(section: TransformSection, *, frames: Iterable[Frame], per_class: int, seed: int, out: Path) -> list[str]:
    """Writes the sheet as a PNG; returns the names of the frames on it.

    Of each class the first ``per_class`` frames are shown that hold no other class, or any that hold it.
    """
    chosen = _chosen(frames, per_class)
    rows = [_row(title, shown, per_class, section, seed) for title, shown in chosen.items() if shown]
    with disk.environment(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(images.encode(np.concatenate([_title(COLUMNS, rows[0].shape[1]), *rows]), ".png"))
    return [frame.file_name for shown in chosen.values() for frame in shown]


def _chosen(frames: Iterable[Frame], per_class: int) -> dict[str, list[Frame]]:
    """Go through the frames once and keep no more than are shown."""
    found: dict[str, list[Frame]] = {name: [] for name in (*CLASS_NAMES, NO_DEFECT)}
    for frame in frames:
        for name in [CLASS_NAMES[label] for label in frame.labels] or [NO_DEFECT]:
            found[name] = sorted([*found[name], frame], key=lambda kept: len(kept.labels))[:per_class]
    return found


def _row(title: str, frames: Sequence[Frame], per_class: int, section: TransformSection, seed: int) -> np.ndarray:
    tiles = [tile for index, frame in enumerate(frames) for tile in _tiles(frame, section, seed + index)]
    height = max(tile.shape[0] for tile in tiles)
    tiles += [np.zeros_like(tiles[0])] * (3 * per_class - len(tiles))
    line = np.concatenate([_padded(tile, height) for tile in tiles], axis=1)
    names = ", ".join(frame.file_name for frame in frames)
    return np.concatenate([_title(f"{title}: {names}", line.shape[1]), line])


def _tiles(frame: Frame, section: TransformSection, seed: int) -> Iterator[np.ndarray]:
    """Yields three pictures of one frame, BGR."""
    size = (section.image_height_px, section.image_width_px)
    pixels = images.decode(frame.image)
    yield _drawn(pixels, frame.segmentation_mask, frame)
    image = preprocessing.letterbox(tf.constant(pixels[..., ::-1]), size)
    mask = preprocessing.letterbox_mask(tf.constant(frame.segmentation_mask[..., None]), size)
    inside = tf.cast(preprocessing.valid_area(pixels.shape[0], pixels.shape[1], size), tf.uint8)[..., None]
    yield _drawn(image.numpy()[..., ::-1], mask.numpy()[..., 0])
    image = tf.ensure_shape(image, (*size, 3))
    target_channels, key = tf.concat([mask, inside], -1), augmentation.key(seed, 0, tf.constant(0, tf.int64))
    changed, moved, _ = augmentation.augment(image, target_channels, tf.zeros((0, 5)), key)
    yield _drawn(changed.numpy()[..., ::-1], moved.numpy()[..., 0])


def _drawn(pixels: np.ndarray, mask: np.ndarray, frame: Frame | None = None) -> np.ndarray:
    shown = np.ascontiguousarray(images.narrow(pixels, TILE_WIDTH_PX))
    height, width = shown.shape[:2]
    small = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    for box in frame.boxes if frame else ():
        corners = [
            (round(x * (width - 1)), round(y * (height - 1)))
            for x, y in ((box.x_min, box.y_min), (box.x_max, box.y_max))
        ]
        cv2.rectangle(shown, corners[0], corners[1], BOX_COLOUR, 1)
    images.outline(shown, np.asarray(small), CONTOUR_COLOUR)
    return shown


def _padded(tile: np.ndarray, height: int) -> np.ndarray:
    return np.pad(tile, ((0, height - tile.shape[0] + GAP_PX), (0, GAP_PX), (0, 0)))


def _title(text: str, width: int) -> np.ndarray:
    line = np.zeros((TITLE_PX, width, 3), np.uint8)
    printable = text.encode("ascii", "replace").decode("ascii")
    cv2.putText(line, printable, (4, TITLE_PX - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.45, TITLE_COLOUR, 1, cv2.LINE_AA)
    return line
