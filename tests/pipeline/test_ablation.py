"""A whole ablation through the command line: folds, trainings, table; and again, where it continues."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipe_seg import config
from pipe_seg.errors import ConfigError, ConflictError
from pipe_seg.pipeline import ablation
from pipe_seg.pipeline.ablation import AblationRunner, Plan
from pipe_seg.pipeline.runs import Run, list_runs
from tests.conftest import TINY, Command

REFINED = [
    {"name": "crop", "component": "cropper"},
    {"name": "draw", "component": "trainer", "dataset": "ps", "data": "crop"},
    {"name": "refine", "component": "refiner", "models": ["draw"], "settings": ["refiner.threshold=0.5"]},
    {"name": "find", "component": "trainer", "dataset": "pbs", "data": "refine"},
]
PLAN = {
    "seeds": [1],
    "folds": 2,
    "draws": 50,
    "settings": [*TINY, "trainer.keep=last", "joint.epochs=1", "joint.batch_size=4", "supervision.measure_fill=false"],
    "variants": [
        {"name": "pbs", "stages": [{"name": "pbs", "component": "trainer", "dataset": "pbs"}]},
        {"name": "pbs-ps", "recipe": "original"},
        {"name": "refined", "over": "pbs", "stages": REFINED},
    ],
}


def test_folds_hold_every_scene_with_contours_out_once(folder: Path, cli: Command, tmp_path: Path) -> None:
    made = json.loads(cli("data", "split", folder, "--folds", 3, "--out", tmp_path / "folds", "--json").stdout)["folds"]
    held: list[set[str]] = []
    for place in map(Path, made):
        sides = {}
        for name in ("PipeSegmentation", "PipeBoxSegmentation"):
            frames = json.loads((place / name / "splits.json").read_text())["frames"]
            sides[name] = {s: {e["group"] for e in frames.values() if e["split"] == s} for s in ("train", "validation")}
            assert not sides[name]["train"] & sides[name]["validation"]
            assert all((place / name / path).is_file() for path in frames)
        held.append(sides["PipeSegmentation"]["validation"])
        assert not held[-1] & sides["PipeBoxSegmentation"]["train"]
        cli("data", "check", place)
    assert len(set.union(*held)) == sum(map(len, held)) == 6
    cli("data", "split", folder, "--folds", 7, "--out", tmp_path / "more", code=2)
    cli("data", "split", folder, "--folds", 3, code=2)


def runner(folder: Path, out: Path, **given: Any) -> AblationRunner:
    variants = [{"name": "ps", "recipe": "contours"}]
    plan = Plan.model_validate({"folds": 2, "variants": variants, **given})
    return AblationRunner(plan, out, folder, lambda text: None)


def test_folds_of_other_frames_or_of_another_division_are_refused(folder: Path, tmp_path: Path) -> None:
    frames, out = tmp_path / "frames", tmp_path / "out"
    shutil.copytree(folder, frames)
    boxes = runner(frames, out).boxes()
    assert boxes
    assert runner(frames, out).boxes() == boxes
    for other in ({"folds": 3}, {"fold_seed": 2}):
        with pytest.raises(ConflictError, match="divided otherwise"):
            runner(frames, out, **other).boxes()
    mask = next(frames.rglob("*_mask.png"))
    mask.write_bytes(mask.read_bytes() + b"corrected")
    with pytest.raises(ConflictError, match="of other frames"):
        runner(frames, out).boxes()


def test_what_the_scored_frames_choose_is_named(folder: Path, tmp_path: Path) -> None:
    dropped = "threshold at which small components are dropped"
    settings = ("trainer.keep=last", "export.min_component_fraction=0.005")
    for given, named in (
        ({}, ["best epoch", "minimum component size", dropped]),
        ({"settings": settings}, [dropped]),
        ({"settings": (*settings, "evaluator.threshold=0.5")}, []),
        ({"folds": 0, "split": "test"}, []),
    ):
        assert runner(folder, tmp_path / "out", **given).chosen_here == named


def test_in_the_plans_that_come_with_the_project_scored_frames_choose_nothing(folder: Path, tmp_path: Path) -> None:
    for name in config.shipped("ablations"):
        plan = ablation.load(name).model_copy(update={"folds": 0})
        assert not AblationRunner(plan, tmp_path / name, folder, lambda text: None).chosen_here, name


def test_one_scene_alone_is_refused_before_anything_is_trained(folder: Path, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    shutil.copytree(folder, frames)
    for path in frames.glob("PipeSegmentation/*/val/*"):
        if not path.name.startswith("000054_"):
            path.unlink()
    with pytest.raises(ConfigError, match="shows one scene"):
        runner(frames, tmp_path / "out", folds=0).run()


@pytest.mark.trials
def test_an_ablation_trains_each_thing_once_and_continues(folder: Path, cli: Command, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    command = ["ablation", "--plan", tmp_path / "plan.yaml", "--manual-dir", folder, "--out", tmp_path / "out"]
    first = cli(*command)
    assert "6/6  refined, fold 2/2, seed 1: IoU" in first.stderr
    made = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert [variant["name"] for variant in made["variants"]] == ["pbs", "pbs-ps", "refined"]
    assert (made["frames"], made["scenes"]) == (12, 6)
    assert made["variants"][2]["over"] == "pbs"
    assert (tmp_path / "out" / "ablation.svg").read_text().startswith("<svg")
    found = list_runs(tmp_path / "out" / "runs")
    assert len(found) == 6
    alone = [run for run in found if run.info["recipe"] == "pbs"]
    before = [Run(run.path / "stages" / "1_pbs") for run in found if run.info["recipe"] == "pbs-ps"]
    assert {run.trained.key for run in before} == {run.trained.key for run in alone}
    times = {run.trained.record["time"] for run in (*before, *alone)}
    assert len(times) == len({run.trained.key for run in alone}), "one training for each key"
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").rglob("artifact.json")}
    assert cli(*command).stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").rglob("artifact.json")} == done
    shutil.rmtree(found[0].evaluation.path)
    shutil.rmtree(found[0].infra.path)
    assert cli(*command).stdout == first.stdout
