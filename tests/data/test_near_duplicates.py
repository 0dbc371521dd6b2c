"""Near duplicates under other names are found, and unrelated frames stay apart."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from pipe_seg.data import near_duplicates
from tests import planted
from tests.conftest import REAL_FRAMES


def shares(folder: Path, scenes: int, seed: int) -> tuple[dict[str, float], float]:
    """Returns, per kind of relative, the share grouped with its scene's first frame, and the share of false merges."""
    frames, groups = planted.grouped(folder, scenes, seed)
    first = {frame.scene: groups[name] for name, frame in frames.items() if frame.kind == "first"}
    together = defaultdict(list)
    for name, frame in frames.items():
        together[frame.kind].append(groups[name] == first[frame.scene])
    scenes_of = defaultdict(set)
    for name, frame in frames.items():
        scenes_of[groups[name]].add(frame.scene)
    merged = sum(len(held) - 1 for held in scenes_of.values()) / scenes
    return {kind: float(np.mean(same)) for kind, same in together.items()}, merged


def test_planted_relatives_are_grouped(tmp_path: Path) -> None:
    found, merged = shares(tmp_path, 30, seed=1)
    assert found["exact"] == found["re-encoded"] == 1.0
    assert found["sibling"] >= 0.95
    assert found["neighbour"] >= 0.95
    assert merged <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_five_hundred_planted_frames(tmp_path: Path, seed: int) -> None:
    found, merged = shares(tmp_path, 100, seed)
    assert found["exact"] == found["re-encoded"] == 1.0
    assert found["sibling"] >= 0.95
    assert found["neighbour"] >= 0.95
    assert merged <= 0.01


def test_a_mirrored_feature_is_the_same_numbers_in_another_order() -> None:
    frame = next(planted.frames(1, 3)).data
    from pipe_seg import images

    pixels = images.decode(frame)
    plain = near_duplicates.descriptor_of_bytes(images.encode(pixels, ".png"))
    mirrored = near_duplicates.descriptor_of_bytes(images.encode(np.ascontiguousarray(pixels[:, ::-1]), ".png"))
    assert sorted(near_duplicates.MIRRORED.tolist()) == list(range(128))
    best = (plain.features[:, near_duplicates.MIRRORED].astype(float) @ mirrored.features.T).max(1)
    stranger = (plain.features.astype(float) @ mirrored.features.T).max(1)
    assert np.median(best) > 0.95 > np.median(stranger)


def test_frames_without_a_feature_are_strangers() -> None:
    from pipe_seg import images

    plain = [images.encode(np.full((60, 80, 3), level, np.uint8), ".png") for level in (0, 40, 200)]
    dark = [near_duplicates.descriptor_of_bytes(data) for data in plain]
    assert near_duplicates.pairs(dark) == []
    assert near_duplicates.pairs([]) == []


@pytest.mark.skipif(not (REAL_FRAMES / "PipeSegmentation").is_dir(), reason="real frames are not on this machine")
def test_real_siblings_are_found_by_pixels_alone() -> None:
    """Scenes with several augmented versions, and as many unrelated frames; names are not used."""
    folder = REAL_FRAMES / "PipeBoxSegmentation" / "images" / "train"
    by_scene = defaultdict(list)
    for path in sorted(folder.glob("*_?.jpg")):
        by_scene[path.stem[:6]].append(path)
    families = [paths for paths in by_scene.values() if len(paths) > 1][:40]
    alone = [paths[0] for paths in by_scene.values() if len(paths) == 1][:80]
    paths = sorted([path for family in families for path in family] + alone)
    descriptors = [near_duplicates.descriptor_of_bytes(path.read_bytes()) for path in paths]
    pairs = {(paths[pair.first].stem[:6], paths[pair.second].stem[:6]) for pair in near_duplicates.pairs(descriptors)}
    found = {one for one, other in pairs if one == other}
    strangers = {(one, other) for one, other in pairs if one != other}
    assert len(found) / len(families) >= 0.95
    assert len(strangers) <= 2
