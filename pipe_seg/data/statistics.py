"""Statistics of a folder of frames: each frame, the links between frames, the scenes they form."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from pipe_seg.data.dataset_counts import DatasetCounts
from pipe_seg.data.near_duplicates import Descriptor
from pipe_seg.errors import Problem
from pipe_seg.schema import CLASS_NAMES


@dataclass(frozen=True)
class FrameStatistics:
    """Findings on one frame.

    ``problems``: reasons why it cannot be used; ``oddities``: harmless notes; ``descriptor``: None if not decoded.
    """

    dataset: str
    path: Path
    split: str
    sha256: str
    size: tuple[int, int]
    labels: tuple[int, ...]
    counts_of_frame: DatasetCounts
    problems: tuple[Problem | str, ...]
    oddities: tuple[str, ...]
    refused: bool
    mask_level: int
    descriptor: Descriptor | None = field(default=None, compare=False, repr=False)

    @property
    def side(self) -> tuple[str, str]:
        """The dataset and its split."""
        return self.dataset, self.split


@dataclass(frozen=True)
class Link:
    """Two frames of one scene, by index; ``why`` is name, video, regex, bytes or look."""

    first: int
    second: int
    why: str
    likeness: float = 1.0


@dataclass(frozen=True)
class Statistics:
    """All frames of a folder, the links between them, and the scene of each: the stem of its first frame."""

    root: Path
    datasets: tuple[str, ...]
    frames: tuple[FrameStatistics, ...]
    links: tuple[Link, ...]
    groups: tuple[str, ...]
    orphans: tuple[Problem, ...]

    def crossing(self) -> list[Link]:
        """Returns the links from training frames to held-out frames, one per pair of frames."""
        seen: dict[tuple[int, int], Link] = {}
        for link in self.links:
            if _must_not_share(self.frames[link.first].side, self.frames[link.second].side):
                seen.setdefault((link.first, link.second), link)
        return list(seen.values())

    def crossing_pairs(self) -> int:
        """Returns the number of pairs of one scene with one frame in training and the other held out."""
        sides: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        for frame, group in zip(self.frames, self.groups, strict=True):
            sides[group][frame.side] += 1
        return sum(
            counts[one] * counts[other]
            for counts in sides.values()
            for one, other in combinations(sorted(counts), 2)
            if _must_not_share(one, other)
        )

    def copies(self) -> int:
        """Returns the number of files whose bytes equal those of an earlier file."""
        counts = Counter(frame.sha256 for frame in self.frames if frame.size != (0, 0))
        return sum(n - 1 for n in counts.values())

    def to_json(self) -> dict[str, Any]:
        """Returns the figures as plain values."""
        return {
            "root": str(self.root),
            "frames": len(self.frames),
            "scenes": len(set(self.groups)),
            "largest_scene": max(Counter(self.groups).values(), default=0),
            "links": dict(sorted(Counter(link.why for link in self.links).items())),
            "copies": self.copies(),
            "crossing": dict(sorted(Counter(link.why for link in self.crossing()).items())),
            "datasets": {name: self._figures(name) for name in self.datasets},
        }

    def _figures(self, name: str) -> dict[str, Any]:
        frames = [frame for frame in self.frames if frame.dataset == name]
        total = DatasetCounts.sum(frame.counts_of_frame for frame in frames)
        usable = max(total.counts["frames"], 1)
        return {
            "frames": dict(Counter(frame.split for frame in frames)),
            "unusable": sum(bool(frame.problems) for frame in frames),
            "sizes": {f"{w}x{h}": n for (h, w), n in Counter(frame.size for frame in frames).most_common(8)},
            "without_defect": total.counts["without_defect"],
            "defect_area": round(total.counts["defect_area_ppm"] / usable / 1_000_000, 4),
            "frames_of_class": {label: total.counts[f"frames_of.{label}"] for label in CLASS_NAMES},
            "boxes_of_class": {label: total.counts[f"boxes_of.{label}"] for label in CLASS_NAMES},
            "box_against_contour": total.noise(),
        }


def _must_not_share(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Returns whether two sides (dataset, split) must not share a scene."""
    # Splits of one dataset share no scene. Across datasets, boxes may show a scene whose contours are trained on, but
    # training boxes never show a scene whose contours are held out.
    if one[0] == other[0]:
        return one[1] != other[1]
    (_, boxes), (_, contours) = sorted((one, other))
    return boxes == "train" and contours != "train"
