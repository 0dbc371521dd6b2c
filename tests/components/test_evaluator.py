"""When a model is blessed, and what the exported precisions cost."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from pipe_seg.artifacts import Evaluation
from pipe_seg.components import evaluator, export
from pipe_seg.components.evaluator.frames import BOUNDARY_SHARE_OF_DIAGONAL, FrameResult
from pipe_seg.components.evaluator.tables import summarise
from pipe_seg.config import EvaluatorSection, ModelSection
from pipe_seg.data import examples as data
from pipe_seg.data import lineage
from pipe_seg.nn import folding, models, scores
from pipe_seg.nn.scores import FrameScore
from pipe_seg.pipeline import datasets
from pipe_seg.pipeline.runs import Run
from tests import golden
from tests.conftest import TINY_FLAGS

SECTION = EvaluatorSection(bootstrap_draws=20, minimum_iou=0.3)


def judged(
    iou: float | None,
    *,
    boxes: float | None = 0.32,
    truth: str = "contour",
    rendered: bool = False,
    cropped: bool = False,
    n_learnt: int = 0,
    n_groups: int = 12,
) -> dict[str, Any]:
    return {
        "headline": {"iou": {"value": iou}},
        "anchors": {"filled_boxes_iou": boxes},
        "truth": truth,
        "rendered": rendered,
        "cropped": cropped,
        "n_learnt": n_learnt,
        "n_images": 12,
        "n_groups": n_groups,
    }


@pytest.mark.parametrize(
    ("summary", "blessed", "why"),
    [
        (judged(0.40), True, "iou 0.400"),
        (judged(0.40, boxes=None), True, "iou 0.400"),
        (judged(0.29), False, "below evaluator.minimum_iou"),
        (judged(None), False, "no frame has a defect"),
        (judged(0.90, n_groups=4), False, "4 scenes are fewer than evaluator.min_scenes 5"),
        (judged(0.90, truth="refined"), False, "not against contours"),
        (judged(0.31), False, "not above that of the filled boxes"),
        (judged(0.90, truth="box"), False, "not against contours"),
        (judged(0.90, n_learnt=5), False, "it learnt from 5 of these 12 frames"),
        (judged(0.90, cropped=True), False, "boxes cut out of their frames"),
        (judged(0.90, rendered=True), False, "rendered frames prove nothing"),
    ],
)
def test_only_contours_beaten_fairly_are_a_blessing(summary: dict[str, Any], blessed: bool, why: str) -> None:
    found, reason = evaluator._blessing(summary, SECTION)
    assert found is blessed
    assert why in reason


def result(name: str, labels: tuple[int, ...]) -> FrameResult:
    truth, claim = golden.PAIRS[name]
    score = FrameScore.of(claim.astype(np.float32), truth, f"{name[0]}.jpg", name, labels)
    counts = score.counts(0.5)
    return FrameResult(
        score=score,
        counts=counts,
        at_half=counts,
        box_counts=None,
        boundary_iou=scores.boundary_iou(truth, claim, 1),
        nsd_2px=scores.surface_dice(truth, claim, 2),
        nsd_5px=scores.surface_dice(truth, claim, 5),
        calibration=(claim.astype(np.float32).ravel(), truth.ravel()),
        false_alarm=bool(claim.any()),
        origin_iou=1.0,
        mask_source="contour",
        picture=b"",
    )


def test_the_tables_are_those_counted_by_hand() -> None:
    names = ("A", "B", "C", "D both empty", "E a claim on a clean frame")
    results = [result(name, labels) for name, labels in zip(names, ((0,), (1,), (1,), (), ()), strict=True)]
    tables = summarise(results, SECTION, seed=1)
    headline = {key: value["value"] for key, value in tables["headline"].items()}
    assert tables["n_skipped"] == 1
    assert headline["iou"] == pytest.approx((1 / 3 + 1 + 0.64 + 0) / 4)
    assert headline["iou_pooled"] == pytest.approx(34 / 48)  # 47 of A, B and C, and one false pixel
    assert headline["iou_macro"] == pytest.approx((1 / 3 + (1 + 0.64) / 2) / 2)
    assert tables["per_class"]["obstacle"] == {
        "n": 2,
        "iou": pytest.approx(0.82),
        "dice": pytest.approx((1 + 32 / 41) / 2),
    }
    assert tables["clean_frames"] == {"n": 2, "false_alarm_rate": 0.5}
    assert tables["anchors"]["filled_boxes_iou"] is None
    assert sum(third["n"] for third in tables["per_size"].values()) == 3


def test_fewer_scenes_than_the_least_have_no_interval() -> None:
    names = ("A", "B", "C")
    few = summarise([result(name, (0,)) for name in names], SECTION, seed=1)
    assert few["headline"]["iou"]["value"] == pytest.approx((1 / 3 + 1 + 0.64) / 3)
    assert few["headline"]["iou"]["low"] is few["headline"]["iou"]["high"] is None
    assert few["no_interval"] == "no interval: 3 scenes, fewer than 5"
    five = [
        replace(result(name, (0,)), score=replace(result(name, (0,)).score, group_id=str(n)))
        for n, name in enumerate((*names, "A", "B"))
    ]
    enough = summarise(five, SECTION, seed=1)
    assert enough["headline"]["iou"]["low"] < enough["headline"]["iou"]["value"] < enough["headline"]["iou"]["high"]
    assert "no_interval" not in enough


def test_only_contours_are_scored_where_there_are_any(refined_and_contours: Evaluation) -> None:
    scores_ = refined_and_contours.scores
    assert scores_["frames_of_source"] == {"contour": 1, "box": 2}
    assert scores_["truth"] == "contour"
    assert scores_["n_images"] == 1
    assert [frame["file_name"] for frame in scores_["frames"]] == ["contour.jpg"]


@pytest.fixture
def refined_and_contours(monkeypatch: pytest.MonkeyPatch, runs: Path, folder: Path, tmp_path: Path) -> Evaluation:
    """An evaluation of a split whose first frame has boxes, the second a contour."""
    model = Run(sorted(runs.iterdir())[1]).model
    dataset = datasets.data_of(Run(sorted(runs.iterdir())[1])).contours
    examples = list(data.load(dataset.path, "validation").take(3).as_numpy_iterator())
    for example, name, source in zip(examples, ("box.jpg", "contour.jpg", "last.jpg"), (0, 1, 0), strict=True):
        example |= {"file_name": np.bytes_(name.encode()), "mask_source": np.int64(source)}
    shown = SimpleNamespace(as_numpy_iterator=lambda: iter(examples))
    monkeypatch.setattr(data, "load", lambda *_: shown)
    monkeypatch.setattr(lineage, "fingerprints", lambda *_: lineage.none())
    return evaluator.run(SECTION, model=model, dataset=dataset, split="validation", seed=1, out=tmp_path / "e")


def test_the_boundary_of_a_real_frame_is_five_pixels() -> None:
    assert round(BOUNDARY_SHARE_OF_DIAGONAL * np.hypot(720, 576)) == 5


def test_bfloat16_costs_at_most_two_hundredths_of_probability() -> None:
    section = ModelSection(width=8, depth=3)
    network = models.build(section)
    rng = np.random.default_rng(5)
    for _ in range(4):
        network(rng.uniform(0, 255, (2, 64, 64, 3)).astype(np.float32), training=True)
    frame = rng.uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    expected = 1 / (1 + np.exp(-network(frame, training=False).numpy()))
    for precision, tolerance in (("float32", 1e-5), ("bfloat16", 0.02)):
        frozen = export.freeze(folding.fold(section, network, precision=precision), (64, 64))
        found = 1 / (1 + np.exp(-frozen(tf.constant(frame)).numpy()))
        assert np.abs(found - expected).max() <= tolerance


def test_what_the_scored_frames_chose_stays_known_after_export(
    runs: Path, folder: Path, cli: Any, tmp_path: Path
) -> None:
    cli("export", sorted(runs.iterdir())[1], "--precision", "float32", "--out", tmp_path / "again")
    common = ("evaluate", tmp_path / "again", "--manual-dir", folder, "--out")
    found = json.loads(cli(*common, tmp_path / "a", "--json").stdout)
    assert found["chosen_here"] == ["epoch", "minimum component size", "threshold"]
    assert found["n_learnt"] == 0
    given = cli(*common, tmp_path / "b", "--threshold", "0.4").stdout
    assert "these very frames chose epoch and minimum component size, which biases scores upwards\n" in given
    assert "held-out contours" in given


def test_frames_that_a_model_learnt_from_never_bless_it(runs: Path, folder: Path, cli: Any, tmp_path: Path) -> None:
    """The split turned round: what trained validates now, and what it began with has learnt it."""
    turned = tmp_path / "turned"
    shutil.copytree(folder, turned)
    for kind in ("images", "labels", "masks"):
        place = turned / "PipeSegmentation" / kind
        (place / "train").rename(place / "other")
        (place / "val").rename(place / "train")
        (place / "other").rename(place / "val")
    learnt = sorted(runs.iterdir())[1]
    told = cli("evaluate", learnt, "--manual-dir", turned, "--out", tmp_path / "e").stdout
    assert "not blessed: it learnt from 8 of these 8 frames" in told
    assert "held-out" not in told
    assert "chose" not in told.partition("verdict")[0].partition("threshold")[2].partition("\n")[2]
    assert "learnt from 8 of these frames" in (tmp_path / "e" / "report.html").read_text()
    common = ("--manual-dir", turned, "--runs", tmp_path / "runs", "--name", "Anna", *TINY_FLAGS)
    done = cli("train", "--dataset", "ps", "--init", learnt, *common)
    assert f"note: {learnt} learnt from 8 of these validation frames" in done.stderr
    assert "not blessed: it learnt from 8 of these 8 frames" in done.stdout
