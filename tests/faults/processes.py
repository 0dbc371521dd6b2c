"""Processes that are started to be killed, and ports for those that talk to each other."""

import os
import signal
import socket
import subprocess
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

CALLS = "rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir"
Start = Callable[[Callable[[], None]], int]


def fork(work: Callable[[], object]) -> int:
    """Do ``work`` in a child; its exit code is 0, or what the command line would give."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException as error:
        code = getattr(error, "exit_code", getattr(error, "code", None))
        if code is None:
            traceback.print_exc()
        os._exit(code or 1)
    os._exit(0)


def wait(child: int) -> int:
    """Give the exit code of a child; of one that a signal ended, the signal's number below 0."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def nothing() -> None:
    """Hold nobody back."""


def kill_later(start: Start, moment_s: float) -> int:
    """Start, kill after ``moment_s``; give the exit code."""
    child = start(nothing)
    time.sleep(moment_s)
    os.kill(child, signal.SIGKILL)
    return wait(child)


def kill_at(start: Start, call: str, number: int) -> int:
    """Start, kill at the ``number``-th system call ``call`` of a thread; give the exit code."""
    child, release = held(start)
    tracer = attach(child, ["-e", f"trace={CALLS}", "-e", f"inject={call}:signal=SIGKILL:when={number}"])
    release()
    code = wait(child)
    tracer.wait()
    return code


def traced(start: Start, log: Path) -> tuple[int, str]:
    """Run to the end; give the process and the log of the calls in ``CALLS``."""
    child, release = held(start)
    tracer = attach(child, ["-e", f"trace={CALLS}", "-o", str(log)])
    release()
    wait(child)
    tracer.wait()
    return child, log.read_text()


def held(start: Start) -> tuple[int, Callable[[], None]]:
    """Start what waits until it is let go."""
    reader, writer = os.pipe()
    child = start(lambda: bool(os.read(reader, 1)) or None)
    return child, lambda: bool(os.write(writer, b"x")) or None


def attach(child: int, options: list[str]) -> subprocess.Popen[bytes]:
    """Let strace hold on to ``child``."""
    tracer = subprocess.Popen(["strace", "-f", "-p", str(child), *options], stderr=subprocess.PIPE)
    assert tracer.stderr
    while b"attached" not in (line := tracer.stderr.readline()):
        assert line, "strace could not attach"
    threading.Thread(target=tracer.stderr.read, daemon=True).start()
    return tracer


def free_ports(number: int) -> list[int]:
    """Give ports of loopback that nobody listened on a moment ago."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
