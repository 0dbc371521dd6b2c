"""Scenes: frames that must stay together; and splits that never cut one."""

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence

VIDEO = re.compile(r"(.*?\D)[ _-]*\d{1,9}")


def union(n: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """Give, for each of ``n`` items, the smallest item it is linked to, over any number of links."""
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
    """Give links between items of one key; a key of None links nothing."""
    first: dict[Hashable, int] = {}
    return [(first.setdefault(key, item), item) for item, key in enumerate(keys) if key is not None]


def video_of(stem: str) -> str:
    """Give the video a name tells: what stands before the last number."""
    found = VIDEO.fullmatch(stem)
    return found[1].rstrip(" _-") if found else stem


def divide(
    groups: Sequence[str], classes: Sequence[Sequence[int]], fractions: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Give each group its split.

    Groups go one by one, the largest and rarest first, to the split that is furthest from its share of
    their classes (iterative stratification, Sechidis et al. 2011, on whole groups). Equal choices are settled
    by a hash of seed and name, so the order of the frames does not matter.

    Args:
        groups: the group of every frame.
        classes: the class ids of every frame.
        fractions: the share of each split; they add up to 1.
        seed: another one, another split.
    """
    held: dict[str, Counter[int]] = defaultdict(Counter)
    for group, labels in zip(groups, classes, strict=True):
        held[group].update({-1: 1, **dict.fromkeys(labels, 1)})
    total = sum(held.values(), Counter())
    wanted = {split: {label: share * n for label, n in total.items()} for split, share in fractions.items()}
    shares = {group: math.fsum(n / total[label] for label, n in counts.items()) for group, counts in held.items()}
    order = sorted(held, key=lambda group: (-shares[group], _hash(seed, group)))
    found: dict[str, str] = {}
    for group in order:
        counts = held[group]

        def need(split: str, counts: Counter[int] = counts) -> float:
            return math.fsum(n * wanted[split][label] / total[label] for label, n in counts.items()) / fractions[split]

        chosen = max((split for split in fractions if fractions[split]), key=need)
        found[group] = chosen
        for label, n in counts.items():
            wanted[chosen][label] -= n
    return found


def _hash(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).hexdigest()
