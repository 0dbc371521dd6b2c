"""An ablation's table, worked out by hand on frames of ten pixels."""

from pathlib import Path

import numpy as np
import pytest

from pipe_seg import config
from pipe_seg.errors import ConfigError
from pipe_seg.nn.scores import FrameScore
from pipe_seg.pipeline import ablation, recipe, table, table_page
from pipe_seg.pipeline.ablation import Plan, Result, Training

STAGE = {"name": "ps", "component": "trainer", "dataset": "ps"}
PLAN = Plan.model_validate(
    {
        "seeds": [1, 2],
        "folds": 2,
        "draws": 200,
        "variants": [{"name": "low", "stages": [STAGE]}, {"name": "high", "stages": [STAGE]}],
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


def result(variant: str, fold: int, seed: int, *frames: FrameScore) -> Result:
    return Result(Training(next(r for r in PLAN.variants if r.name == variant), fold, seed), list(frames), 0.5)


def results() -> list[Result]:
    """Variant ``high`` is right from 0.3 on in both folds; ``low`` finds half of each defect at any threshold."""
    truth = [1, 1, 0, 0]
    made = []
    for seed in (1, 2):
        for fold, name in enumerate("ab"):
            made.append(result("low", fold, seed, frame(name, [0.9, 0.1, 0.1, 0.1], truth, fold)))
            made.append(result("high", fold, seed, frame(name, [0.9, 0.3, 0.1, 0.1], truth, fold)))
    return made


def test_thresholds_come_from_other_folds_and_what_is_added_is_paired() -> None:
    """low: above 0.1 one of two pixels, IoU 1/2; high: 0.1 < t ≤ 0.3 both, IoU 1. Added 1/2 on every frame."""
    made = table.summarise(PLAN, results(), {"a": 0.25, "b": 0.75})
    low, high = made["variants"]
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
    plan = PLAN.model_copy(update={"variants": PLAN.variants[:1], "seeds": (1,)})
    (row,) = table.summarise(plan, [result("low", 0, 1, a), result("low", 1, 1, b)], {})["variants"]
    assert row["iou"] == pytest.approx((0.5 + 0.0) / 2)  # a at 0.2 predicts both positive; b at 0.5 none


def test_without_folds_each_scene_is_judged_by_the_others() -> None:
    a, b = frame("a", [0.6, 0.4], [1, 0]), frame("b", [0.3, 0.1], [1, 0])
    plan = PLAN.model_copy(update={"variants": PLAN.variants[:1], "seeds": (1,), "folds": 0})
    (row,) = table.summarise(plan, [result("low", 0, 1, a, b)], {})["variants"]
    assert row["iou"] == pytest.approx((0.5 + 0.0) / 2)


def test_on_a_test_split_the_threshold_is_the_models_own() -> None:
    plan = PLAN.model_copy(update={"variants": PLAN.variants[:1], "seeds": (1,), "folds": 0, "split": "test"})
    (row,) = table.summarise(plan, [result("low", 0, 1, frame("a", [0.6, 0.4], [1, 0]))], {})["variants"]
    assert row["iou"] == 1.0


def test_an_interval_that_holds_zero_is_named() -> None:
    made = table.summarise(PLAN, results(), {})
    about = {"rendered": True, "commit": "abc", "commits": ["abc"], "device": "2 x CPU"}
    text = table_page.markdown(made, {**about, "chosen_here": []})
    assert "Trained at commit `abc`, 2 x CPU" in text
    assert "biased" not in text
    assert "| high | **1.000** |" in text
    assert "+0.500 over low | +0.500 … +0.500 | on |" in text
    assert text.count("*rendered*") >= 3
    made["variants"][1]["added"]["low"] = -0.1
    text = table_page.markdown(made, {**about, "commits": ["abc", "def"], "chosen_here": ["best epoch"]})
    assert "off by default" in text
    assert "Trained at commit `abc`, `def`, summed up at `abc`" in text
    assert "also chose: best epoch. Scores are biased upwards" in text
    assert table_page.picture(made).count("<circle") == 2 * (2 + 1)


TRAINER = "{name: a, component: trainer, dataset: ps}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("variants: []", "at least 1"),
        ("variants: [{name: a}]", "either recipe or stages"),
        (f"variants: [{{name: a, recipe: best, stages: [{TRAINER}]}}]", "either recipe or stages"),
        ("variants: [{name: a, recipe: best}, {name: a, recipe: best}]", "two variants are called a"),
        ("variants: [{name: a, over: b, recipe: best}]", "over names b, which is not before it"),
        ("variants: [{name: ../a, recipe: best}]", "variants.0.name"),
        ("seed: 1", "seed"),
        ("[", "not valid YAML"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        ablation.load(str(path))
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("stages", "problem"),
    [
        ("[]", "at least 1"),
        (f"[{TRAINER}, {TRAINER}]", "two stages are called a"),
        ("[{name: a, component: trainer}]", "a trainer has a dataset"),
        ("[{name: a, component: cropper, dataset: ps}]", "a trainer has a dataset, other components have none"),
        ("[{name: a, component: refiner}]", "a refiner has models"),
        ("[{name: a, component: cropper, init: b}]", "only a trainer starts from weights"),
        ("[{name: a, component: trainer, dataset: boxes}]", "'pbs', 'ps' or 'pbs+ps'"),
        ("[{name: ../a, component: trainer, dataset: ps}]", "stages.0.name"),
        (f"[{TRAINER}, {{name: b, component: trainer, dataset: ps, init: c}}]", "init names c, no earlier trainer"),
        (f"[{TRAINER}, {{name: b, component: trainer, dataset: ps, data: a}}]", "data names a, no earlier cropper"),
        ("[{name: c, component: cropper}]", "the last stage has to be a trainer"),
        (
            "[{name: c, component: cropper}, {name: b, component: trainer, dataset: ps, data: c}]",
            "the last stage has to be a trainer that learns from whole frames",
        ),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(stages: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"stages: {stages}\n")
    with pytest.raises(ConfigError) as caught:
        recipe.load(str(path))
    assert problem in str(caught.value)


def test_what_comes_with_the_project_can_be_read() -> None:
    recipes = [recipe.load(name) for name in recipe.names()]
    assert {found.name for found in recipes} >= {"best", "original", "contours", "boxes", "sample"}
    for found in recipes:
        for stage in found.stages:
            found.settings(stage, None, ())
    assert len(config.shipped("ablations")) >= 4
    for name in config.shipped("ablations"):
        plan = ablation.load(name)
        for variant in plan.variants:
            made = variant.as_recipe()
            for stage in made.stages:
                made.settings(stage, None, (*plan.settings, *variant.settings), unlock=True)


def test_a_clean_frame_left_clean_counts_for_the_variant_that_leaves_it() -> None:
    plan = Plan.model_validate({"variants": [{"name": "a", "stages": [STAGE]}], "draws": 200})
    own, below = np.array([[0.5, np.nan] * 10]), np.array([[0.5, 0.0] * 10])
    added = table._added(own, below, [str(number) for number in range(20)], plan)
    assert added["iou"] == pytest.approx(0.25)
    assert added["low"] <= 0.25 <= added["high"]
