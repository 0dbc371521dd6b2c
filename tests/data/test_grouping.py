from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipe_seg.data import grouping

FRACTIONS = {"train": 0.7, "validation": 0.15, "test": 0.15}


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_a_scene_is_everything_that_is_linked(case: tuple[int, list[tuple[int, int]]]) -> None:
    n, links = case
    groups = grouping.union(n, links)
    assert all(groups[one] == groups[other] for one, other in links)
    assert all(group <= item for item, group in enumerate(groups))
    assert groups == grouping.union(n, links[::-1])


def test_what_is_not_linked_stays_apart() -> None:
    assert grouping.union(5, [(0, 3), (3, 4)]) == [0, 1, 2, 0, 0]


def test_equal_keys_are_linked_and_none_links_nothing() -> None:
    assert [pair for pair in grouping.equal(["a", "b", "a", None, None]) if pair[0] != pair[1]] == [(0, 2)]


def test_a_video_is_what_stands_before_the_number() -> None:
    names = ["cam1_000123", "cam1_000124", "pipe-7 frame 12", "pipe", "0001"]
    assert [grouping.video_of(name) for name in names] == ["cam1", "cam1", "pipe-7 frame", "pipe", "0001"]


@given(
    st.lists(st.tuples(st.sampled_from("abcdefghijklmnopqrst"), st.integers(0, 5)), min_size=30, max_size=80),
    st.integers(0, 5),
    st.randoms(use_true_random=False),
)
def test_a_split_cuts_no_group_and_does_not_depend_on_order(
    frames: list[tuple[str, int]], seed: int, random: "object"
) -> None:
    groups, classes = [group for group, _ in frames], [[label] for _, label in frames]
    sides = grouping.divide(groups, classes, FRACTIONS, seed)
    assert set(sides) == set(groups)
    assert set(sides.values()) <= set(FRACTIONS)
    turned = grouping.divide(groups[::-1], classes[::-1], FRACTIONS, seed)
    assert sides == turned


def test_shares_are_kept_for_every_class() -> None:
    groups = [f"g{i}" for i in range(600)]
    classes = [[i % 6] for i in range(600)]
    sides = grouping.divide(groups, classes, FRACTIONS, seed=1)
    held = Counter((sides[group], label[0]) for group, label in zip(groups, classes, strict=True))
    assert all(held["train", label] == 70 for label in range(6))
    assert all(held["test", label] == 15 for label in range(6))


def test_another_seed_is_another_split() -> None:
    groups = [f"g{i}" for i in range(100)]
    one, other = (grouping.divide(groups, [[0]] * 100, FRACTIONS, seed) for seed in (1, 2))
    assert one != other
