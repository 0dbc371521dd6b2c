"""Whatever is wrong with an input is said, with its place, and nothing is written."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bad_inputs.__main__ import cases
from tests.conftest import ROOT

NAMES = [case.name for case in cases()]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Every case through the command line, each in a process of its own."""
    folder: Path = tmp_path_factory.mktemp("bad_inputs")
    command = [sys.executable, "-m", "tests.bad_inputs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {found["name"]: found for found in map(json.loads, done.stdout.splitlines())}


def test_there_are_enough_cases_each_with_a_name_of_its_own() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 450
    assert {name.split()[0] for name in NAMES} == set("ABCDEF")


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_input_is_answered(outcomes: dict[str, dict[str, Any]], name: str) -> None:
    found = outcomes[name]
    assert found["code"] == found["expected"], found["told"]
    assert found["says"] in found["told"]
    assert "Traceback" not in found["told"]
    assert found["source_kept"]
    assert found["wrote"] == (found["imports"] and found["expected"] == 0)
    if found["expected"]:
        assert "error: " in found["told"]
    assert found["cpu_seconds"] <= 2.0
    assert found["mb"] <= 500
