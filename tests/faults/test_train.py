"""A training that is killed goes on to the very weights, history and best metric of one that was left alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipe_seg.components.trainer import batch_size_finder
from pipe_seg.errors import MachineError
from tests import tiny_training
from tests.conftest import ROOT, TINY_FLAGS
from tests.faults.processes import free_ports

EQUAL = """
import sys
from pathlib import Path
from tests import tiny_training
tiny_training.split_processor()
dataset, out, *overrides = sys.argv[1:]
tiny_training.train(tiny_training.settings(*overrides), tiny_training.Dataset(Path(dataset)), Path(out))
"""


def trials(kind: str, *arguments: object) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.faults.train_driver", kind, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_kills(outcomes: list[dict[str, Any]], number: int) -> None:
    kills = [outcome for outcome in outcomes if outcome.get("killed")]
    through = [outcome for outcome in outcomes if outcome["trial"] == "through"]
    assert len(kills) == number
    assert len(through) >= 1
    assert all(outcome["code"] == 0 for outcome in outcomes if outcome.get("killed") is False)
    for outcome in through:
        assert (outcome["resumed"], outcome["same"], outcome["junk"]) == (0, True, []), outcome


@pytest.mark.trials
def test_thirty_kills_at_random_moments(folder: Path, tmp_path: Path) -> None:
    check_kills(trials("random", 30, 7, folder, tmp_path), 30)


@pytest.mark.faults
def test_a_hundred_kills_at_random_moments(folder: Path, tmp_path: Path) -> None:
    check_kills(trials("random", 100, 11, folder, tmp_path), 100)


@pytest.mark.faults
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not here")
def test_a_kill_at_every_rename_and_unlink_of_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    outcomes = trials("points", folder, tmp_path)[1:]
    assert len(outcomes) >= 9
    for outcome in outcomes:
        assert outcome["killed"], outcome
        assert (outcome["resumed"], outcome["same"], outcome["junk"]) == (0, True, []), outcome


def check_terminations(outcomes: list[dict[str, Any]], number: int) -> None:
    ended = [outcome for outcome in outcomes if outcome["trial"] == "SIGTERM" and not outcome["through"]]
    assert len(ended) == number
    for outcome in ended:
        assert outcome["code"] == 143, outcome
        assert outcome["s"] <= 10, outcome
        assert outcome["found"], outcome
    assert all(outcome["code"] == 0 for outcome in outcomes if outcome.get("through"))
    assert all(outcome["same"] for outcome in outcomes if outcome["trial"] == "through")


@pytest.mark.trials
def test_sigterm_at_random_moments_saves_and_exits_with_143(folder: Path, tmp_path: Path) -> None:
    check_terminations(trials("terminate", 5, 3, folder, tmp_path), 5)


@pytest.mark.faults
def test_sigterm_at_twenty_random_moments(folder: Path, tmp_path: Path) -> None:
    check_terminations(trials("terminate", 20, 5, folder, tmp_path), 20)


def largest_difference(first: Path, second: Path) -> float:
    pairs = zip(tiny_training.weights(first).values(), tiny_training.weights(second).values(), strict=True)
    return max(float(np.abs(a - b).max(initial=0)) for a, b in pairs if a.dtype == np.float32)


def train_each(folder: Path, place: Path, ways: dict[str, list[str]], *flags: str) -> None:
    """Train the same, side by side, in each of ``ways``; float32, without dropout, group normalisation."""
    dataset = tiny_training.build(folder, place / "tfds")
    common = ["trainer.precision=float32", "model.dropout=0", "model.norm=group", "trainer.schedule=cosine"]
    processes = []
    for way, own in ways.items():
        command = [sys.executable, "-c", EQUAL, str(dataset.path), str(place / way), *common, *flags, *own]
        processes.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE))
    for process in processes:
        _, told = process.communicate()
        assert process.returncode == 0, told.decode()


@pytest.mark.trials
@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.01), ("adamw", 0.0003)])
@pytest.mark.parametrize("batch_size", [4, 6])  # of 8 frames: without and with a ragged tail
def test_two_replicas_learn_what_one_does(
    folder: Path, tmp_path: Path, optimizer: str, rate: float, batch_size: int
) -> None:
    flags = [f"ps.optimizer={optimizer}", f"ps.batch_size={batch_size}", f"ps.learning_rate={rate}", "ps.epochs=5"]
    ways = {strategy: [f"trainer.strategy={strategy}"] for strategy in ("one", "mirrored")}
    train_each(folder, tmp_path, ways, *flags)
    assert [tiny_training.outcome(tmp_path / way)["replicas"] for way in ways] == [1, 2]
    assert largest_difference(tmp_path / "one", tmp_path / "mirrored") <= 1e-6


@pytest.mark.trials
@pytest.mark.parametrize(("optimizer", "rate", "bound"), [("sgd", 0.01, 1e-5), ("adamw", 0.001, 1e-3)])
def test_with_batch_statistics_rounding_grows_and_nothing_else(
    folder: Path, tmp_path: Path, optimizer: str, rate: float, bound: float
) -> None:
    """Ten steps; AdamW's first ones have one size however small a gradient is. ``pytest -m trials -s`` shows it."""
    flags = [f"ps.optimizer={optimizer}", f"ps.learning_rate={rate}", "ps.epochs=5", "model.norm=batch"]
    ways = {strategy: [f"trainer.strategy={strategy}"] for strategy in ("one", "mirrored")}
    train_each(folder, tmp_path, ways, *flags)
    difference = largest_difference(tmp_path / "one", tmp_path / "mirrored")
    print(json.dumps({"optimizer": optimizer, "largest_difference": difference}))
    assert difference <= bound


@pytest.mark.trials
def test_a_batch_in_parts_teaches_what_it_does_whole(folder: Path, tmp_path: Path) -> None:
    ways = {
        "whole": ["trainer.strategy=one"],
        "parts": ["trainer.strategy=one", "trainer.accumulate=2"],
        "parts-on-two": ["trainer.strategy=mirrored", "trainer.accumulate=2"],
    }
    # Two images or more in every part: TensorFlow's gradient for a single one differs by 1e-6 of itself on its own.
    train_each(folder, tmp_path, ways, "ps.learning_rate=0.0003", "ps.epochs=5", "ps.batch_size=8")
    assert largest_difference(tmp_path / "whole", tmp_path / "parts") <= 1e-6
    assert largest_difference(tmp_path / "whole", tmp_path / "parts-on-two") <= 1e-6


@pytest.mark.trials
def test_the_largest_part_that_fits_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["transform.image_height_px=512", "transform.image_width_px=512", "model.width=16", "ps.batch_size=4"]
    chosen = tiny_training.settings(*sizes, "trainer.strategy=one")

    def used_gib(parts: int) -> float:
        command = [sys.executable, "-m", "pipe_seg.components.trainer.batch_size_finder", "ps", str(parts), str(2**40)]
        done = subprocess.run(command, input=chosen.to_yaml(), text=True, capture_output=True, cwd=ROOT, check=True)
        return float(done.stdout)

    whole, single = used_gib(1), used_gib(4)
    assert whole > single * 1.1
    between = tiny_training.settings(*sizes, "trainer.strategy=one", f"trainer.memory_gib={(whole + single) / 2}")
    assert batch_size_finder.parts(between, "ps", print) in (2, 4)
    assert "4 images at a time do not fit" in capsys.readouterr().out
    with pytest.raises(MachineError, match="not even one image at a time fits"):
        batch_size_finder.parts(tiny_training.settings(*sizes, "trainer.memory_gib=0.2"), "ps", print)


class Pair:
    """Two workers on loopback, started by the same command."""

    def __init__(self, folder: Path, place: Path, *flags: str) -> None:
        ports = free_ports(2)
        hosts = [f"127.0.0.1:{port}" for port in ports]
        self.logs = [place / f"worker-{index}.log" for index in range(2)]
        self.processes = []
        command = [sys.executable, str(ROOT / "cli.py"), "train", "--dataset", "ps", "--manual-dir", str(folder)]
        command += ["--runs", str(place / "runs"), "--strategy", "multiworker", "--resume", "auto", *TINY_FLAGS, *flags]
        for index, log in enumerate(self.logs):
            told = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
            environment = {**os.environ, "TFDS_DATA_DIR": str(place / "tfds"), "TF_CONFIG": json.dumps(told)}
            with log.open("w") as file:
                process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
            self.processes.append(process)

    def wait(self, timeout_s: float = 180) -> list[int]:
        return [process.wait(timeout=timeout_s) for process in self.processes]

    @property
    def told(self) -> str:
        return "\n".join(log.read_text() for log in self.logs)


def kill_and_go_on(folder: Path, place: Path, moments: list[float]) -> None:
    """Leave one pair alone; kill a worker of another at every moment, and start the same command again."""
    flags = ["-s", "ps.epochs=30", "-s", "trainer.early_stopping_epochs=30", "-s", "trainer.checkpoint_every_s=0"]
    flags += ["-s", "trainer.steps_per_call=1"]
    for name in ("alone", "killed"):
        (place / name).mkdir()
    pair = Pair(folder, place / "alone", *flags)
    assert pair.wait() == [0, 0], pair.told
    for number, moment in enumerate(moments):
        pair = Pair(folder, place / "killed", *flags)
        deadline = time.monotonic() + 120
        while not list((place / "killed/runs").glob("*/checkpoints/epoch-*")) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(moment)
        pair.processes[number % 2].send_signal(signal.SIGKILL)
        killed = time.monotonic()
        assert pair.processes[number % 2].wait() == -signal.SIGKILL, pair.told
        code = pair.processes[1 - number % 2].wait(timeout=60)
        noticed = time.monotonic() - killed
        print(json.dumps({"moment": moment, "worker": number % 2, "noticed_s": round(noticed, 2), "code": code}))
        assert code == 4, pair.told
        assert noticed <= 15
        assert "lost another of the 2 workers" in pair.told
    pair = Pair(folder, place / "killed", *flags)
    assert pair.wait() == [0, 0], pair.told
    (alone,), (killed_run,) = ((place / name / "runs").iterdir() for name in ("alone", "killed"))
    assert tiny_training.outcome(alone) == tiny_training.outcome(killed_run)
    assert tiny_training.outcome(alone)["replicas"] == 2
    assert len(json.loads((killed_run / "run.json").read_text())["resumed"]) == len(moments)


@pytest.mark.trials
def test_a_lost_worker_is_noticed_and_the_same_command_goes_on(folder: Path, tmp_path: Path) -> None:
    kill_and_go_on(folder, tmp_path, [1.0, 12.0])


@pytest.mark.faults
def test_workers_lost_at_ten_moments(folder: Path, tmp_path: Path) -> None:
    kill_and_go_on(folder, tmp_path, [0.0, 2.0, 4.0, 6.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0])
