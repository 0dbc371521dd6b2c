"""Statistics → folders for cross-validation: every scene with contours is held out in one of them."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from pipe_seg import artifacts, disk
from pipe_seg.annotations import splits
from pipe_seg.annotations.splits import Entry, SplitFile
from pipe_seg.data import data_card, grouping
from pipe_seg.data.statistics import Statistics
from pipe_seg.errors import ConfigError, InputDataError, Problem
from pipe_seg.schema import FOLDERS

LABELS = ("images", "labels", "masks", "annotations")
COMPONENT = "fold_gen"


def run(
    statistics: Statistics,
    roots: Mapping[str, Path],
    *,
    number: int,
    seed: int,
    out: Path,
    inputs: Mapping[str, str] | None = None,
) -> list[Path]:
    """Makes ``out`` with ``number`` folders, each with both data sets and a frozen split; returns them.

    The scenes that PS shows, in whatever split, are divided by class; fold i holds the i-th part out. PBS keeps its
    own split, less the scenes that are held out: a scene that PS holds out does not train. Files are copied.

    Raises:
        ConflictError: ``out`` exists already.
        InputDataError: Frames that cannot be used.
        ConfigError: There are no contours, or fewer scenes than folds.
    """
    problems = [problem for frame in statistics.frames for problem in frame.problems]
    if problems:
        raise InputDataError(*problems)
    drawn = [index for index, frame in enumerate(statistics.frames) if frame.dataset == "ps"]
    groups = [statistics.groups[index] for index in drawn]
    if len(set(groups)) < number or number < 2:
        what = "scenes with contours are too few to divide"
        raise ConfigError(Problem("--folds", what, got=len(set(groups)), expected=f"{max(number, 2)} or more"))
    shares = {str(fold): 1 / number for fold in range(number)}
    parts = grouping.divide(groups, [statistics.frames[index].labels for index in drawn], shares, seed)
    details = {"folds": number, "seed": seed}
    with artifacts.writing(out, component=COMPONENT, section=details, inputs=inputs, details=details) as whole:
        for fold in range(number):
            _fold(statistics, roots, parts, fold, seed, whole / str(fold))
    return [out / str(fold) for fold in range(number)]


def _fold(
    statistics: Statistics, roots: Mapping[str, Path], parts: Mapping[str, str], fold: int, seed: int, target: Path
) -> None:
    held = {group for group, part in parts.items() if part == str(fold)}
    made: dict[str, str | int | float | bool | None] = {"fold": fold, "seed": seed, "id": f"fold-{fold}-seed-{seed}"}
    for name, root in roots.items():
        copy = target / FOLDERS[name]
        for part in LABELS:
            if (root / part).is_dir():
                shutil.copytree(root / part, copy / part)
        if (root / artifacts.RECORD).is_file():
            shutil.copy2(root / artifacts.RECORD, copy / artifacts.RECORD)
        data_card.copy_licences(root, copy)
        entries = _entries(statistics, name, root, parts, held)
        file = SplitFile(made=made, frames=entries)
        disk.write_json(copy / splits.NAME, file.model_dump(mode="json"))


def _entries(
    statistics: Statistics, name: str, root: Path, parts: Mapping[str, str], held: set[str]
) -> dict[str, Entry]:
    rows = [
        (frame, group)
        for frame, group in zip(statistics.frames, statistics.groups, strict=True)
        if frame.dataset == name
    ]
    watched = {group for frame, group in rows if frame.split != "train" and group not in parts}
    sides = {group: "validation" if group in held | watched else "train" for _, group in rows}
    return {
        frame.path.relative_to(root).as_posix(): Entry.model_validate(
            {"sha256": frame.sha256, "group": group, "split": sides[group]}
        )
        for frame, group in rows
    }
