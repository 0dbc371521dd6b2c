"""Run folders: damaged ones, and where the code came from."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pipe_seg.pipeline import runs as run_folder
from tests.conftest import Command


@pytest.fixture
def some(runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(runs, tmp_path / "runs"))


@pytest.mark.parametrize("file", ["run.json", "evaluator/scores.json", "trainer/artifact.json", "config.yaml"])
@pytest.mark.parametrize("content", ["", "[]", "{", "{}"])
def test_one_damaged_run_does_not_end_the_list(some: Path, cli: Command, file: str, content: str) -> None:
    damaged, whole = sorted(some.iterdir())
    (damaged / file).write_text(content)
    listed = json.loads(cli("runs", "list", "--runs", some, "--json").stdout)
    assert [row["run"] for row in listed] == [damaged.name, whole.name]
    assert listed[1]["iou"] is not None
    assert bool(listed[0]["fault"]) == (file in ("run.json", "evaluator/scores.json"))
    if listed[0]["fault"]:
        assert file.rpartition("/")[2] in listed[0]["fault"]
    assert damaged.name in cli("runs", "list", "--runs", some).stdout
    assert "no run here is unfinished" in cli("train", "--runs", some, "--resume", "last", code=2).stderr


def test_a_damaged_run_is_shown_with_its_fault(some: Path, cli: Command) -> None:
    damaged = sorted(some.iterdir())[0]
    (damaged / "run.json").write_text("")
    assert "run.json: cannot be read" in cli("runs", "show", damaged, code=4).stderr


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that tracks a ``pipe_seg``, taken for the project's own."""
    root = tmp_path / "clone"
    (root / "pipe_seg").mkdir(parents=True)
    (root / "pipe_seg" / "__init__.py").write_text("")
    git(tmp_path, "init", "-q", "clone")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    monkeypatch.setattr(run_folder, "CLONE", root)
    return root


def test_a_run_names_its_commit_and_whether_the_code_was_changed(clone: Path) -> None:
    clean = run_folder._commit()
    assert len(clean["commit"]) == 40
    assert clean["uncommitted_changes"] is False
    (clone / "pipe_seg" / "__init__.py").write_text("changed")
    assert run_folder._commit() == {**clean, "uncommitted_changes": True}


def test_a_repository_around_an_installed_package_is_not_its_commit(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = clone / "venv" / "site-packages"
    (inside / "pipe_seg").mkdir(parents=True)
    for place in (inside, clone / "venv"):
        monkeypatch.setattr(run_folder, "CLONE", place)
        assert run_folder._commit() == {"commit": None, "uncommitted_changes": None}
    monkeypatch.setattr(run_folder, "CLONE", clone)
    git(clone, "rm", "-q", "--cached", "pipe_seg/__init__.py")
    assert run_folder._commit() == {"commit": None, "uncommitted_changes": None}
