"""A killed build leaves the old dataset as it was, the new one whole or absent, and no junk after the next."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.trials


def trials(*arguments: object) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.faults.build_driver", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(outcome: dict[str, Any]) -> None:
    assert outcome["killed"] or outcome["code"] == 0, outcome
    assert outcome["left"] in ("old", "new"), outcome
    assert (outcome["rerun"], outcome["after"]) == (0, "new"), outcome
    assert outcome["junk"] == [], outcome


def test_twenty_kills_at_random_moments(tmp_path: Path) -> None:
    outcomes = trials("random", 20, 7, tmp_path)
    assert len(outcomes) == 20
    assert sum(outcome["killed"] for outcome in outcomes) >= 10
    for outcome in outcomes:
        check(outcome)


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not here")
def test_a_kill_at_every_rename_mkdir_and_unlink(tmp_path: Path) -> None:
    outcomes = trials("points", tmp_path)
    assert len(outcomes) >= 15
    assert all(outcome["killed"] for outcome in outcomes)
    assert {outcome["left"] for outcome in outcomes} == {"old", "new"}
    for outcome in outcomes:
        check(outcome)
