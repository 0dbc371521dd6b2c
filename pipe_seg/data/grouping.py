"""Scenes (frames that must stay together) and splits that never divide a scene."""

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence

VIDEO = re.compile(r"(.*?\D)[ _-]*\d{1,9}")


def union(n: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """Returns for each of ``n`` items the smallest item it is linked to, over any number of links."""
    parent = list(range(n))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for first, second in links:
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return [root(item) for item in range(n)]


def equal(keys: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Returns links between items with equal keys; a key of None links nothing."""
    first: dict[Hashable, int] = {}
    return [(first.setdefault(key, item), item) for item, key in enumerate(keys) if key is not None]


def video_of(stem: str) -> str:
    """Returns the video that a file stem names: the part before the last number."""
    match = VIDEO.fullmatch(stem)
    return match[1].rstrip(" _-") if match else stem


def divide(
    groups: Sequence[str], classes: Sequence[Sequence[int]], fractions: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Returns the split of each group.

    The largest and rarest groups come first; each goes to the split that is furthest from its share of the group's
    classes (iterative stratification, Sechidis et al. 2011, on whole groups). A hash of seed and name breaks ties,
    which makes the result independent of the order of frames.

    Args:
        groups: The group of every frame.
        classes: The class ids of every frame.
        fractions: The fraction of each split; they add up to 1.
        seed: Seed of the tie-breaking hash.
    """
    classes_of_group: dict[str, Counter[int]] = defaultdict(Counter)
    for group, labels in zip(groups, classes, strict=True):
        classes_of_group[group].update({-1: 1, **dict.fromkeys(labels, 1)})
    total = sum(classes_of_group.values(), Counter())
    missing = {split: {label: share * n for label, n in total.items()} for split, share in fractions.items()}
    shares = {
        group: math.fsum(n / total[label] for label, n in counts.items()) for group, counts in classes_of_group.items()
    }
    order = sorted(classes_of_group, key=lambda group: (-shares[group], _hash(seed, group)))
    splits: dict[str, str] = {}
    for group in order:
        counts = classes_of_group[group]

        def need(split: str, counts: Counter[int] = counts) -> float:
            return math.fsum(n * missing[split][label] / total[label] for label, n in counts.items()) / fractions[split]

        chosen = max((split for split in fractions if fractions[split]), key=need)
        splits[group] = chosen
        for label, n in counts.items():
            missing[chosen][label] -= n
    return splits


def _hash(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).hexdigest()
