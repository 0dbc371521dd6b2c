import concurrent.futures
import os
import random
import shutil
from pathlib import Path

import pytest

from pipe_seg import disk
from pipe_seg.errors import ConfigError, RefusedError
from pipe_seg.serving import store


@pytest.fixture
def saved_model(tmp_path: Path) -> Path:
    folder = tmp_path / "saved_model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.index").write_bytes(b"index")
    return folder


def publish(saved_model: Path, folder: Path) -> Path:
    return store.publish(saved_model, folder, {"scores": {"iou": 0.5}}, lambda staged: None)


def test_versions_count_up_and_are_never_written_again(saved_model: Path, tmp_path: Path) -> None:
    first, second = (publish(saved_model, tmp_path / "store") for _ in range(2))
    assert [first.name, second.name] == ["1", "2"]
    assert store.manifest(second)["scores"] == {"iou": 0.5}
    store.check(first)


def test_only_the_names_tf_serving_reads_are_versions(saved_model: Path, tmp_path: Path) -> None:
    base = tmp_path / "store" / "pipe_seg"
    for name in ("01", "+7", "-1", "8.tmp", ".9", "1_0", "١", "0", "labels"):
        (base / name).mkdir(parents=True)
    assert publish(saved_model, tmp_path / "store").name == "1"


def test_what_is_refused_leaves_nothing(saved_model: Path, tmp_path: Path) -> None:
    def refuse(staged: Path) -> None:
        assert (staged / "saved_model.pb").is_file()
        raise RefusedError("no")

    with pytest.raises(RefusedError):
        store.publish(saved_model, tmp_path / "store", {}, refuse)
    assert list((tmp_path / "store" / "pipe_seg").iterdir()) == []


@pytest.mark.parametrize("damage", ["changed", "missing", "not in the manifest"])
def test_every_damaged_file_is_named(saved_model: Path, tmp_path: Path, damage: str) -> None:
    version = publish(saved_model, tmp_path / "store")
    path = version / "variables" / ("extra" if damage.startswith("not") else "variables.index")
    path.unlink() if damage == "missing" else path.write_bytes(b"other")
    with pytest.raises(RefusedError) as caught:
        store.check(version)
    assert caught.value.lines() == [f"{path}: {damage}"]


def test_every_mutation_of_a_version_is_named(saved_model: Path, tmp_path: Path) -> None:
    """Bits flipped in every file, files added, deleted, renamed, swapped, cut short, and exchanged for links."""
    pristine = publish(saved_model, tmp_path / "store")
    dice = random.Random(5)
    for number in range(200):
        version = Path(shutil.copytree(pristine, tmp_path / str(number)))
        touched = MUTATIONS[number % len(MUTATIONS)](version, dice)
        with pytest.raises(RefusedError) as caught:
            store.check(version)
        told = {line.partition(": ")[0] for line in caught.value.lines()}
        assert told & {str(path) for path in touched}, (number, told, touched)


def _some(version: Path, dice: random.Random) -> Path:
    return dice.choice(sorted(path for path in version.rglob("*") if path.is_file()))


def _flipped(version: Path, dice: random.Random) -> list[Path]:
    path = _some(version, dice)
    data = bytearray(path.read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)
    return [path]


def _added(version: Path, dice: random.Random) -> list[Path]:
    path = dice.choice([version, version / "variables"]) / f"more-{dice.randrange(99)}"
    path.write_bytes(b"")
    return [path]


def _deleted(version: Path, dice: random.Random) -> list[Path]:
    path = _some(version, dice)
    path.unlink()
    return [path]


def _renamed(version: Path, dice: random.Random) -> list[Path]:
    path = _some(version, dice)
    return [path, path.rename(path.with_name(f"{path.name}.old"))]


def _swapped(version: Path, dice: random.Random) -> list[Path]:
    first, second = dice.sample(sorted(path for path in version.rglob("*") if path.is_file()), 2)
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    return [first, second]


def _cut(version: Path, dice: random.Random) -> list[Path]:
    path = _some(version, dice)
    os.truncate(path, dice.randrange(path.stat().st_size))
    return [path]


def _linked(version: Path, dice: random.Random) -> list[Path]:
    """A link to the very bytes."""
    path = _some(version, dice)
    aside = path.rename(version.parent / f"aside-{version.name}")
    path.symlink_to(aside)
    return [path]


MUTATIONS = (_flipped, _added, _deleted, _renamed, _swapped, _cut, _linked)


def test_an_empty_folder_is_not_taken_for_a_free_number(saved_model: Path, tmp_path: Path) -> None:
    (tmp_path / "store" / "pipe_seg" / "1").mkdir(parents=True)
    assert publish(saved_model, tmp_path / "store").name == "2"
    (tmp_path / "new").mkdir()
    assert not disk.rename_new(tmp_path / "new", tmp_path / "store" / "pipe_seg" / "1")
    assert disk.rename_new(tmp_path / "new", tmp_path / "free")


def test_many_at_once_lose_nothing(saved_model: Path, tmp_path: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda _: publish(saved_model, tmp_path / "store"), range(40)))
    assert sorted(int(version.name) for version in versions) == list(range(1, 41))
    for version in versions:
        store.check(version)


@pytest.mark.parametrize("uri", ["s3://bucket/x", "http://host/x", "file://host/x"])
def test_another_scheme_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="not a folder"):
        store.local(uri)
