"""Which version is in service: ``models.config``, moved by one rename."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from pipe_seg.errors import ConfigError, RefusedError
from pipe_seg.serving import labels, store
from tests.conftest import Command


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A store of three versions; the last one is the candidate, and the second was not blessed."""
    saved_model, target = tmp_path / "saved_model", tmp_path / "store"
    saved_model.mkdir()
    (saved_model / "saved_model.pb").write_bytes(b"graph")
    for blessed in (True, False, True):
        published = store.publish(saved_model, target, {"blessed": blessed}, lambda staged: None)
    labels.upload(target, int(published.name))
    return target


def served(place: Path) -> tuple[list[int], dict[str, int]]:
    """Give the versions that TF Serving would load, and its labels."""
    config = text_format.Parse((place / "models.config").read_text(), ModelServerConfig())
    (entry,) = config.model_config_list.config
    assert (entry.name, entry.base_path, entry.model_platform) == (
        "pipe_seg",
        str(place / "pipe_seg"),
        "tensorflow",
    )
    return list(entry.model_version_policy.specific.versions), dict(entry.version_labels)


def test_labels_and_versions_to_load_move_together(place: Path) -> None:
    assert served(place) == ([3], {"candidate": 3})
    assert labels.promote(place, 1) == (1, None)
    assert served(place) == ([1, 3], {"stable": 1, "candidate": 3})
    assert labels.promote(place) == (3, 1)
    assert served(place) == ([1, 3], {"stable": 3, "previous": 1})


def test_promoted_or_rolled_back_twice_is_once(place: Path) -> None:
    labels.promote(place, 1)
    for _ in range(2):
        assert labels.promote(place, 3)[0] == 3
        assert labels.read(place) == {"stable": 3, "previous": 1}
    assert labels.rollback(place) == (1, 3)
    assert labels.rollback(place) == (1, 1)
    assert served(place) == ([1], {"stable": 1, "previous": 1})
    assert labels.promote(place, 3) == (3, 1)


def test_what_may_not_be_served_is_not_promoted(place: Path) -> None:
    labels.promote(place, 1)
    with pytest.raises(RefusedError, match="not blessed"):
        labels.promote(place, 2)
    labels.promote(place, 2, unblessed=True)
    (place / "pipe_seg" / "3" / "saved_model.pb").write_bytes(b"grapH")
    with pytest.raises(RefusedError, match=r"3/saved_model\.pb: changed"):
        labels.promote(place, 3)
    with pytest.raises(ConfigError, match=r"no such version \(got 9\); expected 1, 2, 3"):
        labels.promote(place, 9)
    (place / "pipe_seg" / "1" / "manifest.json").unlink()
    with pytest.raises(RefusedError, match=r"manifest\.json: cannot be read"):
        labels.rollback(place)
    assert labels.read(place) == {"stable": 2, "previous": 1, "candidate": 3}


def test_nothing_to_go_back_to_and_nothing_to_promote(place: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing was stable before"):
        labels.rollback(place)
    with pytest.raises(ConfigError, match="no version is labelled candidate"):
        labels.promote(tmp_path / "empty")


def test_other_models_and_another_place_stay(place: Path) -> None:
    path = place / "models.config"
    theirs = 'config { name: "other" base_path: "/o" model_platform: "tensorflow" }'
    ours = 'config { name: "pipe_seg" base_path: "/models/pipe_seg" model_platform: "tensorflow" }'
    path.write_text(f"model_config_list {{ {theirs} {ours} }}")
    labels.promote(place, 1)
    config = text_format.Parse(path.read_text(), ModelServerConfig())
    assert [(entry.name, entry.base_path) for entry in config.model_config_list.config] == [
        ("other", "/o"),
        ("pipe_seg", "/models/pipe_seg"),
    ]


def test_a_broken_file_is_named_with_its_line(place: Path) -> None:
    (place / "models.config").write_text("model_config_list {\n  confog {}\n}\n")
    with pytest.raises(ConfigError) as caught:
        labels.read(place)
    assert caught.value.lines()[0].startswith(f"{place / 'models.config'}:2: ")


def test_old_versions_go_and_labelled_ones_stay(place: Path) -> None:
    base = place / "pipe_seg"
    labels.promote(place, 1)
    (base / ".withdrawn-7-x").mkdir()
    assert labels.prune(place, 1) == [2]
    assert sorted(path.name for path in base.iterdir()) == ["1", "3"]
    assert labels.prune(place, 1) == []


def test_from_upload_to_rollback_at_the_command_line(runs: Path, tmp_path: Path, cli: Command) -> None:
    place, run = tmp_path / "store", sorted(runs.iterdir())[1]
    for _ in range(2):
        told = cli("upload", run, "--to", place, "--yes", "--unblessed").stdout
    assert "labelled candidate" in told
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
