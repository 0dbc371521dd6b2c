from pathlib import Path

import pytest

from pipe_seg import artifacts
from pipe_seg.artifacts import Artifact
from pipe_seg.errors import ConflictError, MachineError


def test_a_path_that_exists_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "step"
    with artifacts.writing(target, component="step", details={"a": 1}) as folder:
        (folder / "file").write_text("x")
        assert not target.exists()
    assert (target / "file").read_text() == "x"
    assert Artifact(target).record["details"] == {"a": 1}


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def break_off() -> None:
        with artifacts.writing(tmp_path / "step", component="step") as folder:
            (folder / "file").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_twice(tmp_path: Path) -> None:
    (tmp_path / "step").mkdir()
    with pytest.raises(ConflictError, match="exists already"), artifacts.writing(tmp_path / "step", component="step"):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(MachineError) as caught, artifacts.writing(tmp_path / "file" / "step", component="step"):
        pass
    assert str(tmp_path / "file") in str(caught.value)


def test_whoever_publishes_an_artifact_of_a_key_first_wins_and_nobody_waits(tmp_path: Path) -> None:
    target = tmp_path / "key"
    with artifacts.first_wins(target), artifacts.publishing(target) as slow:
        (slow / "by").write_text("slow")
        with artifacts.first_wins(target), artifacts.publishing(target) as quick:
            (quick / "by").write_text("quick")
    assert (target / "by").read_text() == "quick"


def test_a_conflict_that_leaves_nothing_behind_is_one(tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="changed"), artifacts.first_wins(tmp_path / "key"):
        raise ConflictError("changed meanwhile")
