"""Many clients of one server, each in a thread, in a process of their own: ``python -m tests.faults.clients …``.

They ask until the time is over, and print what every request ended with.
"""

import base64
import collections
import http.client
import json
import sys
import threading
import time


class Client(threading.Thread):
    """Asks over one connection, again and again; one that is refused comes back after ``pause_s``."""

    def __init__(self, port: int, body: bytes, until: float, pause_s: float) -> None:
        super().__init__(daemon=True)
        self._port, self._body, self._until, self._pause_s = port, body, until, pause_s
        self.ends: collections.Counter[str] = collections.Counter()
        self.seconds: list[float] = []
        self.refusal_seconds: list[float] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while time.monotonic() < self._until:
            started = time.monotonic()
            try:
                connection.request("POST", "/v1/models/pipe_seg:predict", self._body)
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.ends[type(error).__name__] += 1
                connection.close()
                continue
            spent = time.monotonic() - started
            self.ends[self._end(answer, text)] += 1
            (self.seconds if answer.status == 200 else self.refusal_seconds).append(spent)
            if answer.status != 200:
                self.ends["without Retry-After"] += answer.headers["retry-after"] is None
                time.sleep(self._pause_s)

    @staticmethod
    def _end(answer: http.client.HTTPResponse, text: bytes) -> str:
        if answer.status != 200:
            return str(answer.status)
        area = json.loads(text)["predictions"][0]["defect_area_fraction"]
        return f"200 version {answer.headers['x-model-version']} {'dark' if area > 0 else 'light'}"


def quantile(values: list[float], share: float) -> float:
    """Give the value below which ``share`` of all lie; 0 of none."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def main(port: str, number: str, seconds: str, pause_s: str, frame: str) -> None:
    """Ask with so many clients for so long; print one JSON object."""
    with open(frame, "rb") as file:
        encoded = base64.b64encode(file.read()).decode()
    body = json.dumps({"signature_name": "predict_bytes", "instances": [{"b64": encoded}]}).encode()
    until = time.monotonic() + float(seconds)
    clients = [Client(int(port), body, until, float(pause_s)) for _ in range(int(number))]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    ends = sum((client.ends for client in clients), collections.Counter())
    times = [spent for client in clients for spent in client.seconds]
    refusals = [spent for client in clients for spent in client.refusal_seconds]
    p50, p99 = (quantile(times, share) for share in (0.5, 0.99))
    print(json.dumps({"ends": ends, "p50": p50, "p99": p99, "refusal_p99": quantile(refusals, 0.99)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
