"""Who drew what: the list that lies beside frames which a model drew on, for a person to correct."""

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
    """Write the list: frame, how far the models agree 0…1, digest of what they drew, the models."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for name, agreement, drawn, size in rows:
            table.writerow((name, f"{agreement:.3f}", digest(drawn, size), " ".join(models)))


def read(path: Path) -> dict[str, str]:
    """Give the digest of what was drawn on each frame, by file name.

    Raises:
        InputDataError: no such list.
    """
    rows = csv.DictReader(documents.read_text(path).splitlines())
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise InputDataError(Problem(path, "not a list of pre-labels", 1, rows.fieldnames, ", ".join(COLUMNS)))
    return {row["file_name"]: row["mask_sha256"] for row in rows}


def digest(drawn: Annotation, size: Size) -> str:
    """Give the sha256 of the pixels that an annotation fills."""
    return hashlib.sha256(np.packbits(raster.rasterise(drawn, *size)).tobytes()).hexdigest()
