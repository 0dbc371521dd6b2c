"""A server under all that may happen to it; `make faults` has the long ones, with `-s` for the figures."""

import gzip
import json
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipe_seg.serving import store
from pipe_seg.serving.store import version_labels
from tests.conftest import ROOT
from tests.faults import swaps
from tests.faults.clients import quantile
from tests.serving.server import bright, raw
from tests.serving.server.process import Server, predict, serving
from tests.serving.server.test_http import CASES

GREY = bright.frame(100)
pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """SavedModels: dark for odd numbers, light for even ones."""
    folder = tmp_path_factory.mktemp("models")
    return [bright.save(folder / "light", 180), bright.save(folder / "dark", 60)]


def ask(server: Server, number: int, seconds: float, frame: Path, pause_s: float = 0.0) -> "subprocess.Popen[str]":
    """Start so many clients for so long."""
    command = [sys.executable, "-m", "tests.faults.clients", server.port, number, seconds, pause_s, frame]
    return subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True, cwd=ROOT)


def told(clients: "subprocess.Popen[str]") -> dict[str, Any]:
    return dict(json.loads(clients.communicate()[0]))


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    path = tmp_path / "frame.jpg"
    path.write_bytes(bright.frame(100, 576, 720, ".jpg"))
    return path


def test_fifty_swaps_half_of_them_broken_under_eight_clients(tmp_path: Path, models: list[Path]) -> None:
    folder = tmp_path / "store"
    place = store.at(str(folder))
    bright.publish(place, models[1])
    small = tmp_path / "frame.png"
    small.write_bytes(GREY)
    good = {1}
    with serving(folder, "--engine", "tf") as server:
        clients = [ask(server, 4, 200, small) for _ in range(2)]
        for index in range(50):
            number = max(place.versions()) + 1
            assert number == store.publish(place, models[number % 2], _manifest(), lambda staged: None)
            if index % 2:
                swaps.BREAKAGES[index // 2 % len(swaps.BREAKAGES)](folder / "pipe_seg" / str(number))
                swaps.point(folder, number)
                server.wait_for(f"version {number} is not served")
            else:
                version_labels.promote(place, number)
                good.add(number)
                server.wait_for(f"version {number} is available")
                _wait_until_asked(server, number)
        for process in clients:
            process.terminate() if False else None
        ends = Counter[str]()
        for process in clients:
            ends.update(told(process)["ends"])
    ends.pop("without Retry-After", None)
    print(f"{sum(ends.values())} requests, {len(ends)} ends, {len(good)} good versions")
    assert sum(ends.values()) >= 10_000
    for end in ends:
        version = re.fullmatch(r"200 version (\d+) (dark|light)", end)
        assert version, end
        assert int(version[1]) in good, end
        assert version[2] == ("dark" if int(version[1]) % 2 else "light"), end


def _manifest() -> dict[str, Any]:
    return {"blessed": True, "model": bright.FACTS, "scores": {"iou": 0.5}}


def _wait_until_asked(server: Server, number: int) -> None:
    wanted = "dark" if number % 2 else "light"
    deadline = time.monotonic() + 60
    while ("dark" if predict(server, GREY)["defect_area_fraction"] > 0 else "light") != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.05)


TOKENS = (
    b"\r\n",
    b"\r\n\r\n",
    b"\x00",
    b"\xff\xfe",
    b"%00",
    b"../",
    b";",
    b"NaN",
    b"1e999",
    b'"b64"',
    b"{" * 50,
    b"A" * 5000,
    b"HTTP/9.9",
    b"Host: evil\r\n",
    b"Expect: 100-continue\r\n",
    b"Range: bytes=0-\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Content-Length: 99999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
)


def mutated(data: bytes, dice: random.Random) -> bytes:
    """Give ``data`` with one to four changes."""
    found = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(found) + 1)
        kind = dice.randrange(5)
        if kind == 0 and found:
            found[min(at, len(found) - 1)] ^= 1 << dice.randrange(8)
        elif kind == 1:
            del found[at : at + dice.randint(1, 30)]
        elif kind == 2:
            found[at:at] = dice.choice(TOKENS)
        elif kind == 3:
            found[at:at] = found[at : at + dice.randint(1, 200)]
        else:
            del found[at:]
    return bytes(found)


def test_twenty_thousand_mutated_requests(tmp_path: Path, models: list[Path]) -> None:
    place = store.at(str(tmp_path / "store"))
    bright.publish(place, models[1])
    body = json.dumps({"signature_name": "predict_bytes", "instances": [{"b64": _b64(GREY)}]}).encode()
    seeds = [
        raw.post(body),
        raw.post(gzip.compress(body), b"Content-Encoding: gzip"),
        raw.post(b'{"instances": [[[[1, 2, 3]]]]}'),
    ]
    seeds += [sent for sent, _ in CASES.values() if len(sent) < 3000] + [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"]
    statuses: Counter[int] = Counter()
    with serving(place.name, "--engine", "tf", "--body-mib", 1) as server:

        def client(seed: int) -> None:
            dice = random.Random(seed)
            for _ in range(5000):
                sent = mutated(dice.choice(seeds), dice)
                statuses[raw.status(raw.send(server.port, sent, wait_s=15, half_close=True))] += 1

        threads = [threading.Thread(target=client, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(dict(statuses))
        assert sum(statuses.values()) == 20_000
        assert predict(server, GREY)["defect_area_fraction"] > 0
        assert server.process.poll() is None
        assert [line for line in server.told if "Traceback" in line or "rror" in line] == []
    assert set(statuses) <= {0, 200, 400, 401, 403, 404, 405, 408, 413, 415, 431, 501}


def _b64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


def test_oversize_requests_take_no_memory(tmp_path: Path, models: list[Path]) -> None:
    place = store.at(str(tmp_path / "store"))
    bright.publish(place, models[1])
    mib = 1 << 20
    kinds = [
        raw.post(b"x" * 2 * mib),
        raw.post(b"", length=50 * mib),
        raw.post((b"10000\r\n" + b"x" * 65_536 + b"\r\n") * 20, b"Transfer-Encoding: chunked"),
        raw.post(gzip.compress(b" " * 20 * mib), b"Content-Encoding: gzip"),
    ]
    with serving(place.name, "--engine", "tf", "--body-mib", 1) as server:
        for sent in kinds * 25:
            assert raw.status(raw.send(server.port, sent)) == 413
        before = server.memory_mib
        for sent in kinds * 75:
            assert raw.status(raw.send(server.port, sent)) == 413
        grown = (server.memory_mib - before) / 3
    print(f"{grown:.2f} MiB per 100")
    assert grown < 1


def test_two_hundred_slow_clients_of_three_kinds(tmp_path: Path, models: list[Path]) -> None:
    place = store.at(str(tmp_path / "store"))
    bright.publish(place, models[1])
    with serving(place.name, "--engine", "tf") as server:
        baseline = _p99(server)
        slow = [_slow(server.port, kind) for kind in range(3) for _ in range(200)]
        stop = threading.Event()
        dripping = threading.Thread(target=_drip, args=(slow, stop))
        dripping.start()
        crowded = _p99(server)
        time.sleep(35)  # bodies may take 30 s
        stop.set()
        dripping.join()
        ended = [_ended(connection) for connection, _ in slow]
        print(f"p99 {baseline * 1000:.1f} ms alone, {crowded * 1000:.1f} ms beside 600; cut off {Counter(ended)}")
        assert ended[:200] == [408] * 200
        assert ended[200:400] == [408] * 200
        assert crowded <= 2 * baseline
        assert predict(server, GREY)["defect_area_fraction"] > 0


def _p99(server: Server) -> float:
    seconds = []
    for _ in range(300):
        started = time.monotonic()
        predict(server, GREY)
        seconds.append(time.monotonic() - started)
    return quantile(seconds, 0.99)


HEADER, BODY, IDLE = range(3)


def _slow(port: int, kind: int) -> tuple[socket.socket, int]:
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    if kind == HEADER:
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
    if kind == BODY:
        connection.sendall(raw.post(b"{", length=1000))
    if kind == IDLE:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert raw.status(raw.read(connection)) == 200
    return connection, kind


def _drip(slow: list[tuple[socket.socket, int]], stop: threading.Event) -> None:
    while not stop.wait(1):
        for connection, kind in slow:
            try:
                if kind != IDLE:
                    connection.sendall(b"x")
            except OSError:
                continue


def _ended(connection: socket.socket) -> int:
    connection.settimeout(0.2)
    found = raw.status(raw.read(connection))
    connection.close()
    return found


def test_sixty_four_clients_of_one_worker(tmp_path: Path, models: list[Path], frame: Path) -> None:
    place = store.at(str(tmp_path / "store"))
    bright.publish(place, models[1])
    with serving(place.name, "--engine", "tf", "--queue-requests", 8, "--timeout-s", 20) as server:
        told(ask(server, 8, 5, frame))
        most = _good(told(ask(server, 8, 20, frame))) / 20
        before = server.memory_mib
        found = told(ask(server, 64, 60, frame, pause_s=1.0))
        after = server.memory_mib
    ends = dict(found["ends"])
    assert ends.pop("without Retry-After", 0) == 0
    refused = f"refused within {found['refusal_p99'] * 1000:.0f} ms (p99)"
    print(f"{_good(found) / 60:.1f} of {most:.1f} answers/s, {ends}, {refused}")
    assert set(ends) <= {"200 version 1 dark", "429", "503", "504"}
    assert _good(found) / 60 >= 0.9 * most
    assert after < before * 1.05


def _good(found: dict[str, Any]) -> int:
    return sum(number for end, number in found["ends"].items() if end.startswith("200"))


def test_twenty_ends_with_sixteen_requests_in_flight(tmp_path: Path, models: list[Path], frame: Path) -> None:
    place = store.at(str(tmp_path / "store"))
    bright.publish(place, models[1])
    for _ in range(20):
        with serving(place.name, "--engine", "tf") as server:
            clients = ask(server, 16, 4, frame)
            time.sleep(2.5)
            assert server.stop() == 0
            ends = dict(told(clients)["ends"])
        ends.pop("without Retry-After", None)
        cut = sum(ends.pop(end, 0) for end in ("RemoteDisconnected", "ConnectionResetError", "BrokenPipeError"))
        assert cut <= 16  # a connection at rest that was closed as the next request came
        assert {end for end in ends if not end.startswith("200")} <= {"503", "ConnectionRefusedError"}


def test_a_rollback_takes_less_than_a_second(tmp_path: Path, models: list[Path]) -> None:
    place = store.at(str(tmp_path / "store"))
    for model in models:
        bright.publish(place, model)
    started = time.monotonic()
    version_labels.rollback(place)
    spent = time.monotonic() - started
    print(f"{spent:.3f} s")
    assert spent < 1
