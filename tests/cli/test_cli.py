"""The command line as people type it: answers, refusals, exit codes."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import TINY_FLAGS, Command


@pytest.fixture(scope="module")
def ps(runs: Path) -> Path:
    return sorted(runs.iterdir())[1]


def error(text: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith("error:")]
    return line


def test_evaluate_holds_a_bar(ps: Path, folder: Path, cli: Command, tmp_path: Path) -> None:
    common = ["evaluate", ps, "--manual-dir", folder, *TINY_FLAGS]
    cli(*common, "--fail-under", "iou=0.0", "--out", tmp_path / "a")
    done = cli(*common, "--fail-under", "iou=0.999", "--out", tmp_path / "b", code=6)
    assert "iou: under the bar" in error(done.stderr)
    assert "not a bar" in error(cli(*common, "--fail-under", "iou=nan", "--out", tmp_path / "c", code=2).stderr)
    assert "unknown score" in error(cli(*common, "--fail-under", "miou=0.1", "--out", tmp_path / "c", code=2).stderr)


def test_evaluate_says_what_finding_more_costs(ps: Path, folder: Path, cli: Command, tmp_path: Path) -> None:
    common = ["evaluate", ps, "--manual-dir", folder, *TINY_FLAGS, "--target-recall", "0.85"]
    told = cli(*common, "--out", tmp_path / "a").stdout
    line = next(line for line in told.splitlines() if line.startswith("recall"))
    found = float(line.partition("finds ")[2].partition("%")[0])
    assert found >= 85
    assert "of the background predicted positive" in line
    points = json.loads(cli(*common, "--out", tmp_path / "b", "--json").stdout)["operating_points"]
    assert [point["target_recall"] for point in points] == [0.5, 0.7, 0.8, 0.85, 0.9, 0.95]


def test_the_report_shows_itself_without_the_network(ps: Path) -> None:
    page = (ps / "evaluator" / "report.html").read_text()
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/jpeg;base64,") == 4


def test_predict_writes_masks_overlays_and_a_table(ps: Path, folder: Path, cli: Command, tmp_path: Path) -> None:
    source = folder / "PipeSegmentation" / "images" / "val"
    rows = json.loads(cli("predict", ps, source, "--out", tmp_path, "--mask-values", "0/1", "--json").stdout)
    assert len(rows) == 4
    for row in rows:
        mask = cv2.imread(str(tmp_path / row["mask"]), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(mask)) <= {0, 1}
        assert mask.shape == (row["height_px"], row["width_px"])
        assert cv2.imread(str(tmp_path / row["overlay"])).shape == (*mask.shape, 3)
        assert row["defect_area_fraction"] == pytest.approx(mask.mean(), abs=1e-5)
    with (tmp_path / "predictions.csv").open() as file:
        assert [row["mask"] for row in csv.DictReader(file)] == [row["mask"] for row in rows]


def test_predict_names_the_broken_image_and_answers_the_rest(ps: Path, cli: Command, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "good.png"), np.zeros((20, 30, 3), np.uint8))
    (tmp_path / "bad.jpg").write_bytes(b"")
    done = cli("predict", ps, tmp_path, "--out", tmp_path / "out", code=3)
    assert f"{tmp_path / 'bad.jpg'}: empty file" in error(done.stderr)
    assert (tmp_path / "out" / "good_mask.png").is_file()


def test_predict_writes_over_nothing(ps: Path, cli: Command, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((8, 8, 3), np.uint8))
    assert "is where the images lie" in error(cli("predict", ps, tmp_path, "--out", tmp_path, code=2).stderr)


def test_predict_refuses_two_images_of_one_name(ps: Path, cli: Command, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "x.png"), np.zeros((8, 8, 3), np.uint8))
    assert "has the name of" in error(
        cli("predict", ps, tmp_path / "a", tmp_path / "b", "--out", tmp_path, code=2).stderr
    )


def test_upload_needs_a_blessing(ps: Path, cli: Command, tmp_path: Path) -> None:
    done = cli("upload", ps, "--to", tmp_path / "store", "--yes", code=6)
    assert "not blessed by the evaluator" in error(done.stderr)
    assert not list((tmp_path / "store").rglob("saved_model.pb")) if (tmp_path / "store").exists() else True


def test_upload_publishes_the_next_version(ps: Path, cli: Command, tmp_path: Path) -> None:
    arguments = ["upload", ps, "--to", tmp_path / "store", "--yes", "--unblessed"]
    first, second = (Path(json.loads(cli(*arguments, "--json").stdout)["version"]) for _ in range(2))
    assert [first.name, second.name] == ["1", "2"]
    manifest = json.loads((first / "manifest.json").read_text())
    assert manifest["blessed"] is False
    assert set(manifest["files"]) >= {"saved_model.pb", "assets.extra/tf_serving_warmup_requests"}
    cv2.imwrite(str(tmp_path / "frame.png"), np.zeros((20, 30, 3), np.uint8))
    cli("predict", first, tmp_path / "frame.png", "--out", tmp_path / "out")


def test_upload_refuses_a_model_that_is_not_the_blessed_one(ps: Path, cli: Command, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(ps, tmp_path / ps.name))
    (copy / "model" / "saved_model" / "assets" / "labels.txt").write_text("other\n")
    done = cli("upload", copy, "--to", tmp_path / "store", "--yes", "--unblessed", code=6)
    assert "is not the model that was blessed" in error(done.stderr)
    shutil.rmtree(copy / "infra_validator")
    done = cli("upload", copy, "--to", tmp_path / "store", "--yes", "--unblessed", code=6)
    assert "not seen to answer in a fresh process" in error(done.stderr)


def test_upload_asks_nobody_who_is_not_there(ps: Path, cli: Command, tmp_path: Path) -> None:
    assert "--yes" in error(cli("upload", ps, "--to", tmp_path / "store", "--unblessed", code=2).stderr)


def test_runs_are_listed_shown_and_compared(runs: Path, ps: Path, cli: Command) -> None:
    rows = json.loads(cli("runs", "list", "--runs", runs, "--json").stdout)
    assert [row["trained_on"] for row in rows] == ["pbs/default", "ps/default"]
    assert ps.name in cli("runs", "list", "--runs", runs).stdout
    assert "trained on ps/default" in cli("runs", "show", "last", "--runs", runs).stdout
    differences = json.loads(cli("runs", "compare", rows[0]["run"], rows[1]["run"], "--runs", runs, "--json").stdout)
    assert differences["data"]["dataset"] == ["pbs/default", "ps/default"]
    assert differences["config"] == {}
    assert differences["run"]["init"][0] is None
    assert {"best_epoch", "best_iou"} & set(differences["training"])
    assert "iou" in differences["scores"]
    assert [row["finished"] for row in rows] == [True, True]


def test_tensorboard_has_what_was_promised(ps: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(ps / "tensorboard"), size_guidance={"tensors": 0}).Reload()
    tags = set(events.Tags()["tensors"])
    scalars = {
        "train/loss",
        "train/iou",
        "validation/iou",
        "validation/dice",
        "train/learning_rate",
        "train/images_per_second",
    }
    assert scalars <= tags
    assert any(tag.startswith("validation/precision_recall") for tag in tags)
    assert sum("frame, truth, prediction" in tag for tag in tags) == 4
    assert events.Tags()["graph"]
    assert any(tag.startswith("_hparams_/") for tag in events.summary_metadata)


def test_doctor_says_what_it_found(folder: Path, cli: Command, tmp_path: Path) -> None:
    facts = json.loads(cli("doctor", "--manual-dir", folder, "--runs", tmp_path, "--json").stdout)
    assert facts["tensorflow"].startswith("2.21")
    assert facts["data"]["pbs"].startswith("12 frames")
    assert facts["runs_writable"]


def test_config_init_validate_and_show(cli: Command, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    cli("config", "init", path, "--preset", "quick")
    assert "good" in cli("config", "validate", path).stdout
    assert "do not touch" in cli("config", "show", "--preset", path).stdout
    cli("config", "init", path, code=5)
    path.write_text(path.read_text().replace("seed: 42", "seeds: 42"))
    assert "mine.yaml:3: seeds: unknown key, did you mean seed?" in error(
        cli("config", "validate", path, code=2).stderr
    )


def test_the_rendered_word_is_everywhere_on_rendered_scores(cli: Command, tmp_path: Path) -> None:
    flags = [*TINY_FLAGS, "-s", "ps.epochs=1"]
    done = cli("train", "--dataset", "ps", "--runs", tmp_path / "runs", *flags, cwd=tmp_path)
    assert "embedded rendered sample" in done.stderr
    assert "rendered IoU" in done.stdout
    assert "rendered Dice" in done.stdout
    (run,) = (tmp_path / "runs").iterdir()
    assert "Rendered frames" in (run / "evaluator" / "report.html").read_text()
    for line in done.stdout.splitlines():
        assert "IoU" not in line.replace("rendered IoU", ""), line
    assert "rendered frames prove nothing" in done.stdout
    assert "rendered ps/synthetic" in cli("runs", "list", "--runs", tmp_path / "runs").stdout


@pytest.fixture
def broken(tmp_path: Path, folder: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "datasets"))


BAD = {
    "an empty folder": (lambda f: [p.unlink() for p in (f / "images/train").iterdir()], "no frames here"),
    "a missing label": (lambda f: (f / "labels/train/000001_0.txt").unlink(), "frame without a label"),
    "a JPEG of no bytes": (lambda f: (f / "images/train/000001_0.jpg").write_bytes(b""), "empty file"),
    "a box outside": (lambda f: (f / "labels/val/000004_0.txt").write_text("0 .95 .5 .2 .1"), "box outside the frame"),
    "class 7 of 6": (lambda f: (f / "labels/val/000004_0.txt").write_text("7 .5 .5 .2 .1"), "unknown class"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_frames_end_with_3_and_leave_nothing(broken: Path, cli: Command, tmp_path: Path, name: str) -> None:
    spoil, what = BAD[name]
    spoil(broken / "PipeBoxSegmentation")
    data = tmp_path / "tfds"
    done = cli(
        "train",
        "--dataset",
        "pbs",
        "--manual-dir",
        broken,
        "--runs",
        tmp_path / "runs",
        code=3,
        TFDS_DATA_DIR=str(data),
    )
    assert what in error(done.stderr)
    assert str(broken) in error(done.stderr)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()
    assert not list(data.rglob("*.tfrecord*"))
    assert not list((data / "pipe_seg").glob("example_gen/*"))


def test_a_folder_that_is_not_there_says_what_goes_where(cli: Command, tmp_path: Path) -> None:
    line = error(cli("data", "build", "pbs", "--manual-dir", tmp_path, code=3).stderr)
    assert "no folder PipeBoxSegmentation here" in line
    assert "labels/train" in line


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["train", "--dataset", "pbs", "-s", "pbs.epoch=1"], "did you mean epochs"),
        (["train", "--dataset", "pbs", "--init", "nosuch"], "no such run"),
        (["evaluate", "nosuch"], "no such run"),
        (["predict", "nosuch", "x.jpg", "--out", "o"], "no such run"),
        (["experiment"], "--name"),
        (["experiment", "--name", "Анна"], "Latin letters"),
    ],
)
def test_a_wrong_command_ends_with_2(cli: Command, tmp_path: Path, arguments: list[str], what: str) -> None:
    assert what in error(cli(*arguments, cwd=tmp_path, code=2).stderr)


def test_a_run_folder_that_cannot_be_written_ends_with_4(cli: Command, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = cli(
        "train", "--dataset", "ps", "--manual-dir", folder, "--runs", tmp_path / "file" / "runs", *TINY_FLAGS, code=4
    )
    assert str(tmp_path / "file") in error(done.stderr)


def test_the_experiment_runs_unattended(cli: Command, folder: Path, tmp_path: Path) -> None:
    done = cli(
        "experiment",
        "--name",
        "Anna",
        "--yes",
        "--manual-dir",
        folder,
        "--runs",
        tmp_path / "runs",
        "--to",
        tmp_path / "store",
        *TINY_FLAGS,
        "-s",
        "evaluator.minimum_iou=1.0",
    )
    assert "Hello, Anna." in done.stderr
    assert "Do not touch:" in done.stderr
    assert "not saved" in done.stderr
    assert not (tmp_path / "store").exists()
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.endswith("_Anna_original")
    info = json.loads((run / "run.json").read_text())
    assert info["init"] == str(run / "stages" / "1_pbs")
    assert [stage["name"] for stage in info["stages"]] == ["pbs", "ps"]
    assert "best yet" in done.stdout
