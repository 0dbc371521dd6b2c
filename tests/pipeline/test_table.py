"""The ladder's table, worked out by hand on frames of ten pixels."""

import numpy as np
import pytest

from pipe_seg.errors import ConfigError
from pipe_seg.nn.scores import FrameScore
from pipe_seg.pipeline import plan, table, table_page
from pipe_seg.pipeline.ablation import Result
from pipe_seg.pipeline.plan import Plan, Training

STEP = {"dataset": "ps"}
LADDER = Plan.model_validate(
    {
        "seeds": [1, 2],
        "folds": 2,
        "draws": 200,
        "rungs": [{"name": "low", "steps": [STEP]}, {"name": "high", "steps": [STEP]}],
    }
)


def frame(name: str, probabilities: list[float], truth: list[int], label: int = 0) -> FrameScore:
    shape = (1, len(truth))
    return FrameScore.of(
        np.array(probabilities, np.float32).reshape(shape),
        np.array(truth, np.uint8).reshape(shape),
        name,
        f"g{name}",
        (label,),
    )


def result(rung: str, fold: int, seed: int, *frames: FrameScore) -> Result:
    return Result(Training(next(r for r in LADDER.rungs if r.name == rung), fold, seed), list(frames), 0.5)


def results() -> list[Result]:
    """Rung ``high`` is right from 0.3 on in both folds; ``low`` claims half of each defect at any threshold."""
    truth = [1, 1, 0, 0]
    made = []
    for seed in (1, 2):
        for fold, name in enumerate("ab"):
            made.append(result("low", fold, seed, frame(name, [0.9, 0.1, 0.1, 0.1], truth, fold)))
            made.append(result("high", fold, seed, frame(name, [0.9, 0.3, 0.1, 0.1], truth, fold)))
    return made


def test_thresholds_come_from_other_folds_and_what_is_added_is_paired() -> None:
    """low: above 0.1 one of two pixels, IoU 1/2; high: 0.1 < t ≤ 0.3 both, IoU 1. Added 1/2 on every frame."""
    made = table.summarise(LADDER, results(), {"a": 0.25, "b": 0.75})
    low, high = made["rungs"]
    assert (low["iou"], high["iou"]) == (pytest.approx(0.5), pytest.approx(1.0))
    assert 0.1 < high["thresholds"][0] <= high["thresholds"][1] <= 0.3
    assert high["added"] == {"iou": pytest.approx(0.5), "low": pytest.approx(0.5), "high": pytest.approx(0.5)}
    assert low["added"] is None
    assert high["over"] == "low"
    assert made["filled_boxes_iou"] == pytest.approx(0.5)
    assert high["per_class"]["obstacle"] == pytest.approx(1.0)
    assert high["per_class"]["deposition"] is None


def test_a_frame_never_chooses_its_own_threshold() -> None:
    """Fold a alone would take 0.5; fold b alone 0.2. Each gets the other's, and is wrong."""
    a, b = frame("a", [0.6, 0.4], [1, 0]), frame("b", [0.3, 0.1], [1, 0])
    ladder = LADDER.model_copy(update={"rungs": LADDER.rungs[:1], "seeds": (1,)})
    (row,) = table.summarise(ladder, [result("low", 0, 1, a), result("low", 1, 1, b)], {})["rungs"]
    assert row["iou"] == pytest.approx((0.5 + 0.0) / 2)  # a at 0.2 claims both; b at 0.5 claims nothing


def test_without_folds_each_scene_is_judged_by_the_others() -> None:
    a, b = frame("a", [0.6, 0.4], [1, 0]), frame("b", [0.3, 0.1], [1, 0])
    ladder = LADDER.model_copy(update={"rungs": LADDER.rungs[:1], "seeds": (1,), "folds": 0})
    (row,) = table.summarise(ladder, [result("low", 0, 1, a, b)], {})["rungs"]
    assert row["iou"] == pytest.approx((0.5 + 0.0) / 2)


def test_on_a_test_split_the_threshold_is_the_models_own() -> None:
    ladder = LADDER.model_copy(update={"rungs": LADDER.rungs[:1], "seeds": (1,), "folds": 0, "split": "test"})
    (row,) = table.summarise(ladder, [result("low", 0, 1, frame("a", [0.6, 0.4], [1, 0]))], {})["rungs"]
    assert row["iou"] == 1.0


def test_an_interval_that_holds_zero_is_told() -> None:
    made = table.summarise(LADDER, results(), {})
    about = {"rendered": True, "commit": "abc", "commits": ["abc"], "device": "2 x CPU", "hours": 1.0}
    text = table_page.markdown(made, {**about, "chosen_here": []})
    assert "Trained at commit `abc`, 2 x CPU" in text
    assert "flatters" not in text
    assert "| high | **1.000** |" in text
    assert "+0.500 over low | +0.500 … +0.500 | on |" in text
    assert text.count("*rendered*") >= 3
    made["rungs"][1]["added"]["low"] = -0.1
    text = table_page.markdown(made, {**about, "commits": ["abc", "def"], "chosen_here": ["best epoch"]})
    assert "off by default" in text
    assert "Trained at commit `abc`, `def`, summed up at `abc`" in text
    assert "also chose: best epoch. That flatters" in text
    assert table_page.picture(made).count("<circle") == 2 * (2 + 1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rungs: []", "at least 1"),
        ("rungs: [{name: a, steps: []}]", "at least 1"),
        ("rungs: [{name: a, steps: [{dataset: ps}]}, {name: a, steps: [{dataset: ps}]}]", "two rungs are called a"),
        ("rungs: [{name: a, over: b, steps: [{dataset: ps}]}]", "over names b, which stands not before it"),
        ("rungs: [{name: a, steps: [{dataset: pbs, refine: true}]}]", "no step before it to refine with"),
        ("rungs: [{name: a, steps: [{dataset: ps, crop: true}]}]", "scored on frames, not on crops"),
        ("rungs: [{name: a, steps: [{dataset: pbs, crop: true}]}]", "crop: only of ps"),
        ("rungs: [{name: a, steps: [{dataset: ps}, {dataset: ps, crop: true, refine: true}]}]", "not with refine"),
        ("rungs: [{name: a, steps: [{dataset: boxes}]}]", "'pbs', 'ps' or 'pbs+ps'"),
        ("rungs: [{name: ../a, steps: [{dataset: ps}]}]", "rungs.0.name"),
        ("seed: 1", "seed"),
        ("[", "cannot be read"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(text: str, told: str, tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "plan.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        plan.load(path)
    assert told in str(caught.value)


def test_the_ladder_that_comes_with_the_project_can_be_read() -> None:
    from pipe_seg.config import load
    from tests.conftest import ROOT

    for path in sorted((ROOT / "configs").glob("ladder*.yaml")):
        found = plan.load(path)
        for rung in found.rungs:
            for step in rung.steps:
                load(step.preset, (*found.settings, *step.settings), unlock=True)


def test_a_clean_frame_left_clean_counts_for_the_rung_that_leaves_it() -> None:
    plan = Plan.model_validate({"rungs": [{"name": "a", "steps": [{"dataset": "ps"}]}], "draws": 200})
    own, below = np.array([[0.5, np.nan] * 10]), np.array([[0.5, 0.0] * 10])
    added = table._added(own, below, [str(number) for number in range(20)], plan)
    assert added["iou"] == pytest.approx(0.25)
    assert added["low"] <= 0.25 <= added["high"]
