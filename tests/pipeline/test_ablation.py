"""A whole ladder through the command line: folds, trainings, table; and again, where it goes on."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipe_seg.errors import ConfigError, ConflictError
from pipe_seg.pipeline import plan
from pipe_seg.pipeline.ablation import AblationRunner
from pipe_seg.pipeline.plan import Plan
from tests.conftest import ROOT, TINY, Command

PLAN = {
    "seeds": [1],
    "folds": 2,
    "draws": 50,
    "settings": [*TINY, "trainer.keep=last", "joint.epochs=1", "joint.batch_size=4", "supervision.measure_fill=false"],
    "rungs": [
        {"name": "ps", "steps": [{"dataset": "ps"}]},
        {"name": "pbs-ps", "steps": [{"dataset": "pbs"}, {"dataset": "ps"}]},
        {"name": "mixed", "over": "ps", "steps": [{"dataset": "pbs+ps"}]},
        {
            "name": "refined",
            "over": "ps",
            "steps": [{"dataset": "ps", "crop": True}, *[{"dataset": "pbs", "refine": True}] * 2],
        },
    ],
}


def test_folds_hold_every_scene_with_contours_out_once(folder: Path, cli: Command, tmp_path: Path) -> None:
    told = json.loads(cli("data", "split", folder, "--folds", 3, "--out", tmp_path, "--json").stdout)["folds"]
    held: list[set[str]] = []
    for place in map(Path, told):
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


def climb(folder: Path, out: Path, **given: Any) -> AblationRunner:
    rungs = [{"name": "ps", "steps": [{"dataset": "ps"}]}]
    return AblationRunner(Plan.model_validate({"folds": 2, "rungs": rungs, **given}), out, folder, lambda text: None)


def test_folds_of_other_frames_or_of_another_division_are_not_taken(folder: Path, tmp_path: Path) -> None:
    frames, out = tmp_path / "frames", tmp_path / "out"
    shutil.copytree(folder, frames)
    boxes = climb(frames, out).boxes()
    assert boxes
    assert climb(frames, out).boxes() == boxes
    for other in ({"folds": 3}, {"fold_seed": 2}):
        with pytest.raises(ConflictError, match="divided otherwise"):
            climb(frames, out, **other).boxes()
    mask = next(frames.rglob("*_mask.png"))
    mask.write_bytes(mask.read_bytes() + b"corrected")
    with pytest.raises(ConflictError, match="of other frames"):
        climb(frames, out).boxes()


def test_what_the_scored_frames_choose_is_told(folder: Path, tmp_path: Path) -> None:
    blob = "threshold at which small blobs are taken back"
    settings = ("trainer.keep=last", "export.min_component_fraction=0.005")
    for given, told in (
        ({}, ["best epoch", "minimum component size", blob]),
        ({"settings": settings}, [blob]),
        ({"settings": (*settings, "evaluator.threshold=0.5")}, []),
        ({"folds": 0, "split": "test"}, []),
    ):
        assert climb(folder, tmp_path / "out", **given).chosen_here == told


def test_in_the_plans_that_come_with_the_project_scored_frames_choose_nothing(folder: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted((ROOT / "configs").glob("ladder*.yaml"))):
        found = plan.load(path).model_copy(update={"folds": 0})
        assert not AblationRunner(found, tmp_path / str(number), folder, lambda text: None).chosen_here, path


def test_one_scene_alone_is_refused_before_anything_is_trained(folder: Path, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    shutil.copytree(folder, frames)
    for path in frames.glob("PipeSegmentation/*/val/*"):
        if not path.name.startswith("000054_"):
            path.unlink()
    with pytest.raises(ConfigError, match="shows one scene"):
        climb(frames, tmp_path / "out", folds=0).run()


@pytest.mark.trials
def test_a_ladder_is_climbed_and_goes_on_where_it_was(folder: Path, cli: Command, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    command = ["ladder", "--config", tmp_path / "plan.yaml", "--manual-dir", folder, "--out", tmp_path / "out"]
    first = cli(*command)
    assert "8/8  refined, fold 2/2, seed 1: IoU" in first.stderr
    made = json.loads((tmp_path / "out" / "ladder.json").read_text())
    assert [rung["name"] for rung in made["rungs"]] == ["ps", "pbs-ps", "mixed", "refined"]
    assert (made["frames"], made["scenes"]) == (12, 6)
    assert made["rungs"][2]["over"] == "ps"
    assert (tmp_path / "out" / "ladder.svg").read_text().startswith("<svg")
    # Two of each last step with contours; boxes teach the same in both folds where their frames are the same.
    steps = sorted((tmp_path / "out" / "steps").glob("*.json"))
    assert len(steps) in range(9, 13)
    assert len([path for path in (tmp_path / "out" / "data").glob("cropped-*") if path.is_dir()]) == 2
    crops = [Path(json.loads(step.read_text())["run"]) for step in steps]
    learnt = [run for run in crops if "cropped" in str(json.loads((run / "run.json").read_text())["manual_dir"])]
    assert len(learnt) == 2
    begun = [json.loads((run / "run.json").read_text())["init"] for run in crops]
    assert not set(begun) & set(map(str, learnt)), "what draws inside boxes is no start"
    assert len([path for path in (tmp_path / "out" / "data").glob("refined-*") if path.is_dir()]) == 4
    done = [(path, path.stat().st_mtime_ns) for path in steps]
    assert cli(*command).stdout == first.stdout
    assert [(path, path.stat().st_mtime_ns) for path in sorted((tmp_path / "out" / "steps").glob("*.json"))] == done
    steps[0].unlink()
    for scored in (tmp_path / "out" / "steps").glob(f"{steps[0].stem}-*.npz"):
        scored.unlink()
    assert cli(*command).stdout.split("\n")[2:] == first.stdout.split("\n")[2:]  # the first line tells the time spent
