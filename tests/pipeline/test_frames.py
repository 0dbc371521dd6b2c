"""Folders that verbs make: nothing is written over or shared with the original, and licences are kept."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipe_seg import config, images
from pipe_seg.annotations.folders import Layout
from pipe_seg.components import example_gen, transform
from pipe_seg.components.refiner import proposals
from pipe_seg.config import ExampleGenSection
from pipe_seg.data.training_data import TrainingData
from pipe_seg.errors import ConfigError
from tests.conftest import TINY_FLAGS, Command

PBS, PS = "PipeBoxSegmentation", "PipeSegmentation"


@pytest.fixture
def frames(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "my frames"))


def test_folds_never_write_over_a_stranger_s_files(frames: Path, cli: Command, tmp_path: Path) -> None:
    stranger = tmp_path / "out" / "0" / "thesis.txt"
    stranger.parent.mkdir(parents=True)
    stranger.write_text("mine")
    printed = cli("data", "split", frames, "--folds", 2, "--out", tmp_path / "out", code=5).stderr
    assert "exists already" in printed
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [stranger]
    assert stranger.read_text() == "mine"


@pytest.fixture
def licensed(frames: Path) -> Path:
    (frames / "LICENCE.txt").write_text("of both")
    (frames / PS / "license.md").write_text("of contours")
    return frames


def test_folds_are_copies_with_their_licences(licensed: Path, cli: Command, tmp_path: Path) -> None:
    cli("data", "split", licensed, "--folds", 2, "--out", tmp_path / "folds")
    _are_copies(licensed, tmp_path / "folds" / "1")


def test_refined_frames_are_copies_with_their_licences(
    licensed: Path, runs: Path, cli: Command, tmp_path: Path
) -> None:
    done = cli("data", "refine", "last", "--runs", runs, "--manual-dir", licensed, "--out", tmp_path / "my refined")
    _are_copies(licensed, tmp_path / "my refined")
    (command,) = [line.split("python cli.py ")[1] for line in done.stdout.splitlines() if line.startswith("next ")]
    words = shlex.split(command)
    assert words[words.index("--manual-dir") + 1] == str(tmp_path / "my refined")
    assert words[words.index("--runs") + 1] == str(runs)


def _are_copies(source: Path, copy: Path) -> None:
    files = [path for path in copy.rglob("*") if path.is_file()]
    inodes = {path.stat().st_ino for path in source.rglob("*")}
    assert len(files) > 40
    assert not [path for path in files if path.stat().st_ino in inodes]
    assert (copy / "LICENCE.txt").read_text() == "of both"
    assert (copy / PS / "license.md").read_text() == "of contours"


def test_the_usual_fill_of_boxes_leaves_held_out_scenes_out(frames: Path) -> None:
    """A frame of a validation scene in the training folder, whose box its contour fills wholly."""
    ps = frames / PS
    held_out = next(path.stem for path in sorted((ps / "images" / "val").iterdir())).partition("_")[0]
    source = next((ps / "images" / "val").glob(f"{held_out}_*.jpg"))
    shutil.copyfile(source, ps / "images" / "train" / f"{held_out}_9.jpg")
    image = images.decode(source.read_bytes())
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[64:128, 80:160] = 255
    (ps / "masks" / "train" / f"{held_out}_9_mask.png").write_bytes(images.encode(mask, ".png"))
    (ps / "labels" / "train" / f"{held_out}_9.txt").write_text("4 0.375 0.375 0.25 0.25\n")
    before = proposals.usual_fill(Layout(ps, "contour"))
    (ps / "images" / "train" / f"{held_out}_9.jpg").unlink()
    assert before == proposals.usual_fill(Layout(ps, "contour"))


def test_batches_are_the_same_with_and_without_the_cache(folder: Path, tmp_path: Path) -> None:
    section = ExampleGenSection(data_dir=str(tmp_path))
    built = {name: example_gen.run(section, name=name, manual_dir=folder, rendered=False) for name in ("pbs", "ps")}
    found = []
    for cache in (True, False):
        settings = ("transform.image_height_px=64", "transform.image_width_px=80", f"transform.cache={cache}")
        chosen = config.load(None, settings, unlock=True)
        batches = transform.run(chosen, data=TrainingData("pbs+ps", built), split="train", batch_size=4).batches(1, 0)
        found.append([(image.numpy(), target["mask"].numpy()) for image, target in batches.take(4)])
    for first, second in zip(*found, strict=True):
        for one, other in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_batch_of_both_datasets_has_room_for_both() -> None:
    with pytest.raises(ConfigError, match=r"joint.batch_size: input should be greater than or equal to 2"):
        config.load(None, ["joint.batch_size=1"])


def test_validation_without_any_defect_chooses_nothing(frames: Path, cli: Command, tmp_path: Path) -> None:
    for mask in (frames / PS / "masks" / "val").iterdir():
        shape = images.decode(mask.read_bytes(), images.AS_STORED, images.MASK_FORMATS).shape
        mask.write_bytes(images.encode(np.zeros(shape[:2], np.uint8), ".png"))
    for label in (frames / PS / "labels" / "val").iterdir():
        label.write_text("")
    command = ["train", "--dataset", "ps", "--manual-dir", frames, "--runs", tmp_path / "runs", "--name", "Anna"]
    done = cli(*command, *TINY_FLAGS)
    assert "no validation frame has a defect: no epoch can be chosen, so the last one is kept" in done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    details = json.loads((run / "trainer" / "artifact.json").read_text())["details"]
    assert details["best_epoch"] == 2, "the last one"
    scores = json.loads((run / "evaluator" / "scores.json").read_text())
    assert scores["threshold_chosen"] == "no frame of ps/default, validation, has a defect: nothing could be chosen"
    assert scores["threshold"] == 0.5
    assert not scores["blessed"]
    assert (run / "evaluator" / "report.html").is_file()
