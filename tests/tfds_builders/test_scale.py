"""The same records on every runner and in any order of files."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipe_seg.data import examples
from tests.conftest import ROOT, Command

TWO_WORKERS = ("--beam-option", "direct_num_workers=2", "--beam-option", "direct_running_mode=multi_processing")


def build(folder: Path, data: Path, *flags: str, **environment: str) -> dict[str, Any]:
    """Build PS by the command line, in a process of its own."""
    command = [
        sys.executable,
        str(ROOT / "cli.py"),
        "data",
        "build",
        "ps",
        "--manual-dir",
        str(folder),
        "--json",
        *flags,
    ]
    environ = {**os.environ, "TFDS_DATA_DIR": str(data), **environment}
    done = subprocess.run([*command, *flags], capture_output=True, text=True, cwd=data.parent, env=environ, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def records(path: str) -> list[tuple[Any, ...]]:
    """Returns everything in a built dataset, in its order."""
    return [
        (
            split,
            frame.file_name,
            frame.group_id,
            frame.image,
            frame.segmentation_mask.tobytes(),
            frame.boxes,
            frame.labels,
        )
        for split in ("train", "validation")
        for frame in examples.frames(Path(path), split)
    ]


@pytest.fixture(scope="module")
def here(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Built in one process, without Beam."""
    return build(folder, tmp_path_factory.mktemp("here") / "tfds")


@pytest.mark.parametrize(
    "flags", [("--runner", "FnApiRunner"), ("--runner", "DirectRunner", *TWO_WORKERS)], ids=["1 worker", "2 workers"]
)
def test_beam_makes_the_same_records(
    here: dict[str, Any], folder: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    built = build(folder, tmp_path / "tfds", *flags)
    assert built["content_digest"] == here["content_digest"]
    assert records(built["path"]) == records(here["path"])


def test_file_order_locale_and_hash_seed_do_not_matter(here: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    shuffled = tmp_path / "datasets"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in [*files[1::2][::-1], *files[::2]]:
        target = shuffled / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    built = build(shuffled, tmp_path / "tfds", LC_ALL="C", LANG="tr_TR.UTF-8", PYTHONHASHSEED="7")
    assert built["content_digest"] == here["content_digest"]
    assert records(built["path"]) == records(here["path"])


def test_beam_names_unusable_frames_and_can_leave_them_out(folder: Path, cli: Command, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "datasets"))
    (broken / "PipeSegmentation/images/train/000050_0.jpg").write_bytes(b"")
    flags = ("data", "build", "ps", "--manual-dir", broken, "--runner", "FnApiRunner")
    environment = {"TFDS_DATA_DIR": str(tmp_path / "tfds")}
    stderr = cli(*flags, code=3, **environment).stderr
    assert "000050_0.jpg: empty file" in stderr
    assert not list((tmp_path / "tfds").rglob("*.tfrecord*"))
    assert not list((tmp_path / "tfds" / "pipe_seg" / "example_gen").iterdir())
    skipped = cli(*flags, "--on-bad", "skip", "--max-bad", "10%", "--json", **environment).stdout
    found = json.loads(skipped)
    assert found["frames"] == {"train": 7, "validation": 4}
    assert list(found["left_out"]) == ["000050_0.jpg"]
    assert "000050_0.jpg" in (Path(found["path"]) / "DATA_CARD.md").read_text("utf-8")


def test_a_frame_left_out_once_fails_a_stricter_build(folder: Path, cli: Command, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "datasets"))
    (broken / "PipeSegmentation/masks/train/000050_0_mask.png").write_bytes(b"x")
    flags = ("data", "build", "ps", "--manual-dir", broken)
    environment = {"TFDS_DATA_DIR": str(tmp_path / "tfds")}
    cli(*flags, "--on-bad", "skip", "--max-bad", "1", **environment)
    cli(*flags, "--on-bad", "skip", "--max-bad", "0", code=3, **environment)
    assert "000050_0_mask.png" in cli(*flags, code=3, **environment).stderr


def test_two_builds_of_the_same_frames_at_once_make_one_dataset(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "cli.py"), "data", "build", "pbs", "--manual-dir", str(folder), "--json"]
    environ = {**os.environ, "TFDS_DATA_DIR": str(tmp_path / "tfds")}
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environ, cwd=tmp_path) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    first, second = (json.loads(text) for text in outputs)
    assert first == second
    assert sorted(path.name for path in (tmp_path / "tfds").iterdir()) == ["pbs", "pipe_seg"]
    assert [path.name for path in (tmp_path / "tfds" / "pipe_seg" / "example_gen").iterdir()] == [first["key"]]
