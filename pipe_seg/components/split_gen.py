"""Statistics → a frozen split: ``splits.json`` beside each data set, no scene on two sides."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pipe_seg import disk
from pipe_seg.annotations import splits
from pipe_seg.annotations.splits import Entry, SplitFile
from pipe_seg.data import grouping
from pipe_seg.data.statistics import Statistics
from pipe_seg.errors import ConfigError, ConflictError, InputDataError, Problem


def run(
    statistics: Statistics,
    roots: Mapping[str, Path],
    *,
    fractions: Mapping[str, float],
    seed: int,
    group_by: str,
    legacy: bool = False,
    replace: bool = False,
) -> dict[str, SplitFile]:
    """Writes the split files of the data sets in ``roots`` (name: folder); returns them by name.

    Frames with contours are divided first, by class; a scene that both data sets show goes where its contours
    go; the other scenes are divided the same way. ``legacy`` keeps the folders' own split, whatever it cuts.

    Raises:
        InputDataError: frames that cannot be used.
        ConfigError: a split would hold no frame.
        ConflictError: there is another split file already and ``replace`` is not set.
    """
    problems = [problem for frame in statistics.frames for problem in frame.problems]
    if problems:
        raise InputDataError(*problems)
    side = _own(statistics) if legacy else _divided(statistics, fractions, seed)
    made: dict[str, str | int | float | bool | None] = {
        "group_by": group_by,
        "seed": seed,
        "legacy": legacy,
        "crossing_pairs": statistics.crossing_pairs() if legacy else 0,
        **{f"fraction_{split}": share for split, share in fractions.items() if not legacy},
    }
    made["id"] = _id(statistics, side, made)
    files = {name: _file(statistics, name, root, side, made) for name, root in roots.items()}
    if not replace:
        _check_free(roots, files)
    for name, root in roots.items():
        disk.write_json(root / splits.NAME, files[name].model_dump(mode="json"))
    return files


def _check_free(roots: Mapping[str, Path], files: Mapping[str, SplitFile]) -> None:
    """Let only the same split be written again, as after a run that was killed between two files."""
    cure = "--replace to make another"
    for name, root in roots.items():
        try:
            same = splits.read(root) in (None, files[name])
        except InputDataError:
            same = False
        if not same:
            raise ConflictError(Problem(root / splits.NAME, "is frozen already", expected=cure))


def _own(statistics: Statistics) -> list[str]:
    """Returns the split that each frame's folder names."""
    return [frame.split for frame in statistics.frames]


def _divided(statistics: Statistics, fractions: Mapping[str, float], seed: int) -> list[str]:
    """Returns the split of each frame's scene."""
    sides: dict[str, str] = {}
    for name in sorted(statistics.datasets, key=lambda name: name != "ps"):
        chosen = [index for index, frame in enumerate(statistics.frames) if frame.dataset == name]
        free = [index for index in chosen if statistics.groups[index] not in sides]
        groups = [statistics.groups[index] for index in free]
        sides |= grouping.divide(groups, [statistics.frames[index].labels for index in free], fractions, seed)
        held = Counter(sides[statistics.groups[index]] for index in chosen)
        empty = [split for split, share in fractions.items() if share and not held[split]]
        if empty:
            got = f"{len(set(groups))} scenes in {name}"
            raise ConfigError(
                Problem("--fractions", f"{empty[0]} would hold no frame", got=got, expected="a larger share")
            )
    return [sides[group] for group in statistics.groups]


def _file(
    statistics: Statistics, name: str, root: Path, side: list[str], made: Mapping[str, str | int | float | bool | None]
) -> SplitFile:
    frames = {
        frame.path.relative_to(root).as_posix(): {"sha256": frame.sha256, "group": group, "split": split}
        for frame, group, split in zip(statistics.frames, statistics.groups, side, strict=True)
        if frame.dataset == name
    }
    entries = {path: Entry.model_validate(entry) for path, entry in sorted(frames.items())}
    return SplitFile(made=dict(made), frames=entries)


def _id(statistics: Statistics, side: list[str], made: Mapping[str, object]) -> str:
    """Returns a name that two split files share only if they were made together."""
    told = sorted(zip((frame.sha256 for frame in statistics.frames), statistics.groups, side, strict=True))
    return hashlib.sha256(json.dumps([told, made], sort_keys=True).encode()).hexdigest()[:16]
