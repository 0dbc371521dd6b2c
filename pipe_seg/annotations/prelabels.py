"""The list of pre-labels: digests of masks that a model predicted for a person to correct."""

import csv
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pipe_seg.annotations import documents, raster
from pipe_seg.annotations.shapes import Size
from pipe_seg.errors import InputDataError, Problem
from pipe_seg.schema import Annotation

NAME = "prelabels.csv"
COLUMNS = ("file_name", "agreement", "mask_sha256", "models")


def write(path: Path, rows: Iterable[tuple[str, float, Annotation, Size]], models: Sequence[str]) -> None:
    """Writes per frame: file name, agreement of the models 0…1, digest of the predicted mask, models."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for name, agreement, annotation, size in rows:
            table.writerow((name, f"{agreement:.3f}", digest(annotation, size), " ".join(models)))


def read(path: Path) -> dict[str, str]:
    """Returns the digest of the predicted mask of each frame, by file name.

    Raises:
        InputDataError: The file is not a list of pre-labels.
    """
    rows = csv.DictReader(documents.read_text(path).splitlines())
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise InputDataError(Problem(path, "not a list of pre-labels", 1, rows.fieldnames, ", ".join(COLUMNS)))
    return {row["file_name"]: row["mask_sha256"] for row in rows}


def digest(annotation: Annotation, size: Size) -> str:
    """Returns the sha256 of the annotation's mask."""
    return hashlib.sha256(np.packbits(raster.rasterise(annotation, *size)).tobytes()).hexdigest()
