"""The README's commands are run; those that train for long are checked to be real commands."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")
MARKED = re.findall(r"<!-- run -->\n```(sh|python)\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^python cli\.py (.*?)(?:\s{2,}#.*)?$", README, re.MULTILINE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone's top level without the clone's data."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("cli.py", "tfds_builders"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def test_there_is_something_to_run() -> None:
    assert len(MARKED) >= 3
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("index", range(len(MARKED)))
def test_a_marked_block_runs(index: int, place: Path) -> None:
    kind, text = MARKED[index]
    environment = {
        **os.environ,
        "TFDS_DATA_DIR": str(place / "tfds"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [sys.executable, "-c", text] if kind == "python" else ["bash", "-euc", text]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_the_flags_it_shows(command: str) -> None:
    import click

    from pipe_seg.cli import cli

    words = shlex.split(command)
    found: click.Command | None = cli
    context = click.Context(cli)
    while isinstance(found, click.Group):
        found = found.get_command(context, words.pop(0))
    assert found is not None, command
    known = {option for parameter in found.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


SHIPPED = sorted((ROOT / "pipe_seg" / "config").glob("*/*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_preset_recipe_or_plan_opens_with_its_command(path: Path) -> None:
    first = path.read_text("utf-8").splitlines()[0]
    verbs = {
        "presets": "train --dataset p",
        "recipes": f"train --recipe {path.stem}",
        "ablations": f"ablation --plan {path.stem}",
    }
    assert first.startswith(f"# python cli.py {verbs[path.parent.name]}")


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.slow
def test_make_train_s_command_ends_by_itself(tmp_path: Path) -> None:
    (tmp_path / "cli.py").symlink_to(ROOT / "cli.py")
    done = subprocess.run(
        [sys.executable, "cli.py", "train", "--dataset", "pbs"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "TFDS_DATA_DIR": str(tmp_path / "tfds")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "rendered IoU" in done.stdout
