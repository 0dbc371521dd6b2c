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
