"""Log, evaluate, and predict with numpy of one's own: one number for the same frames and threshold."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import TINY_FLAGS, Command


@pytest.fixture(scope="module")
def ps(runs: Path) -> Path:
    return sorted(runs.iterdir())[1]


def logged(run: Path) -> dict[str, float]:
    history = json.loads((run / "trainer" / "history.json").read_text())
    return max(history, key=lambda epoch: epoch["validation/iou"])


def test_training_log_evaluate_and_predict_agree(ps: Path, folder: Path, cli: Command, tmp_path: Path) -> None:
    evaluate = ["evaluate", ps, "--manual-dir", folder, "--threshold", "0.5", "--json", "--out", tmp_path / "e"]
    scores = json.loads(cli(*evaluate).stdout)["headline"]

    export = ["export", ps, "--precision", "float32", "--out", tmp_path / "model"]
    facts = json.loads(cli(*export, "--json").stdout)
    threshold = facts["threshold"]
    at_own = json.loads(
        cli(
            "evaluate", tmp_path / "model", "--manual-dir", folder, "--json", "--out", tmp_path / "f", *TINY_FLAGS
        ).stdout
    )["headline"]
    frames = folder / "PipeSegmentation" / "images" / "val"
    cli("predict", tmp_path / "model", frames, "--out", tmp_path / "p")

    ious, dices = [], []
    for path in sorted(frames.iterdir()):
        claim = cv2.imread(str(tmp_path / "p" / f"{path.stem}_mask.png"), cv2.IMREAD_UNCHANGED) > 0
        truth = cv2.imread(str(folder / f"PipeSegmentation/masks/val/{path.stem}_mask.png"), cv2.IMREAD_UNCHANGED) > 0
        both, either = (claim & truth).sum(), (claim | truth).sum()
        if either:
            ious.append(both / either)
            dices.append(2 * both / (claim.sum() + truth.sum()))

    log = logged(ps)
    assert scores["iou"]["value"] == pytest.approx(log["validation/iou"], abs=1e-6)
    assert scores["dice"]["value"] == pytest.approx(log["validation/dice"], abs=1e-6)
    assert scores["iou_pooled"]["value"] == pytest.approx(log["validation/iou_pooled"], abs=1e-6)
    assert 0 < threshold < 1
    assert at_own["iou"]["value"] == pytest.approx(float(np.mean(ious)), abs=1e-6)
    assert at_own["dice"]["value"] == pytest.approx(float(np.mean(dices)), abs=1e-6)


def test_a_training_that_is_told_the_smallest_blob_takes_back_what_the_export_does(
    ps: Path, folder: Path, cli: Command, tmp_path: Path
) -> None:
    common = [*TINY_FLAGS, "-s", "trainer.precision=float32", "-s", "export.precision=float32"]
    train = ["train", "--dataset", "ps", "--init", ps, "--manual-dir", folder, "--runs", tmp_path, "--name", "Anna"]
    found = {}
    for blob in (0.0, 0.2):
        given = ["-s", "evaluator.threshold=0.5", "-s", f"export.min_component_fraction={blob}"]
        run = Path(json.loads(cli(*train, *common, *given, "--json").stdout)["run"])
        scores = json.loads((run / "evaluator" / "scores.json").read_text())
        found[blob] = logged(run)["validation/iou"]
        assert scores["headline"]["iou"]["value"] == pytest.approx(found[blob], abs=1e-6)
        assert scores["chosen_here"] == ["epoch"]
    assert found[0.0] != found[0.2], "blobs of a fifth of a frame are seen to be taken back"


def test_the_frames_of_scores_json_add_up_to_its_headline(ps: Path) -> None:
    scores = json.loads((ps / "evaluator" / "scores.json").read_text())
    ious = [frame["iou"] for frame in scores["frames"] if frame["iou"] is not None]
    tp, fp, fn = (sum(frame[key] for frame in scores["frames"]) for key in ("tp", "fp", "fn"))
    assert scores["headline"]["iou"]["value"] == pytest.approx(np.mean(ious))
    assert scores["headline"]["iou_pooled"]["value"] == pytest.approx(tp / (tp + fp + fn))
    assert scores["n_images"] == 4
    assert scores["n_groups"] == 2
    assert scores["headline"]["iou"]["low"] is scores["headline"]["iou"]["high"] is None, "two scenes have no interval"
