"""Uploads killed at random moments: a version is complete or absent."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipe_seg.serving import store
from tests.conftest import ROOT

KILLS = 12


@pytest.mark.faults
def test_a_killed_upload_leaves_complete_versions_only(runs: Path, tmp_path: Path) -> None:
    run = sorted(runs.iterdir())[1]
    target = tmp_path / "store"
    command = [
        sys.executable,
        str(ROOT / "cli.py"),
        "upload",
        str(run),
        "--to",
        str(target),
        "--yes",
        "--unblessed",
        "--json",
    ]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    duration_s = time.monotonic() - started
    assert json.loads(done.stdout)["version"].endswith("/1")
    dice = random.Random(7)
    for _ in range(KILLS):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT, env=os.environ
        )
        time.sleep(dice.uniform(0.2, 1.05) * duration_s)
        process.kill()
        process.wait()
        for version in store.at(str(target)).versions():
            store.check(target / "pipe_seg" / str(version))
    before = len(store.at(str(target)).versions())
    subprocess.run(command, capture_output=True, cwd=ROOT, check=True)
    assert len(store.at(str(target)).versions()) == before + 1
