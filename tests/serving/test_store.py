import concurrent.futures
import os
import random
import shutil
from pathlib import Path

import pytest

from pipe_seg import disk
from pipe_seg.errors import ConfigError, MachineError, RefusedError
from pipe_seg.serving import store
from tests.serving import servers
from tests.serving.conftest import Fresh


def publish(saved_model: Path, uri: object) -> int:
    return store.publish(store.at(str(uri)), saved_model, {"scores": {"iou": 0.5}}, lambda staged: None)


def published(saved_model: Path, folder: Path) -> Path:
    return folder / "pipe_seg" / str(publish(saved_model, folder))


def test_versions_count_up_and_are_never_written_again(saved_model: Path, fresh: Fresh) -> None:
    uri = fresh()
    assert [publish(saved_model, uri) for _ in range(2)] == [1, 2]
    location = store.at(uri)
    assert location.versions() == [1, 2]
    assert store.manifest(location, 2)["scores"] == {"iou": 0.5}
    store.verify(location, 1)
    with location.fetched("1") as folder:
        assert (folder / "variables" / "variables.index").read_bytes() == b"index"
    with pytest.raises(ConfigError, match=r"no such version \(got 3\); expected 1, 2"):
        store.manifest(location, 3)


def test_only_the_names_tf_serving_reads_are_versions(saved_model: Path, tmp_path: Path) -> None:
    base = tmp_path / "store" / "pipe_seg"
    for name in ("01", "+7", "-1", "8.tmp", ".9", "1_0", "١", "0", "labels"):
        (base / name).mkdir(parents=True)
    assert publish(saved_model, tmp_path / "store") == 1


def test_a_refused_upload_leaves_nothing(saved_model: Path, fresh: Fresh) -> None:
    def refuse(staged: Path) -> None:
        assert (staged / "saved_model.pb").is_file()
        raise RefusedError("no")

    location = store.at(fresh())
    with pytest.raises(RefusedError):
        store.publish(location, saved_model, {}, refuse)
    assert location.versions() == []
    assert publish(saved_model, location.name) == 1


@pytest.mark.parametrize("damage", ["changed", "missing", "not in the manifest"])
def test_every_damaged_file_is_named(saved_model: Path, tmp_path: Path, damage: str) -> None:
    version = published(saved_model, tmp_path / "store")
    path = version / "variables" / ("extra" if damage.startswith("not") else "variables.index")
    path.unlink() if damage == "missing" else path.write_bytes(b"other")
    with pytest.raises(RefusedError) as caught:
        store.check(version)
    assert caught.value.lines() == [f"{path}: {damage}"]


def test_every_mutation_of_a_version_is_named(saved_model: Path, tmp_path: Path) -> None:
    """Flips bits, adds, deletes, renames, swaps and truncates files, and replaces them by links."""
    pristine = published(saved_model, tmp_path / "store")
    dice = random.Random(5)
    for number in range(200):
        version = Path(shutil.copytree(pristine, tmp_path / str(number)))
        touched = MUTATIONS[number % len(MUTATIONS)](version, dice)
        with pytest.raises(RefusedError) as caught:
            store.check(version)
        named = {line.partition(": ")[0] for line in caught.value.lines()}
        assert named & {str(path) for path in touched}, (number, named, touched)


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
    """A link to the same bytes."""
    path = _some(version, dice)
    aside = path.rename(version.parent / f"aside-{version.name}")
    path.symlink_to(aside)
    return [path]


MUTATIONS = (_flipped, _added, _deleted, _renamed, _swapped, _cut, _linked)


def test_an_empty_folder_occupies_its_number(saved_model: Path, tmp_path: Path) -> None:
    (tmp_path / "store" / "pipe_seg" / "1").mkdir(parents=True)
    assert publish(saved_model, tmp_path / "store") == 2
    (tmp_path / "new").mkdir()
    assert not disk.rename_new(tmp_path / "new", tmp_path / "store" / "pipe_seg" / "1")
    assert disk.rename_new(tmp_path / "new", tmp_path / "free")


def test_a_file_named_like_a_version_occupies_its_number(saved_model: Path, tmp_path: Path) -> None:
    (tmp_path / "store" / "pipe_seg").mkdir(parents=True)
    (tmp_path / "store" / "pipe_seg" / "1").touch()
    (tmp_path / "store" / "pipe_seg" / "2").symlink_to("nowhere")
    assert publish(saved_model, tmp_path / "store") == 3


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "a//x", "./x", "..\\x", "x\0"])
def test_an_object_whose_name_leads_outside_is_not_fetched(name: str) -> None:
    from pipe_seg.serving.store import remote

    with pytest.raises(RefusedError, match="leads outside"):
        remote._inside(name)
    assert remote._inside("variables/variables.index") == "variables/variables.index"


def test_concurrent_uploads_lose_nothing(saved_model: Path, fresh: Fresh) -> None:
    uri = fresh()
    if uri == "mlflow:":
        pytest.skip("MLflow's registry in a folder loses concurrent uploads; its database does not")
    number = 40 if "://" not in uri else 12
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        versions = list(pool.map(lambda _: publish(saved_model, uri), range(number)))
    assert sorted(versions) == list(range(1, number + 1))
    location = store.at(uri)
    assert location.versions() == sorted(versions)
    for version in versions:
        store.verify(location, version)


def test_a_version_without_its_graph_does_not_count(saved_model: Path, s3_environment: dict[str, str]) -> None:
    """A killed upload leaves a reserved number and all files but the last in an object store."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_environment.items():
            patch.setenv(name, value)
        location = store.at(f"s3://{servers.BUCKET}/killed")
        publish(saved_model, location.name)
        location.delete(1)
        assert location.versions() == []
        assert publish(saved_model, location.name) == 2  # a number is never reused


@pytest.mark.parametrize("uri", ["http://host/x", "file://host/x", "mlflow://x"])
def test_another_scheme_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="unknown kind of store"):
        store.at(uri)


def test_a_password_in_a_uri_is_refused_and_not_printed() -> None:
    with pytest.raises(ConfigError) as caught:
        store.at("sftp://anna:hunter2@host/models")
    assert caught.value.lines() == [
        "sftp://host: the URI holds a password; expected credentials in the environment, or a key"
    ]


def test_denied_access_is_reported_without_secrets(s3_environment: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (s3_environment | {"AWS_SECRET_ACCESS_KEY": "wrong-secret"}).items():
            patch.setenv(name, value)
        with pytest.raises(MachineError, match="cannot be reached: ") as caught:
            store.at(f"s3://{servers.BUCKET}/x").versions()
    message = " ".join(caught.value.lines())
    assert "credentials for it in the environment" in message
    assert "wrong-secret" not in message
    assert servers.SECRET not in message
