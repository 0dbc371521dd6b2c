"""A model over images and folders → masks, overlays and one table."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipe_seg import artifacts
from pipe_seg.artifacts import Model
from pipe_seg.errors import ConfigError, InputDataError, Problem
from pipe_seg.serving.saved_model import LoadedModel

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
COLUMNS = ("file", "width_px", "height_px", "defect_area_fraction", "max_probability", "mask", "overlay")
TINT = np.array([0, 0, 255])
OPACITY = 0.35


def run(model: Model, *, sources: Sequence[Path], out: Path, mask_value: int = 255) -> Iterator[dict[str, Any]]:
    """Answer every image of ``sources``; give one row an image as it is written.

    ``out`` gets ``<stem>_mask.png`` (0 and ``mask_value``), ``<stem>_overlay.jpg`` and, at the end,
    ``predictions.csv``.

    Raises:
        InputDataError: nothing to do, or images that cannot be decoded (the others are answered first).
        ConfigError: two images would write the same mask.
    """
    images = find(sources)
    loaded = LoadedModel(model.saved_model)
    rows, problems = [], []
    with artifacts.environment(out):
        out.mkdir(parents=True, exist_ok=True)
        for path in images:
            try:
                rows.append(_answer(loaded, path, out, mask_value))
                yield rows[-1]
            except InputDataError as error:
                problems.extend(error.problems)
        _write_table(out / "predictions.csv", rows)
    if problems:
        raise InputDataError(*problems)


def find(sources: Iterable[Path]) -> list[Path]:
    """Give the images named by ``sources``, folders opened, sorted within each.

    Raises:
        InputDataError: a source is not there or holds no image.
        ConfigError: two images share a stem.
    """
    found: list[Path] = []
    for source in sources:
        inside = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES) if source.is_dir() else []
        if not inside and not source.is_file():
            raise InputDataError(
                Problem(source, "no images here", expected=f"a file or folder of {', '.join(SUFFIXES)}")
            )
        found += inside or [source]
    stems: dict[str, Path] = {}
    for path in found:
        if stems.setdefault(path.stem, path) != path:
            raise ConfigError(Problem(path, f"has the name of {stems[path.stem]}", expected="a run of its own"))
    return found


def _answer(loaded: LoadedModel, path: Path, out: Path, mask_value: int) -> dict[str, Any]:
    data = path.read_bytes()
    image = _decode(path, data)
    answer = loaded.predict_bytes([data])
    mask = cv2.imdecode(np.frombuffer(answer["mask_png_bytes"][0], np.uint8), cv2.IMREAD_UNCHANGED)
    mask_path, overlay_path = out / f"{path.stem}_mask.png", out / f"{path.stem}_overlay.jpg"
    mask_path.write_bytes(cv2.imencode(".png", (mask > 0).astype(np.uint8) * mask_value)[1].tobytes())
    overlay_path.write_bytes(cv2.imencode(".jpg", overlay(image, mask))[1].tobytes())
    return {
        "file": str(path),
        "width_px": image.shape[1],
        "height_px": image.shape[0],
        "defect_area_fraction": round(float(answer["defect_area_fraction"][0]), 6),
        "max_probability": round(float(answer["probability"][0]), 6),
        "mask": mask_path.name,
        "overlay": overlay_path.name,
    }


def _decode(path: Path, data: bytes) -> np.ndarray:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if image is None:
        raise InputDataError(Problem(path, "not an image, or broken", expected="a whole JPEG, PNG or BMP"))
    return image


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Give ``image`` (BGR) with ``mask`` tinted and outlined in red."""
    inside = mask > 0
    shown = image.copy()
    shown[inside] = (image[inside] * (1 - OPACITY) + TINT * OPACITY).astype(np.uint8)
    contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(shown, contours, -1, TINT.tolist(), max(1, image.shape[1] // 360))
    return shown


def _write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({key: _safe(value) for key, value in row.items()} for row in rows)


def _safe(value: Any) -> Any:
    """Keep a spreadsheet from reading a file name as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
