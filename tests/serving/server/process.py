"""Runs `python cli.py serve` in a process."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import ROOT
from tests.faults.processes import free_ports

WAIT_S = 120


@dataclass
class Server:
    """A server that listens on `port` and `grpc_port`; `told` holds the lines of its log."""

    process: "subprocess.Popen[str]"
    port: int
    grpc_port: int
    told: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def memory_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024

    def wait_for(self, word: str, seconds: float = WAIT_S) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in self.told:
                if word in line:
                    return line
            assert self.process.poll() is None or word in "".join(self.told), "\n".join(self.told)
            time.sleep(0.05)
        raise AssertionError(f"{word!r} not in\n" + "\n".join(self.told))

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def serving(store: object, *options: object, environment: dict[str, str] | None = None) -> Iterator[Server]:
    port, grpc_port = free_ports(2)
    command = [sys.executable, str(ROOT / "cli.py"), "serve", str(store), "--port", str(port), "--poll-s", "0.3"]
    command += ["--grpc-port", str(grpc_port), *map(str, options)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env={**os.environ, **(environment or {})}
    )
    server = Server(process, port, grpc_port)
    listening = threading.Thread(target=_listen, args=(process.stderr, server.told))
    listening.start()
    try:
        server.wait_for("http://")
        yield server
    finally:
        process.kill()
        process.wait()
        listening.join()


def _listen(stream: Any, lines: list[str]) -> None:
    with stream:
        for line in stream:
            lines.append(line.rstrip())


def predict(server: Server, frame: bytes, path: str = "", timeout_s: float = 60) -> dict[str, Any]:
    """Returns the outputs of `predict_bytes` for one frame, as for a TF Serving client."""
    import base64

    body = {"signature_name": "predict_bytes", "instances": [{"b64": base64.b64encode(frame).decode()}]}
    answer = httpx.post(f"{server.url}/v1/models/pipe_seg{path}:predict", json=body, timeout=timeout_s)
    answer.raise_for_status()
    return dict(answer.json()["predictions"][0])
