"""A model over images and folders → masks, overlays and one table."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipe_seg import disk, images
from pipe_seg.artifacts import Model
from pipe_seg.errors import ConfigError, InputDataError, Problem
from pipe_seg.inference import engines
from pipe_seg.inference.saved_model import LoadedModel

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
COLUMNS = ("file", "width_px", "height_px", "defect_area_fraction", "max_probability", "mask", "overlay")
RED = (0, 0, 255)
OPACITY = 0.35


def run(
    model: Model, *, sources: Sequence[Path], out: Path, mask_value: int = 255, engine: engines.Engine = "tf"
) -> Iterator[dict[str, Any]]:
    """Predicts a mask for every image of ``sources``; yields one row an image as it is written.

    ``out`` gets ``<stem>_mask.png`` (0 and ``mask_value``), ``<stem>_overlay.jpg`` and, at the end,
    ``predictions.csv``.

    Raises:
        InputDataError: nothing to do, or images that cannot be decoded (the others are predicted first).
        ConfigError: two images would write the same mask.
    """
    paths = find(sources)
    if any(path.parent.resolve() == out.resolve() for path in paths):
        raise ConfigError(
            Problem(out, "is where the images lie", expected="a folder of its own, so that nothing is lost")
        )
    loaded = engines.load_model(model, engine)
    rows: list[dict[str, Any]] = []
    problems: list[Problem | str] = []
    with disk.environment(out):
        out.mkdir(parents=True, exist_ok=True)
        for path in paths:
            try:
                rows.append(_answer(loaded, path, out, mask_value))
                yield rows[-1]
            except InputDataError as error:
                problems.extend(error.problems)
        _write_table(out / "predictions.csv", rows)
    if problems:
        raise InputDataError(*problems)


def find(sources: Iterable[Path]) -> list[Path]:
    """Returns the images named by ``sources``, folders opened, sorted within each.

    Raises:
        InputDataError: a source is not there or holds no image.
        ConfigError: two images share a stem.
    """
    found: list[Path] = []
    for source in sources:
        inside = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES) if source.is_dir() else []
        if not inside and (not source.is_file() or source.suffix.lower() not in SUFFIXES):
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
    try:
        image = images.decode(data)
    except ValueError as error:
        raise InputDataError(Problem(path, str(error), expected="a whole JPEG, PNG or BMP")) from error
    answer = loaded.predict_bytes([data])
    mask = (images.decode(answer["mask_png_bytes"][0], images.AS_STORED) > 0).astype(np.uint8)
    mask_path, overlay_path = out / f"{path.stem}_mask.png", out / f"{path.stem}_overlay.jpg"
    mask_path.write_bytes(images.encode(mask * np.uint8(mask_value), ".png"))
    overlay_path.write_bytes(images.encode(overlay(image, mask), ".jpg"))
    return {
        "file": str(path),
        "width_px": image.shape[1],
        "height_px": image.shape[0],
        "defect_area_fraction": round(float(answer["defect_area_fraction"][0]), 6),
        "max_probability": round(float(answer["probability"][0]), 6),
        "mask": mask_path.name,
        "overlay": overlay_path.name,
    }


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns ``image`` (BGR) with ``mask`` {0, 1} tinted and outlined in red."""
    inside = mask.astype(bool)
    shown = image.copy()
    shown[inside] = (image[inside] * (1 - OPACITY) + np.array(RED) * OPACITY).astype(np.uint8)
    images.outline(shown, mask, RED)
    return shown


def _write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({key: _safe(value) for key, value in row.items()} for row in rows)


def _safe(value: Any) -> Any:
    """Keep a spreadsheet from reading a file name as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
