"""The datasets as a TFDS user meets them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipe_seg.data import examples
from pipe_seg.schema import MASK_SOURCES
from tests.conftest import ROOT, Command


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """Built by ``tfds build`` itself."""
    data_dir = tmp_path_factory.mktemp("tfds")
    for name in ("pbs", "ps"):
        command = [sys.executable, "-m", "tensorflow_datasets.scripts.cli.main", "build", f"tfds_builders/{name}"]
        command += ["--manual_dir", str(folder), "--data_dir", str(data_dir), "--config", "default"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    return data_dir


@pytest.mark.parametrize(("name", "source"), [("pbs", "box"), ("ps", "contour")])
def test_tfds_build_gives_the_features_of_the_design(tfds_dir: Path, name: str, source: str) -> None:
    import tensorflow_datasets as tfds

    loaded, info = tfds.load(name, data_dir=tfds_dir, with_info=True)
    assert {split: info.splits[split].num_examples for split in loaded} == {"train": 8, "validation": 4}
    keys = {"image", "segmentation_mask", "boxes", "labels", "file_name", "group_id", "mask_source"}
    for example in loaded["validation"].as_numpy_iterator():
        assert set(example) == keys
        assert example["image"].shape == (256, 320, 3)
        assert example["segmentation_mask"].shape == (256, 320, 1)
        assert set(np.unique(example["segmentation_mask"])) <= {0, 1}
        assert MASK_SOURCES[example["mask_source"]] == source


def test_the_source_jpeg_comes_through_byte_for_byte(tfds_dir: Path, folder: Path) -> None:
    for name, subfolder in (("pbs", "PipeBoxSegmentation"), ("ps", "PipeSegmentation")):
        for example in examples.load(tfds_dir / name / "default" / "1.2.0", "train").as_numpy_iterator():
            path = folder / subfolder / "images" / "train" / example["file_name"].decode()
            assert example["image"] == path.read_bytes()


def test_no_scene_is_on_both_sides(tfds_dir: Path) -> None:
    groups = {
        (name, split): {
            e["group_id"] for e in examples.load(tfds_dir / name / "default/1.2.0", split).as_numpy_iterator()
        }
        for name in ("pbs", "ps")
        for split in ("train", "validation")
    }
    held_out = groups["pbs", "validation"] | groups["ps", "validation"]
    assert not groups["pbs", "train"] & held_out
    assert not groups["ps", "train"] & groups["ps", "validation"]


def test_a_scene_of_ps_validation_is_left_out_of_pbs_training(folder: Path, cli: Command, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(folder, tmp_path / "datasets"))
    for kind, suffix in (("images", "jpg"), ("labels", "txt")):
        held_out = folder / "PipeSegmentation" / kind / "val" / f"000054_0.{suffix}"
        shutil.copy(held_out, copy / "PipeBoxSegmentation" / kind / "train" / f"000054_2.{suffix}")
    done = cli("data", "build", "pbs", "--manual-dir", copy, TFDS_DATA_DIR=str(tmp_path / "tfds"))
    assert "8 train, 4 validation" in done.stdout


def test_building_again_reads_nothing_until_a_file_changes(folder: Path, cli: Command, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(folder, tmp_path / "datasets"))
    build = ["data", "build", "ps", "--manual-dir", copy]
    environment = {"TFDS_DATA_DIR": str(tmp_path / "tfds")}
    path = tmp_path / "tfds" / "ps" / "default" / "1.2.0" / "dataset_info.json"
    cli(*build, **environment)
    first = path.stat().st_mtime_ns
    cli(*build, **environment)
    assert path.stat().st_mtime_ns == first
    (copy / "PipeSegmentation" / "labels" / "train" / "000050_0.txt").write_text("")
    cli(*build, **environment)
    assert path.stat().st_mtime_ns != first
    assert sorted(item.name for item in (tmp_path / "tfds").iterdir()) == ["pipe_seg", "ps"]


def test_tfds_build_without_a_folder_prints_the_expected_layout(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tensorflow_datasets.scripts.cli.main", "build", "tfds_builders/pbs"]
    command += ["--data_dir", str(tmp_path / "data"), "--manual_dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode != 0
    assert "PipeBoxSegmentation/images/train" in done.stderr


def test_tfds_build_writes_the_card_and_clears_what_a_dead_build_left(folder: Path, tmp_path: Path) -> None:
    stale = tmp_path / "data" / "ps" / "default" / "incomplete.ABCDEF_1.2.0"
    stale.mkdir(parents=True)
    (stale / "ps-train.tfrecord-00000-of-00001").write_bytes(b"half")
    command = [sys.executable, "-m", "tensorflow_datasets.scripts.cli.main", "build", "tfds_builders/ps"]
    command += ["--data_dir", str(tmp_path / "data"), "--manual_dir", str(folder), "--config", "default"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [path.name for path in stale.parent.iterdir()] == ["1.2.0"]
    card = (stale.parent / "1.2.0" / "DATA_CARD.md").read_text("utf-8")
    assert "| train | 8 | 4 | 2 |" in card
