"""Which version is in service: ``models.config``, moved by one rename."""

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
def place(saved_model: Path, fresh: Fresh) -> StoreLocation:
    """A store of three versions; the last one is the candidate, and the second was not blessed."""
    target = store.at(fresh())
    for blessed in (True, False, True):
        number = store.publish(target, saved_model, {"blessed": blessed}, lambda staged: None)
    version_labels.upload(target, number)
    return target


def config(place: StoreLocation) -> ModelServerConfig:
    text = place.labels()[0]
    if place.name != "mlflow:":
        raw = place.text("models.config")
        assert isinstance(raw, bytes)
        text = raw.decode()
    return text_format.Parse(text or "", ModelServerConfig())


def served(place: StoreLocation) -> tuple[list[int], dict[str, int]]:
    """Give the versions that TF Serving would load, and its labels."""
    (entry,) = config(place).model_config_list.config
    assert (entry.name, entry.base_path, entry.model_platform) == ("pipe_seg", place.base, "tensorflow")
    return list(entry.model_version_policy.specific.versions), dict(entry.version_labels)


def test_labels_and_versions_to_load_move_together(place: StoreLocation) -> None:
    assert served(place) == ([3], {"candidate": 3})
    assert version_labels.promote(place, 1) == (1, None)
    assert served(place) == ([1, 3], {"stable": 1, "candidate": 3})
    assert version_labels.promote(place) == (3, 1)
    assert served(place) == ([1, 3], {"stable": 3, "previous": 1})


def test_promoted_or_rolled_back_twice_is_once(place: StoreLocation) -> None:
    version_labels.promote(place, 1)
    for _ in range(2):
        assert version_labels.promote(place, 3)[0] == 3
        assert version_labels.read(place) == {"stable": 3, "previous": 1}
    assert version_labels.rollback(place) == (1, 3)
    assert version_labels.rollback(place) == (1, 1)
    assert served(place) == ([1], {"stable": 1, "previous": 1})
    assert version_labels.promote(place, 3) == (3, 1)


def test_what_may_not_be_served_is_not_promoted(saved_model: Path, tmp_path: Path) -> None:
    place = store.at(str(tmp_path / "store"))
    for blessed in (True, False, True):
        store.publish(place, saved_model, {"blessed": blessed}, lambda staged: None)
    version_labels.upload(place, 3)
    version_labels.promote(place, 1)
    with pytest.raises(RefusedError, match="not blessed"):
        version_labels.promote(place, 2)
    version_labels.promote(place, 2, unblessed=True)
    base = tmp_path / "store" / "pipe_seg"
    (base / "3" / "saved_model.pb").write_bytes(b"grapH")
    with pytest.raises(RefusedError, match=r"3/saved_model\.pb: changed"):
        version_labels.promote(place, 3)
    with pytest.raises(ConfigError, match=r"no such version \(got 9\); expected 1, 2, 3"):
        version_labels.promote(place, 9)
    (base / "1" / "manifest.json").unlink()
    with pytest.raises(RefusedError, match=r"manifest\.json: missing"):
        version_labels.rollback(place)
    assert version_labels.read(place) == {"stable": 2, "previous": 1, "candidate": 3}


def test_nothing_to_go_back_to_and_nothing_to_promote(tmp_path: Path) -> None:
    place = store.at(str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match="nothing was stable before"):
        version_labels.rollback(place)
    with pytest.raises(ConfigError, match="no version is labelled candidate"):
        version_labels.promote(place)
    assert version_labels.prune(place, 1) == []


def test_who_is_slower_begins_anew_from_what_is_there_then(
    place: StoreLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody promotes 1 after we have read the labels and before we have written them."""
    slow, quick = store.at(place.name), store.at(place.name)
    if isinstance(slow, Folder | Registry):
        pytest.skip("a folder is locked meanwhile; a registry has no revisions")
    relabel, calls = slow.relabel, []

    def late(text: str, revision: int) -> bool:
        if not calls:
            version_labels.promote(quick, 1)
        calls.append(revision)
        return relabel(text, revision)

    monkeypatch.setattr(slow, "relabel", late)
    assert version_labels.promote(slow, 3) == (3, 1)
    assert served(place) == ([1, 3], {"stable": 3, "previous": 1})
    assert len(calls) == 2


def test_other_models_and_another_place_stay(saved_model: Path, tmp_path: Path) -> None:
    place = store.at(str(tmp_path))
    store.publish(place, saved_model, {"blessed": True}, lambda staged: None)
    theirs = 'config { name: "other" base_path: "/o" model_platform: "tensorflow" }'
    ours = 'config { name: "pipe_seg" base_path: "/models/pipe_seg" model_platform: "tensorflow" }'
    (tmp_path / "models.config").write_text(f"model_config_list {{ {theirs} {ours} }}")
    version_labels.promote(place, 1)
    assert [(entry.name, entry.base_path) for entry in config(place).model_config_list.config] == [
        ("other", "/o"),
        ("pipe_seg", "/models/pipe_seg"),
    ]


def test_a_broken_file_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text("model_config_list {\n  confog {}\n}\n")
    with pytest.raises(ConfigError) as caught:
        version_labels.read(store.at(str(tmp_path)))
    assert caught.value.lines()[0].startswith(f"{tmp_path / 'models.config'}:2: ")


def test_old_versions_go_and_labelled_ones_stay(place: StoreLocation) -> None:
    version_labels.promote(place, 1)
    assert version_labels.prune(place, 1) == [2]
    assert place.versions() == [1, 3]
    assert version_labels.prune(place, 1) == []


def test_what_a_killed_withdrawal_left_goes(tmp_path: Path) -> None:
    (tmp_path / "pipe_seg" / ".withdrawn-7-x").mkdir(parents=True)
    version_labels.prune(store.at(str(tmp_path)), 1)
    assert list((tmp_path / "pipe_seg").iterdir()) == []


def test_from_upload_to_rollback_at_the_command_line(runs: Path, tmp_path: Path, cli: Command) -> None:
    place, run = tmp_path / "store", sorted(runs.iterdir())[1]
    for _ in range(2):
        told = cli("upload", run, "--to", place, "--yes", "--unblessed").stdout
    assert "labelled candidate" in told
    card = (place / "pipe_seg" / "2" / "README.md").read_text()
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
    assert "not blessed" in cli("models", "promote", 1, "--store", place, code=6).stderr
    cli("models", "promote", 1, "--store", place, "--unblessed")
    assert "stable     2, was 1" in cli("models", "promote", "--store", place, "--unblessed").stdout
    rows = cli("models", "list", "--store", place).stdout.splitlines()
    assert [row.split()[:2] for row in rows[1:]] == [["1", "previous"], ["2", "stable"]]
    assert "stable     1, was 2" in cli("models", "rollback", "--store", place).stdout
    assert cli("models", "verify", "--store", place).stdout.count("as published") == 2
    (place / "pipe_seg" / "2" / "more").touch()
    assert "2/more: not in the manifest" in cli("models", "verify", 2, "--store", place, code=6).stderr
    assert "removed    nothing" in cli("models", "prune", "--keep", 1, "--store", place).stdout
