"""Uploads killed at any moment: what is visible is whole, and the same upload again succeeds."""

import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipe_seg.serving import store
from tests.conftest import ROOT
from tests.serving import servers
from tests.serving.server import bright

TRACED = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not here")


def trials(
    mode: str, number: int, place: object, scratch: Path, environment: dict[str, str] | None = None
) -> list[Any]:
    command = [sys.executable, "-m", "tests.faults.upload_driver", mode, str(number), "7", str(place), str(scratch)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **(environment or {})}, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    print(f"{mode}: {len(outcomes)} trials, {sum(outcome['code'] == -9 for outcome in outcomes)} killed")
    return outcomes


def check(outcomes: list[Any]) -> None:
    assert outcomes
    assert [outcome for outcome in outcomes if outcome["broken"] or not outcome["rerun"]] == []
    assert sum(outcome["code"] == -9 for outcome in outcomes) > len(outcomes) / 2


@TRACED
@pytest.mark.faults
def test_a_kill_at_every_call_that_changes_a_folder(tmp_path: Path) -> None:
    outcomes = trials("points", 0, tmp_path / "stores", tmp_path)
    assert len(outcomes) >= 40
    check(outcomes)


@pytest.mark.faults
def test_sixty_kills_at_random_moments(tmp_path: Path) -> None:
    check(trials("random", 60, tmp_path / "store", tmp_path))


@pytest.mark.faults
def test_a_kill_before_and_after_every_request_to_s3(tmp_path: Path, s3_environment: dict[str, str]) -> None:
    outcomes = trials("calls", 0, f"s3://{servers.BUCKET}/calls", tmp_path, s3_environment)
    assert len(outcomes) == outcomes[0]["of"] + 1 >= 40
    check(outcomes)


@pytest.mark.faults
def test_sixty_kills_at_random_moments_in_s3(tmp_path: Path, s3_environment: dict[str, str]) -> None:
    check(trials("random", 60, f"s3://{servers.BUCKET}/random", tmp_path, s3_environment))


UPLOAD = """
import sys
from pathlib import Path
from tests.faults.upload_driver import upload
print(*[upload(sys.argv[1], Path(sys.argv[2])) for _ in range(int(sys.argv[3]))])
"""


@pytest.mark.faults
def test_eight_processes_upload_fifty_times_each(tmp_path: Path) -> None:
    saved_model, uri = bright.save(tmp_path / "saved_model", 60), str(tmp_path / "store")

    def process(_: int) -> list[int]:
        command = [sys.executable, "-c", UPLOAD, uri, str(saved_model), "50"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
        return [int(word) for word in done.stdout.split()]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        numbers = [number for found in pool.map(process, range(8)) for number in found]
    place = store.at(uri)
    assert sorted(numbers) == place.versions() == list(range(1, 401))
    for number in numbers:
        store.verify(place, number)
