"""Version labels in `models.config`."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from pipe_seg.errors import ConfigError, RefusedError
from pipe_seg.serving import store
from pipe_seg.serving.store import version_labels
from pipe_seg.serving.store.folder import Folder
from pipe_seg.serving.store.location import StoreLocation
from pipe_seg.serving.store.registry import Registry
from tests.conftest import Command
from tests.serving.conftest import Fresh


@pytest.fixture
def location(saved_model: Path, fresh: Fresh) -> StoreLocation:
    """A store of three versions; the last one is the candidate, and the second was not blessed."""
    target = store.at(fresh())
    for blessed in (True, False, True):
        number = store.publish(target, saved_model, {"blessed": blessed}, lambda staged: None)
    version_labels.upload(target, number)
    return target


def config(location: StoreLocation) -> ModelServerConfig:
    text = location.read_labels()[0]
    if location.name != "mlflow:":
        raw = location.text("models.config")
        assert isinstance(raw, bytes)
        text = raw.decode()
    return text_format.Parse(text or "", ModelServerConfig())


def served(location: StoreLocation) -> tuple[list[int], dict[str, int]]:
    """Returns the versions that TF Serving would load, and its labels."""
    (entry,) = config(location).model_config_list.config
    assert (entry.name, entry.base_path, entry.model_platform) == ("pipe_seg", location.base, "tensorflow")
    return list(entry.model_version_policy.specific.versions), dict(entry.version_labels)


def test_labels_and_versions_to_load_move_together(location: StoreLocation) -> None:
    assert served(location) == ([3], {"candidate": 3})
    assert version_labels.promote(location, 1) == (1, None)
    assert served(location) == ([1, 3], {"stable": 1, "candidate": 3})
    assert version_labels.promote(location) == (3, 1)
    assert served(location) == ([1, 3], {"stable": 3, "previous": 1})


def test_promotion_and_rollback_are_idempotent(location: StoreLocation) -> None:
    version_labels.promote(location, 1)
    for _ in range(2):
        assert version_labels.promote(location, 3)[0] == 3
        assert version_labels.read(location) == {"stable": 3, "previous": 1}
    assert version_labels.rollback(location) == (1, 3)
    assert version_labels.rollback(location) == (1, 1)
    assert served(location) == ([1], {"stable": 1, "previous": 1})
    assert version_labels.promote(location, 3) == (3, 1)


def test_unblessed_and_damaged_versions_are_not_promoted(saved_model: Path, tmp_path: Path) -> None:
    location = store.at(str(tmp_path / "store"))
    for blessed in (True, False, True):
        store.publish(location, saved_model, {"blessed": blessed}, lambda staged: None)
    version_labels.upload(location, 3)
    version_labels.promote(location, 1)
    with pytest.raises(RefusedError, match="not blessed"):
        version_labels.promote(location, 2)
    version_labels.promote(location, 2, unblessed=True)
    base = tmp_path / "store" / "pipe_seg"
    (base / "3" / "saved_model.pb").write_bytes(b"grapH")
    with pytest.raises(RefusedError, match=r"3/saved_model\.pb: changed"):
        version_labels.promote(location, 3)
    with pytest.raises(ConfigError, match=r"no such version \(got 9\); expected 1, 2, 3"):
        version_labels.promote(location, 9)
    (base / "1" / "manifest.json").unlink()
    with pytest.raises(RefusedError, match=r"manifest\.json: missing"):
        version_labels.rollback(location)
    assert version_labels.read(location) == {"stable": 2, "previous": 1, "candidate": 3}


def test_rollback_and_promotion_in_an_empty_store(tmp_path: Path) -> None:
    location = store.at(str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match="no previous stable version"):
        version_labels.rollback(location)
    with pytest.raises(ConfigError, match="no version is labelled candidate"):
        version_labels.promote(location)
    assert version_labels.prune(location, 1) == []


def test_the_slower_of_two_writers_retries_with_the_current_labels(
    location: StoreLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer promotes 1 after we have read the labels and before we have written them."""
    slow, quick = store.at(location.name), store.at(location.name)
    if isinstance(slow, Folder | Registry):
        pytest.skip("a folder is locked; a registry has no revisions")
    write_labels, calls = slow.write_labels, []

    def late(text: str, revision: int) -> bool:
        if not calls:
            version_labels.promote(quick, 1)
        calls.append(revision)
        return write_labels(text, revision)

    monkeypatch.setattr(slow, "write_labels", late)
    assert version_labels.promote(slow, 3) == (3, 1)
    assert served(location) == ([1, 3], {"stable": 3, "previous": 1})
    assert len(calls) == 2


def test_other_models_and_another_base_path_are_kept(saved_model: Path, tmp_path: Path) -> None:
    location = store.at(str(tmp_path))
    store.publish(location, saved_model, {"blessed": True}, lambda staged: None)
    other = 'config { name: "other" base_path: "/o" model_platform: "tensorflow" }'
    pipe_seg = 'config { name: "pipe_seg" base_path: "/models/pipe_seg" model_platform: "tensorflow" }'
    (tmp_path / "models.config").write_text(f"model_config_list {{ {other} {pipe_seg} }}")
    version_labels.promote(location, 1)
    assert [(entry.name, entry.base_path) for entry in config(location).model_config_list.config] == [
        ("other", "/o"),
        ("pipe_seg", "/models/pipe_seg"),
    ]


def test_a_broken_file_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text("model_config_list {\n  confog {}\n}\n")
    with pytest.raises(ConfigError) as caught:
        version_labels.read(store.at(str(tmp_path)))
    assert caught.value.lines()[0].startswith(f"{tmp_path / 'models.config'}:2: ")


def test_old_versions_are_removed_and_labelled_ones_kept(location: StoreLocation) -> None:
    version_labels.promote(location, 1)
    assert version_labels.prune(location, 1) == [2]
    assert location.versions() == [1, 3]
    assert version_labels.prune(location, 1) == []


def test_the_remains_of_a_killed_deletion_are_removed(tmp_path: Path) -> None:
    (tmp_path / "pipe_seg" / ".withdrawn-7-x").mkdir(parents=True)
    version_labels.prune(store.at(str(tmp_path)), 1)
    assert list((tmp_path / "pipe_seg").iterdir()) == []


def test_from_upload_to_rollback_at_the_command_line(runs: Path, tmp_path: Path, cli: Command) -> None:
    location, run = tmp_path / "store", sorted(runs.iterdir())[1]
    for _ in range(2):
        output = cli("upload", run, "--to", location, "--yes", "--unblessed").stdout
    assert "labelled candidate" in output
    card = (location / "pipe_seg" / "2" / "README.md").read_text()
    for words in (
        "from run",
        "**Not blessed**",
        "| misalignment |",
        "ms from JPEG to PNG mask on",
        "curl -d",
        "| validation | ",
    ):
        assert words in card, words
    assert "None" not in card
    assert "not blessed" in cli("models", "promote", 1, "--store", location, code=6).stderr
    cli("models", "promote", 1, "--store", location, "--unblessed")
    assert "stable     2, was 1" in cli("models", "promote", "--store", location, "--unblessed").stdout
    rows = cli("models", "list", "--store", location).stdout.splitlines()
    assert [row.split()[:2] for row in rows[1:]] == [["1", "previous"], ["2", "stable"]]
    assert "stable     1, was 2" in cli("models", "rollback", "--store", location).stdout
    assert cli("models", "verify", "--store", location).stdout.count("as published") == 2
    (location / "pipe_seg" / "2" / "more").touch()
    assert "2/more: not in the manifest" in cli("models", "verify", 2, "--store", location, code=6).stderr
    assert "removed    nothing" in cli("models", "prune", "--keep", 1, "--store", location).stdout
