"""The job for several machines: what the operator's schema takes, and a script that really starts workers."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubeflow.training import models as training
from kubernetes.client import models as core

from tests import tiny_training
from tests.conftest import ROOT, TINY_FLAGS
from tests.faults.processes import free_ports

RENDER = [sys.executable, str(ROOT / "deploy/render.py")]
TFJOB = [*RENDER, "tfjob", "--name", "pipes", "--image", "registry/pipe-seg:1", "--workers", "4", "--claim", "shared"]
ARGUMENTS = ["--", "--preset", "cctv", "-s", "pbs.criterion={name: tversky, fp_weight: 0.3}"]


def rendered(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def faults(value: Any, kind: str, place: str = "") -> list[str]:
    """Give what in ``value`` the API's type ``kind`` does not know or has otherwise."""
    if found := re.fullmatch(r"list\[(.*)\]", kind):
        return [f for n, inner in enumerate(value) for f in faults(inner, found[1], f"{place}[{n}]")]
    if found := re.fullmatch(r"dict\((?:str|string), (.*)\)", kind):
        return [f for key, inner in value.items() for f in faults(inner, found[1], f"{place}.{key}")]
    plain = {"str": str, "int": int, "bool": bool, "object": object}
    if kind in plain:
        return [] if isinstance(value, plain[kind]) else [f"{place}: {value!r} is no {kind}"]
    model = getattr(training, kind, None) or getattr(core, kind)
    names = {told: name for name, told in model.attribute_map.items()}
    unknown = [f"{place}.{key} is unknown" for key in value if key not in names]
    known = [(key, inner) for key, inner in value.items() if key in names]
    return unknown + [
        f for key, inner in known for f in faults(inner, model.openapi_types[names[key]], f"{place}.{key}")
    ]


def test_the_manifest_is_what_the_operators_schema_takes() -> None:
    job = yaml.safe_load(rendered(*TFJOB, "--gpus", "2", *ARGUMENTS))
    assert faults(job, "KubeflowOrgV1TFJob") == []
    worker = job["spec"]["tfReplicaSpecs"]["Worker"]
    assert (worker["replicas"], worker["restartPolicy"]) == (4, "ExitCode")
    (container,) = worker["template"]["spec"]["containers"]
    assert container["name"] == "tensorflow"  # the operator looks for this name
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    assert "--strategy multiworker --resume auto --preset cctv -s 'pbs.criterion={name: tversky" in container["args"][0]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("restartPolicy", "restartPolcy", ".spec.tfReplicaSpecs.Worker.restartPolcy is unknown"),
        ("replicas: 4", "replicas: four", ".spec.tfReplicaSpecs.Worker.replicas: 'four' is no int"),
        ("claimName", "claim", "volumes[0].persistentVolumeClaim.claim is unknown"),
    ],
)
def test_the_schema_finds_what_is_wrong(old: str, new: str, fault: str) -> None:
    job = yaml.safe_load(rendered(*TFJOB).replace(old, new))
    (found,) = faults(job, "KubeflowOrgV1TFJob")
    assert found.endswith(fault)


@pytest.mark.parametrize(("code", "told"), [(0, 0), (2, 2), (4, 138), (7, 7), (143, 143)])
def test_a_lost_worker_is_a_code_that_the_operator_tries_again(tmp_path: Path, code: int, told: int) -> None:
    script = yaml.safe_load(rendered(*TFJOB))["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]
    (tmp_path / "python").write_text(f"#!/bin/sh\nexit {code}\n")
    (tmp_path / "python").chmod(0o755)
    command = [*script["command"], *script["args"]]
    done = subprocess.run(command, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, check=False)
    assert done.returncode == told


SAVES = f"""#!{sys.executable}
import os, signal, sys, time

def save(number, frame):
    time.sleep(0.5)
    os.write(1, b"saved\\n")  # not print: the signal may come while "up" is still being printed
    sys.exit(143)

signal.signal(signal.SIGTERM, save)
print("up", flush=True)
while True:
    time.sleep(1)
"""


def test_the_container_hands_sigterm_on_and_waits(tmp_path: Path) -> None:
    script = yaml.safe_load(rendered(*TFJOB))["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]
    (tmp_path / "python").write_text(SAVES)
    (tmp_path / "python").chmod(0o755)
    command, path = [*script["command"], *script["args"]], f"{tmp_path}:{os.environ['PATH']}"
    with subprocess.Popen(command, env={"PATH": path}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "saved\n"
    assert process.returncode == 143


@pytest.mark.parametrize("wrong", [["--name", "Pipes"], ["--workers", "1"], ["--claim", "a b"]])
def test_a_wrong_value_is_refused(wrong: list[str]) -> None:
    assert subprocess.run([*TFJOB, *wrong], capture_output=True, check=False).returncode == 2


@pytest.mark.trials
def test_the_script_starts_two_workers_and_again_after_a_kill(folder: Path, tmp_path: Path) -> None:
    hosts = [part for port in free_ports(2) for part in ("--host", f"127.0.0.1:{port}")]
    places = ["--dataset", "ps", "--runs", str(tmp_path / "runs"), "--data-dir", str(tmp_path / "tfds")]
    flags = ["--manual-dir", str(folder), *TINY_FLAGS, "-s", "ps.epochs=30", "-s", "trainer.checkpoint_every_s=0"]
    script = tmp_path / "launch.sh"
    script.write_text(
        rendered(*RENDER, "launch", *hosts, *places, "--", *flags, "-s", "trainer.early_stopping_epochs=30")
    )
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    logs = [(tmp_path / f"{index}.log").open("w+") for index in range(2)]
    machines = [
        subprocess.Popen(["bash", str(script), str(index)], cwd=ROOT, env=environment, stdout=log, stderr=log)
        for index, log in enumerate(logs)
    ]
    deadline = time.monotonic() + 120
    while not list((tmp_path / "runs").glob("*/checkpoints/epoch-*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    (child,) = Path(f"/proc/{machines[1].pid}/task/{machines[1].pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    codes = [machine.wait(timeout=240) for machine in machines]
    told = [(tmp_path / f"{index}.log").read_text() for index in range(2)]
    assert codes == [0, 0], told
    assert "launch.sh: worker 1 ended with 137; again (1 of 10)" in told[1]
    assert "launch.sh: worker 0 ended with 4; again (1 of 10)" in told[0]
    (run,) = (tmp_path / "runs").iterdir()
    assert len(tiny_training.outcome(run)["history"]) == 30
    assert len(json.loads((run / "run.json").read_text())["resumed"]) == 1
    for log in logs:
        log.close()
