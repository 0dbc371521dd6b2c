"""Versions appear, disappear and break while the server runs."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tensorflow as tf

from pipe_seg.serving import store
from pipe_seg.serving.store import version_labels
from pipe_seg.serving.store.location import StoreLocation
from tests.serving.server import bright
from tests.serving.server.process import Server, predict, serving

WAIT_S = 60
GREY = bright.frame(100)


@pytest.fixture
def location(tmp_path: Path, dark: Path) -> StoreLocation:
    found = store.at(str(tmp_path / "store"))
    bright.publish(found, dark)
    return found


@pytest.fixture
def live(location: StoreLocation) -> Iterator[Server]:
    with serving(location.name, "--engine", "tf") as running:
        yield running


def until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def answers(server: Server) -> str:
    """Returns which model predicts: the dark one predicts the grey half as positive."""
    return "dark" if predict(server, GREY)["defect_area_fraction"] > 0 else "light"


def test_a_promotion_and_a_rollback_take_effect_while_it_runs(
    live: Server, location: StoreLocation, light: Path
) -> None:
    assert answers(live) == "dark"
    bright.publish(location, light)
    until(lambda: answers(live) == "light")
    version_labels.rollback(location)
    until(lambda: answers(live) == "dark")


def test_a_damaged_version_is_named_and_served_only_after_repair(
    live: Server, location: StoreLocation, light: Path
) -> None:
    number = bright.publish(location, light, promote=False)
    live.wait_for(f"version {number} is available")
    number = bright.publish(location, light, promote=False)
    graph = Path(location.name) / "pipe_seg" / str(number) / "saved_model.pb"
    intact = graph.read_bytes()
    graph.write_bytes(intact[:-1] + b"x")
    text = (Path(location.name) / "models.config").read_text()
    (Path(location.name) / "models.config").write_text(text.replace("value: 1", f"value: {number}"))
    live.wait_for(f"version {number} is not served")
    status = httpx.get(f"{live.url}/v1/models/pipe_seg/versions/{number}").json()["model_version_status"][0]
    assert status["state"] == "END"
    assert status["status"]["error_message"] == "saved_model.pb: changed"  # and no path of this machine
    assert answers(live) == "dark"  # the label keeps its version
    graph.write_bytes(intact)
    until(lambda: answers(live) == "light")


def test_a_version_with_nan_outputs_is_not_served(live: Server, location: StoreLocation, tmp_path: Path) -> None:
    broken = bright.save(tmp_path / "broken", 60, lambda logits: logits / tf.zeros_like(logits) * 0)
    number = bright.publish(location, broken)
    assert "is not finite" in live.wait_for(f"version {number} is not served")
    assert answers(live) == "dark"


def test_a_version_that_fails_for_one_frame_is_refused(live: Server, location: StoreLocation, tmp_path: Path) -> None:

    def picky(logits: object) -> object:
        return logits / tf.cast(tf.shape(logits)[0] - 1, tf.float32)  # not finite for a single frame

    number = bright.publish(location, bright.save(tmp_path / "picky", 60, picky))
    live.wait_for(f"version {number} is not served")
    assert answers(live) == "dark"


def test_a_candidate_does_not_replace_a_stable_version_that_cannot_load(location: StoreLocation, light: Path) -> None:
    bright.publish(location, light, promote=False)
    (Path(location.name) / "pipe_seg" / "1" / "more").touch()
    with serving(location.name, "--engine", "tf") as server:
        assert httpx.post(f"{server.url}/frames", content=GREY).status_code == 503
        assert httpx.post(f"{server.url}/frames?label=candidate", content=GREY).status_code == 200


def test_loaded_versions_stay_when_the_store_disappears(live: Server, location: StoreLocation) -> None:
    shutil.move(location.name, f"{location.name}.away")
    time.sleep(1)
    assert answers(live) == "dark"
    shutil.move(f"{location.name}.away", location.name)
    assert answers(live) == "dark"


def test_an_empty_store_fills_later(tmp_path: Path, dark: Path) -> None:
    location = store.at(str(tmp_path / "store"))
    with serving(location.name, "--engine", "tf") as server:
        assert httpx.get(f"{server.url}/readyz").status_code == 503
        answer = httpx.post(f"{server.url}/frames", content=GREY)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        bright.publish(location, dark)
        until(lambda: httpx.get(f"{server.url}/readyz").status_code == 200)
        assert answers(server) == "dark"


def test_open_requests_are_answered_before_shutdown(live: Server) -> None:
    image = np.full((1, 700, 700, 3), 100, int).tolist()
    codes: list[int] = []

    def send() -> None:
        codes.append(
            httpx.post(f"{live.url}/v1/models/pipe_seg:predict", json={"instances": image}, timeout=60).status_code
        )

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    metrics = f"{live.url}/metrics"
    until(lambda: "pipe_seg_queue_requests 0" not in httpx.get(metrics, timeout=WAIT_S).text or len(codes) > 0)
    live.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert set(codes) <= {200, 503}
    assert 200 in codes
    assert live.process.wait(20) == 0


def test_a_port_in_use(location: StoreLocation, live: Server) -> None:
    import subprocess
    import sys

    from tests.conftest import ROOT

    command = [sys.executable, str(ROOT / "cli.py"), "serve", location.name, "--port", str(live.port)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 4
    assert f"cannot listen on this port (got {live.port})" in done.stderr
