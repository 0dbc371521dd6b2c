"""Uploads that are killed; one JSON line a trial: ``python -m tests.faults.upload_driver MODE NUMBER SEED PLACE``.

``points``: at each of so many calls of every kind that changes a folder (0: all); ``random``: after random times;
``calls``: before each request to S3, which is after the one before it, and after the last. What is visible then is
judged by our reader and by TensorFlow's C++ loader; then the same upload is run again and has to succeed.
"""

import importlib
import json
import os
import random
import re
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pipe_seg.serving import store
from pipe_seg.serving.store import version_labels
from pipe_seg.serving.store.location import StoreLocation
from tests.faults import processes
from tests.serving import cpp_loader
from tests.serving.server import bright

CHANGES = "rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,write,fsync,openat,sendfile,copy_file_range"
EVERY = {"write": 1, "openat": 8}


def upload(uri: str, saved_model: Path) -> int:
    """Publish and label, as the pusher does; the fresh process that it asks comes before anything is visible."""
    place = store.at(uri)
    number = store.publish(place, saved_model, {"blessed": True, "model": bright.FACTS}, lambda staged: None)
    version_labels.upload(place, number)
    return number


def judge(place: StoreLocation, known: Collection[int] = ()) -> dict[str, Any]:
    """Say what a reader sees: numbers, labels, and which versions, but ``known`` ones, are not whole."""
    seen = place.versions()
    broken = []
    for number in set(seen) - set(known):
        with place.fetched(str(number)) as folder:
            try:
                store.check(folder)
            except Exception as error:
                broken.append(f"{number}: {error}")
            if cpp_loader.load(folder) != cpp_loader.OK:
                broken.append(f"{number}: the C++ loader refuses it")
    return {"seen": seen, "broken": broken, "labels": version_labels.read(place)}


def forked(work: Callable[[], Any]) -> Any:
    """Give what ``work`` gives in a child: this process may hold no connection that its children would inherit."""
    reader, writer = os.pipe()

    def told() -> None:
        try:
            os.write(writer, json.dumps(work()).encode())
        except Exception:
            traceback.print_exc()
            raise

    code = processes.wait(processes.fork(told))
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        text = answer.read()
    assert code == 0, "a child that was to look failed"
    return json.loads(text)


def trial(uri: str, saved_model: Path, told: dict[str, Any], code: int, known: Collection[int] = ()) -> list[int]:
    """Judge after a kill, run again, judge again, print, and give what is there now."""

    def again() -> list[dict[str, Any]]:
        after = judge(store.at(uri), known)
        upload(uri, saved_model)
        return [after, judge(store.at(uri), after["seen"])]

    after, last = forked(again)
    fine = max(last["seen"]) == last["labels"]["candidate"] and not last["broken"]
    print(json.dumps({**told, "code": code, "broken": after["broken"], "rerun": fine}), flush=True)
    return list(last["seen"])


def points(folder: Path, saved_model: Path, number: int) -> None:
    """Kill at every system call that changes something, in a folder that has one version already."""
    for call, index in _calls(folder, saved_model, number):
        uri = str(folder / f"{call}-{index}")
        upload(uri, saved_model)
        child, release = processes.held(partial(_when_let, uri, saved_model))
        inject = f"inject={call}:signal=SIGKILL:when={index}"
        tracer = processes.attach(child, ["-e", f"trace={call}", "-e", inject])
        release()
        code = processes.wait(child)
        tracer.wait()
        trial(uri, saved_model, {"call": call, "index": index}, code)


def _when_let(uri: str, saved_model: Path, go: Any) -> int:
    """Fork a child that waits for ``go`` and uploads."""
    return processes.fork(lambda: (go(), upload(uri, saved_model)))


def _calls(folder: Path, saved_model: Path, number: int) -> Iterator[tuple[str, int]]:
    """Give each call, as a trace of one undisturbed upload counts them."""
    uri = str(folder / "traced")
    upload(uri, saved_model)
    log = folder / "strace.log"
    child, release = processes.held(partial(_when_let, uri, saved_model))
    tracer = processes.attach(child, ["-e", f"trace={CHANGES}", "-o", str(log)])
    release()
    processes.wait(child)
    tracer.wait()
    counted = Counter(re.findall(r"^\d+\s+(\w+)\(", log.read_text(), re.MULTILINE))
    found = [
        (call, index) for call, most in sorted(counted.items()) for index in range(1, most + 1, EVERY.get(call, 1))
    ]
    yield from found[:number] if number else found


def at_random(uri: str, saved_model: Path, number: int, seed: int) -> None:
    """Kill after random times, again and again in one store."""
    started = time.monotonic()
    processes.wait(processes.fork(lambda: upload(uri, saved_model)))
    whole_s = time.monotonic() - started
    dice, known = random.Random(seed), list[int]()
    for index in range(number):
        moment_s = dice.uniform(0, 1.1) * whole_s
        code = processes.kill_later(lambda go: processes.fork(lambda: upload(uri, saved_model)), moment_s)
        known = trial(uri, saved_model, {"index": index, "moment_s": round(moment_s, 3)}, code, known)
    whole = forked(lambda: judge(store.at(uri)))
    assert not whole["broken"], whole


def calls(uri: str, saved_model: Path, number: int) -> None:
    """Kill before each request to the object store, and after the last."""
    most = forked(lambda: _counted(f"{uri}/count", saved_model, 0))
    for index in range(1, min(number or most + 1, most + 1) + 1):
        place = f"{uri}/{index}"
        code = processes.wait(processes.fork(partial(_counted, place, saved_model, index)))
        trial(place, saved_model, {"call": index, "of": most}, code)


def _counted(uri: str, saved_model: Path, kill_at: int) -> int:
    """Upload, killed before the request of that number, or after the last; give how many there were."""
    from aiobotocore.client import AioBaseClient

    call, seen = AioBaseClient._make_api_call, [0]

    async def counted(self: Any, *arguments: Any) -> Any:
        seen[0] += 1
        if seen[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return await call(self, *arguments)

    AioBaseClient._make_api_call = counted
    upload(uri, saved_model)
    if kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return seen[0]


def main(mode: str, number: str, seed: str, place: str, scratch: str) -> None:
    """Make a model and put one mode through."""
    saved_model = bright.save(Path(scratch) / "saved_model", 60)
    if place.startswith("s3:"):
        importlib.import_module("s3fs")  # once, not in every child
    if mode == "points":
        points(Path(place), saved_model, int(number))
    elif mode == "random":
        at_random(place, saved_model, int(number), int(seed))
    else:
        calls(place, saved_model, int(number))


if __name__ == "__main__":
    main(*sys.argv[1:])
