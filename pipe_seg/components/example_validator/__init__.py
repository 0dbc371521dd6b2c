"""Statistics + rules → anomalies. An error stops what comes after; a warning is for a person to weigh."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipe_seg.annotations import folders
from pipe_seg.data.statistics import FrameStatistics, Statistics
from pipe_seg.errors import Problem, invocation
from pipe_seg.schema import CLASS_NAMES

TWINS_SHOWN = 5


@dataclass(frozen=True)
class Anomaly:
    """One thing that is wrong or odd: ``kind`` groups them, ``frames`` are the pictures that show it."""

    kind: str
    severity: Literal["error", "warning"]
    problem: Problem | str
    frames: tuple[Path, ...] = ()
    refused: bool = False

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        frames = [str(path) for path in self.frames]
        return {"kind": self.kind, "severity": self.severity, "what": str(self.problem), "frames": frames}


def run(statistics: Statistics) -> list[Anomaly]:
    """Returns everything that is wrong or odd, errors first, in a fixed order."""
    found = [
        *_unusable(statistics),
        *(Anomaly("orphan", "error", problem) for problem in statistics.orphans),
        *_mixed_masks(statistics),
        *_leaks(statistics),
        *_odd(statistics),
        *_copies(statistics),
        *_missing_classes(statistics),
    ]
    return sorted(found, key=lambda anomaly: anomaly.severity)


def _unusable(statistics: Statistics) -> Iterator[Anomaly]:
    for frame in statistics.frames:
        for problem in frame.problems:
            yield Anomaly("unusable", "error", problem, (frame.path,), refused=frame.refused)


def _mixed_masks(statistics: Statistics) -> Iterator[Anomaly]:
    for name in statistics.datasets:
        white = {frame.mask_level: frame for frame in statistics.frames if frame.dataset == name}
        if {1, 255} <= white.keys():
            got = f"{{0, 1}} for {white[1].path.name}, {{0, 255}} for {white[255].path.name}"
            problem = Problem(white[1].path, "masks of two kinds in one set", got=got, expected="one of the two")
            yield Anomaly("masks", "error", problem, (white[1].path, white[255].path))


def _leaks(statistics: Statistics) -> Iterator[Anomaly]:
    cure = f"`{invocation('data', 'split', statistics.root)}` to keep each scene on one side"
    for link in statistics.crossing():
        one, other = statistics.frames[link.first], statistics.frames[link.second]
        what = f"one scene in {_side(one)} and {_side(other)}, by {link.why}"
        problem = Problem(one.path, what, got=str(other.path), expected=cure)
        yield Anomaly("leak", "error", problem, (one.path, other.path))


def _side(frame: FrameStatistics) -> str:
    return f"{frame.dataset} {frame.split}"


def _odd(statistics: Statistics) -> Iterator[Anomaly]:
    for frame in statistics.frames:
        for oddity in frame.oddities:
            yield Anomaly("oddity", "warning", Problem(frame.path, oddity), (frame.path,))


def _copies(statistics: Statistics) -> Iterator[Anomaly]:
    """Yields the files with equal content, and near duplicates under unrelated names."""
    crossing = {(link.first, link.second) for link in statistics.crossing()}
    alike: dict[tuple[str, int], list[int]] = defaultdict(list)
    for link in statistics.links:
        pair = (link.first, link.second)
        one, other = (statistics.frames[index].path.stem for index in pair)
        siblings = folders.group_of(one) == folders.group_of(other)
        if link.why in ("bytes", "look") and pair not in crossing and not siblings:
            alike[link.why, link.first].append(link.second)
    for (why, first), others in alike.items():
        frame = statistics.frames[first]
        told = ", ".join(statistics.frames[other].path.name for other in others[:TWINS_SHOWN])
        more = f" and {len(others) - TWINS_SHOWN} more" if len(others) > TWINS_SHOWN else ""
        what = "the same bytes as" if why == "bytes" else "the same scene as"
        paths = tuple(statistics.frames[index].path for index in (first, *others))
        yield Anomaly("copy", "warning", Problem(frame.path, f"{what} {told}{more}"), paths)


def _missing_classes(statistics: Statistics) -> Iterator[Anomaly]:
    figures = statistics.to_json()["datasets"]
    for name, figure in figures.items():
        missing = [label for label, n in figure["frames_of_class"].items() if not n]
        if 0 < len(missing) < len(CLASS_NAMES):
            yield Anomaly("class", "warning", f"{statistics.root}: {name} has no frame of {', '.join(missing)}")
