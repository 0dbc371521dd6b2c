"""A whole recipe through the command line: one run folder, killed anywhere, the same weights."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipe_seg.pipeline import datasets
from pipe_seg.pipeline.runs import Run
from tests import tiny_training
from tests.conftest import ROOT, TINY_FLAGS

STAGES = [
    {"name": "crop", "component": "cropper"},
    {"name": "draw", "component": "trainer", "dataset": "ps", "data": "crop"},
    {
        "name": "refine",
        "component": "refiner",
        "models": ["draw"],
        "settings": ["refiner.threshold=0.02", "refiner.tightness=0", "refiner.agreement=0"],
    },
    {"name": "find", "component": "trainer", "dataset": "pbs+ps", "data": "refine"},
    {"name": "enlarge", "component": "trainer", "dataset": "pbs+ps", "data": "refine", "init": "find"},
]
ONE_EPOCH = [
    "ps.epochs=1",
    "joint.epochs=1",
    "joint.batch_size=4",
    "trainer.checkpoint_every_s=0",
    "trainer.steps_per_call=1",
]

pytestmark = pytest.mark.trials


class Place:
    """Frames, a TFDS folder and a recipe like ``best``, whose networks are tiny."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        shutil.copytree(folder, root / "frames")
        (root / "tiny.yaml").write_text(yaml.safe_dump({"stages": STAGES}))

    def start(self, manual_dir: Path | None = None) -> "subprocess.Popen[str]":
        flags = [*TINY_FLAGS, *(part for text in ONE_EPOCH for part in ("-s", text))]
        command = [
            sys.executable,
            str(ROOT / "cli.py"),
            "train",
            "--recipe",
            str(self.root / "tiny.yaml"),
            "--name",
            "anna",
        ]
        command += [
            "--manual-dir",
            str(manual_dir or self.root / "frames"),
            "--runs",
            str(self.root / "runs"),
            *map(str, flags),
        ]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "TFDS_DATA_DIR": str(self.root / "tfds")},
            start_new_session=True,
        )

    def finish(self, manual_dir: Path | None = None) -> str:
        out, _ = (process := self.start(manual_dir)).communicate()
        assert process.returncode == 0, out
        return out

    @property
    def run(self) -> Run:
        (path,) = (self.root / "runs").iterdir()
        return Run(path)

    def outcomes(self) -> dict[str, object]:
        """What has to come out the same: the weights of all trainings and the scores of the last."""
        stages = [self.run.path / "stages" / name for name in ("2_draw", "4_find")] + [self.run.path]
        weights = {path.name: tiny_training.outcome(path)["weights"] for path in stages[:2]}
        scores = self.run.scores
        assert scores
        return {
            **weights,
            "last": tiny_training.outcome(stages[2])["weights"],
            "iou": scores["headline"]["iou"]["value"],
        }


@pytest.fixture(scope="module")
def undisturbed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("undisturbed"), folder)
    place.finish()
    return place


def test_a_recipe_is_one_run_folder(undisturbed: Place) -> None:
    run = undisturbed.run
    assert run.path.name.endswith("_anna_tiny")
    assert {path.name for path in run.path.iterdir()} == {
        *("config.yaml", "run.json", "stages", "trainer", "model", "evaluator", "infra_validator", "tensorboard"),
    }
    assert {path.name for path in (run.path / "stages").iterdir()} == {"1_crop", "2_draw", "3_refine", "4_find"}
    assert {path.name for path in (run.path / "tensorboard").iterdir()} == {"2_draw", "4_find", "5_enlarge"}
    assert (run.path / "stages" / "3_refine" / "refine.html").is_file()
    info = run.info
    assert [stage["name"] for stage in info["stages"]] == ["crop", "draw", "refine", "find", "enlarge"]
    assert info["recipe"] == "tiny"
    assert Run(run.path / "stages" / "2_draw").info["dataset"] == "ps/default"
    assert info["init_key"] == Run(run.path / "stages" / "4_find").trained.key
    own = datasets.data_of(run)
    assert Path(info["manual_dir"]).parent.name == "refiner"
    assert {name: dataset.key for name, dataset in own.datasets.items()} == {
        name: dataset["key"] for name, dataset in info["datasets"].items()
    }
    assert Path(info["source"]["manual_dir"]) == undisturbed.root / "frames"
    assert datasets.source_of(run).key == info["source_key"]


def test_the_same_command_again_finds_it_finished(undisturbed: Place) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.run.path.rglob("artifact.json")}
    assert "is this very training, finished" in undisturbed.finish()
    moved = undisturbed.root / "moved"
    shutil.copytree(undisturbed.root / "frames", moved)
    assert "is this very training, finished" in undisturbed.finish(moved), "the same bytes elsewhere are the same data"
    assert {path: path.stat().st_mtime_ns for path in undisturbed.run.path.rglob("artifact.json")} == before


def test_killed_in_every_stage_and_in_between_it_ends_with_the_same_weights(
    undisturbed: Place, folder: Path, tmp_path: Path
) -> None:
    place, rng = Place(tmp_path, folder), random.Random(1)
    for number in range(1, len(STAGES) + 1):
        for moment in ("begun", "later"):
            process = place.start()
            assert process.stdout
            line = next(
                line for line in process.stdout if line.startswith((f"stage {number}/", f"stage {number + 1}/"))
            )
            if line.startswith(f"stage {number}/") and moment == "later":
                time.sleep(rng.uniform(4, 12))
            whole = rng.random() < 0.5
            (os.killpg if whole else os.kill)(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()
    place.finish()
    assert place.outcomes() == undisturbed.outcomes()


def test_two_folders_at_once_in_one_tfds_folder_are_both_right(folder: Path, tmp_path: Path) -> None:
    """The second has other boxes; each ends as it does alone."""
    place = Place(tmp_path / "together", folder)
    other = Path(shutil.copytree(place.root / "frames", place.root / "other"))
    for label in (other / "PipeBoxSegmentation" / "labels" / "train").iterdir():
        label.write_text("0 0.5 0.5 0.4 0.4\n")
    together = [place.start(), place.start(other)]
    for process in together:
        out, _ = process.communicate()
        assert process.returncode == 0, out
        assert "waiting" not in out
    keys = {}
    for path in (place.root / "runs").iterdir():
        run = Run(path)
        keys[Path(run.info["source"]["manual_dir"]).name] = (run.trained.key, run.info["source_key"])
    alone = Place(tmp_path / "alone", folder)
    alone.finish()
    assert keys["frames"] == (alone.run.trained.key, alone.run.info["source_key"])
    assert keys["other"][1] != keys["frames"][1]


def test_frames_that_change_between_two_stages_are_refused(folder: Path, tmp_path: Path) -> None:
    place = Place(tmp_path, folder)
    process = place.start()
    assert process.stdout
    next(line for line in process.stdout if line.startswith("stage 2/"))
    label = next((place.root / "frames" / "PipeBoxSegmentation" / "labels" / "train").iterdir())
    label.write_text("0 0.5 0.5 0.4 0.4\n")
    rest = process.stdout.read()
    process.stdout.close()
    assert process.wait() == 5
    assert "PipeBoxSegmentation/labels has 12 files, other than the 12 files before" in rest
    assert not place.run.finished
    run = json.loads((place.run.path / "run.json").read_text())
    assert [stage["name"] for stage in run["stages"]] == ["crop", "draw"]
