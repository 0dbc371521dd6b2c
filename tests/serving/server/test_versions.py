"""Versions come, go and break while the server runs."""

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
def place(tmp_path: Path, dark: Path) -> StoreLocation:
    found = store.at(str(tmp_path / "store"))
    bright.publish(found, dark)
    return found


@pytest.fixture
def live(place: StoreLocation) -> Iterator[Server]:
    with serving(place.name, "--engine", "tf") as running:
        yield running


def until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def answers(server: Server) -> str:
    """Tell which model answers: the dark one claims the grey half."""
    return "dark" if predict(server, GREY)["defect_area_fraction"] > 0 else "light"


def test_a_promotion_and_a_rollback_are_taken_over_while_it_runs(
    live: Server, place: StoreLocation, light: Path
) -> None:
    assert answers(live) == "dark"
    bright.publish(place, light)
    until(lambda: answers(live) == "light")
    version_labels.rollback(place)
    until(lambda: answers(live) == "dark")


def test_a_damaged_version_is_named_and_never_served_and_a_mended_one_is(
    live: Server, place: StoreLocation, light: Path
) -> None:
    number = bright.publish(place, light, promote=False)
    live.wait_for(f"version {number} answers")
    number = bright.publish(place, light, promote=False)
    graph = Path(place.name) / "pipe_seg" / str(number) / "saved_model.pb"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1] + b"x")
    text = (Path(place.name) / "models.config").read_text()
    (Path(place.name) / "models.config").write_text(text.replace("value: 1", f"value: {number}"))
    live.wait_for(f"version {number} is not served")
    status = httpx.get(f"{live.url}/v1/models/pipe_seg/versions/{number}").json()["model_version_status"][0]
    assert status["state"] == "END"
    assert status["status"]["error_message"] == "saved_model.pb: changed"  # and no path of this machine
    assert answers(live) == "dark"  # the label goes on meaning what it meant
    graph.write_bytes(whole)
    until(lambda: answers(live) == "light")


def test_a_whole_version_that_does_not_answer_is_not_served(live: Server, place: StoreLocation, tmp_path: Path) -> None:
    sick = bright.save(tmp_path / "sick", 60, lambda logits: logits / tf.zeros_like(logits) * 0)
    number = bright.publish(place, sick)
    assert "is not finite" in live.wait_for(f"version {number} is not served")
    assert answers(live) == "dark"


def test_a_version_that_fails_for_one_frame_is_not_served(live: Server, place: StoreLocation, tmp_path: Path) -> None:

    def picky(logits: object) -> object:
        return logits / tf.cast(tf.shape(logits)[0] - 1, tf.float32)  # of one frame alone: not finite

    number = bright.publish(place, bright.save(tmp_path / "picky", 60, picky))
    live.wait_for(f"version {number} is not served")
    assert answers(live) == "dark"


def test_a_candidate_does_not_answer_for_a_stable_version_that_cannot(place: StoreLocation, light: Path) -> None:
    bright.publish(place, light, promote=False)
    (Path(place.name) / "pipe_seg" / "1" / "more").touch()
    with serving(place.name, "--engine", "tf") as server:
        assert httpx.post(f"{server.url}/frames", content=GREY).status_code == 503
        assert httpx.post(f"{server.url}/frames?label=candidate", content=GREY).status_code == 200


def test_a_store_that_goes_away_takes_nothing_with_it(live: Server, place: StoreLocation) -> None:
    shutil.move(place.name, f"{place.name}.away")
    time.sleep(1)
    assert answers(live) == "dark"
    shutil.move(f"{place.name}.away", place.name)
    assert answers(live) == "dark"


def test_an_empty_store_is_waited_for(tmp_path: Path, dark: Path) -> None:
    place = store.at(str(tmp_path / "store"))
    with serving(place.name, "--engine", "tf") as server:
        assert httpx.get(f"{server.url}/readyz").status_code == 503
        answer = httpx.post(f"{server.url}/frames", content=GREY)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        bright.publish(place, dark)
        until(lambda: httpx.get(f"{server.url}/readyz").status_code == 200)
        assert answers(server) == "dark"


def test_what_was_asked_is_answered_before_it_ends(live: Server) -> None:
    image = np.full((1, 700, 700, 3), 100, int).tolist()
    codes: list[int] = []

    def ask() -> None:
        codes.append(
            httpx.post(f"{live.url}/v1/models/pipe_seg:predict", json={"instances": image}, timeout=60).status_code
        )

    threads = [threading.Thread(target=ask) for _ in range(4)]
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


def test_a_port_that_is_taken(place: StoreLocation, live: Server) -> None:
    import subprocess
    import sys

    from tests.conftest import ROOT

    command = [sys.executable, str(ROOT / "cli.py"), "serve", place.name, "--port", str(live.port)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 4
    assert f"cannot be listened on (got {live.port})" in done.stderr
