"""Training through the command line: repeatable, on one device or several, from other weights."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator

from pipe_seg.disk import locked
from tests import tiny_training
from tests.conftest import ROOT, TINY_FLAGS, Command


def last(runs: Path) -> Path:
    return sorted(runs.iterdir())[-1]


def test_a_run_is_one_folder_with_everything(runs: Path) -> None:
    pbs, ps = sorted(runs.iterdir())
    for run in (pbs, ps):
        names = {path.name for path in run.iterdir()}
        assert names == {"config.yaml", "run.json", "trainer", "model", "evaluator", "infra_validator", "tensorboard"}
    info = json.loads((ps / "run.json").read_text())
    assert info["init"] == str(pbs)
    assert info["dataset"] == "ps/default"
    assert info["unlocked"] == ["transform.image_height_px", "transform.image_width_px", "model.width", "model.depth"]


def test_boxes_are_scored_against_contours(runs: Path) -> None:
    scores = json.loads((sorted(runs.iterdir())[0] / "evaluator" / "scores.json").read_text())
    assert scores["dataset"] == "ps/default"
    assert scores["truth"] == "contour"
    assert scores["anchors"]["filled_boxes_iou"] > 0


def test_the_same_seed_gives_the_same_weights_byte_for_byte(tmp_path: Path, folder: Path, cli: Command) -> None:
    for place in ("a", "b"):
        cli("train", "--dataset", "pbs", "--manual-dir", folder, "--runs", tmp_path / place, *TINY_FLAGS)
    first, second = (last(tmp_path / place) for place in ("a", "b"))
    assert len(tiny_training.weights(first)) > 10
    assert tiny_training.outcome(first) == tiny_training.outcome(second)


def test_weights_that_are_no_numbers_are_not_begun_from(tmp_path: Path, folder: Path, cli: Command, runs: Path) -> None:
    spoilt = Path(shutil.copytree(sorted(runs.iterdir())[0], tmp_path / "spoilt"))
    with h5py.File(spoilt / "trainer" / "weights.weights.h5", "a") as file:
        file.visititems(lambda _, item: item.write_direct(np.full_like(item[()], np.nan)) if is_weight(item) else None)
    flags = ["--manual-dir", folder, "--runs", tmp_path / "runs", *TINY_FLAGS]
    done = cli("train", "--dataset", "ps", "--init", spoilt, *flags, code=7)
    assert "weights.weights.h5: weights that are not finite; expected --init with another run" in done.stderr
    assert not (last(tmp_path / "runs") / "trainer").exists()


def is_weight(item: object) -> bool:
    return isinstance(item, h5py.Dataset) and item.dtype == np.float32 and item.ndim > 0


def test_boxes_that_nobody_drew_in_are_told_of_where_contours_are_mixed_in(
    tmp_path: Path, folder: Path, cli: Command
) -> None:
    flags = ["--dataset", "pbs+ps", "--manual-dir", folder, "--runs", tmp_path, *TINY_FLAGS]
    assert "note: no box here is refined" in cli("train", *flags, "-s", "joint.epochs=1").stderr


def test_weights_of_another_network_are_refused(tmp_path: Path, folder: Path, cli: Command, runs: Path) -> None:
    flags = ["--manual-dir", folder, "--runs", tmp_path, *TINY_FLAGS, "-s", "model.width=8"]
    done = cli("train", "--dataset", "ps", "--init", sorted(runs.iterdir())[0], *flags, code=2)
    assert "weights do not fit this network" in done.stderr


def test_a_log_has_one_line_an_epoch_and_no_bar(tmp_path: Path, folder: Path, shell: Command) -> None:
    done = shell("train", "--dataset", "ps", "--manual-dir", folder, "--runs", tmp_path, *TINY_FLAGS)
    lines = [line for line in done.stderr.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in lines] == ["1/2", "2/2"]
    assert all("validation iou" in line and "images/s" in line and "ETA" in line for line in lines)
    assert "oneDNN" not in done.stderr
    assert "\r" not in done.stderr


@pytest.mark.trials
def test_a_run_that_a_signal_ended_is_resumed_to_the_same_weights(tmp_path: Path, folder: Path, cli: Command) -> None:
    data = {"TFDS_DATA_DIR": str(tmp_path / "tfds")}
    flags = ["train", "--dataset", "ps", "--manual-dir", folder, *TINY_FLAGS, "-s", "ps.epochs=12"]
    flags += ["-s", "trainer.early_stopping_epochs=50", "-s", "trainer.steps_per_call=1"]
    cli(*flags, "--runs", tmp_path / "whole", **data)
    command = [sys.executable, str(ROOT / "cli.py"), *map(str, flags), "--runs", str(tmp_path / "runs")]
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **data}
        )
        deadline = time.monotonic() + 120
        while "epoch 2/" not in (tmp_path / "log").read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)  # SIGTERM: tests/faults/test_train.py
        assert process.wait(timeout=10) == 130, (tmp_path / "log").read_text()
    run = last(tmp_path / "runs")
    assert not (run / "trainer").exists()
    assert f"to continue: python cli.py train --resume {run}" in (tmp_path / "log").read_text()

    again = ["train", "--runs", tmp_path / "runs", "--resume"]
    done = cli(*again, "last", *TINY_FLAGS, "-s", "ps.epochs=13", "-s", "trainer.steps_per_call=1", code=2, **data)
    assert "ps.epochs differs (got 13); expected 12, as it began" in done.stderr
    assert "trainer.early_stopping_epochs differs (got 15); expected 50, as it began" in done.stderr
    done = cli(*again, run, "--dataset", "pbs", code=2, **data)
    assert "--dataset: differs (got pbs); expected ps" in done.stderr
    with locked(run):
        done = cli(*again, "last", code=5, **data)
    assert "another process trains this run" in done.stderr

    cli(*again, "last", **data)
    assert tiny_training.outcome(run) == tiny_training.outcome(last(tmp_path / "whole"))
    assert not (run / "checkpoints").exists()
    assert len(json.loads((run / "run.json").read_text())["resumed"]) == 2
    assert tags(run) == tags(last(tmp_path / "whole"))
    done = cli(*again, run, code=2, **data)
    assert "this run is finished; expected --init RUN" in done.stderr
    done = cli(*again, "last", code=2, **data)
    assert "no run here is unfinished" in done.stderr


def tags(run: Path) -> dict[str, list[int]]:
    """Give the steps of every scalar that TensorBoard shows."""
    accumulator = event_accumulator.EventAccumulator(str(run / "tensorboard"), {"tensors": 0})
    accumulator.Reload()
    return {tag: [event.step for event in accumulator.Tensors(tag)] for tag in accumulator.Tags()["tensors"]}
