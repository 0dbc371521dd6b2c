"""Statistics → folders for cross-validation: every scene with contours is held out in one of them."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from pipe_seg import disk
from pipe_seg.annotations import splits
from pipe_seg.annotations.splits import Entry, SplitFile
from pipe_seg.data import grouping
from pipe_seg.data.statistics import Statistics
from pipe_seg.errors import ConfigError, InputDataError, Problem
from pipe_seg.schema import FOLDERS

LABELS = ("images", "labels", "masks", "annotations")
RECORDS = ("LICENSE", "LICENCE", "artifact.json")


def run(statistics: Statistics, roots: Mapping[str, Path], *, number: int, seed: int, out: Path) -> list[Path]:
    """Make ``number`` folders in ``out``, each with both data sets and a frozen split; give them.

    The scenes that PS shows, in whatever split, are divided by class; fold i holds the i-th part out. PBS keeps its
    own split, less the scenes that are held out: one that PS holds out does not train. Files are linked where the
    disk allows it, else copied.

    Raises:
        InputDataError: frames that cannot be used.
        ConfigError: there are no contours, or fewer scenes than folds.
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
    with disk.environment(out):
        return [_fold(statistics, roots, parts, fold, seed, out) for fold in range(number)]


def _fold(
    statistics: Statistics, roots: Mapping[str, Path], parts: Mapping[str, str], fold: int, seed: int, out: Path
) -> Path:
    target = out / str(fold)
    held = {group for group, part in parts.items() if part == str(fold)}
    made: dict[str, str | int | float | bool | None] = {"fold": fold, "seed": seed, "id": f"fold-{fold}-seed-{seed}"}
    shutil.rmtree(target, ignore_errors=True)
    for name, root in roots.items():
        for place in LABELS:
            if (root / place).is_dir():
                shutil.copytree(root / place, target / FOLDERS[name] / place, copy_function=disk.link)
        for record in RECORDS:
            if (root / record).is_file():
                shutil.copy2(root / record, target / FOLDERS[name] / record)
        entries = _entries(statistics, name, root, parts, held)
        file = SplitFile(made=made, frames=entries)
        disk.write_json(target / FOLDERS[name] / splits.NAME, file.model_dump(mode="json"))
    return target


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
