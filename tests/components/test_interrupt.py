"""Ctrl-C between steps, and a guard that waits for nobody."""

import contextlib
import io
import signal
import subprocess
import sys
import time

import pytest

from pipe_seg.components.trainer.interrupt import Watch, watching
from tests.conftest import ROOT

STUCK = """
from pipe_seg.components.trainer import interrupt
interrupt.GRACE_S = 1.0
with interrupt.watching() as watch:
    print("ready", flush=True)
    # One call that Python's own handlers have to wait for, as a step of TensorFlow is.
    import ctypes
    while True:
        ctypes.CDLL(None).pause()
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def answer(text: str, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGINT) -> str:
    monkeypatch.setattr("sys.stdin", Terminal(text))
    watch = Watch()
    watch(number, None)
    return watch.choose(contextlib.nullcontext)


def test_nothing_asked_is_nothing_stopped() -> None:
    assert Watch().choose(contextlib.nullcontext) == "continue"


@pytest.mark.parametrize(
    ("text", "choice"),
    [("c\n", "continue"), ("l\n", "leave"), ("s\n", "stop"), ("\n", "leave"), ("x\nc\n", "continue")],
)
def test_a_person_is_asked(text: str, choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer(text, monkeypatch) == choice


def test_abort_aborts(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        answer("a\n", monkeypatch)


def test_sigterm_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer("c\n", monkeypatch, signal.SIGTERM) == "leave"


def test_without_a_terminal_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("c\n"))
    watch = Watch()
    watch(signal.SIGINT, None)
    assert watch.choose(contextlib.nullcontext) == "leave"


def test_after_continue_the_next_signal_is_the_first_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("c\n"))
    with watching() as watch:
        signal.raise_signal(signal.SIGINT)
        deadline = time.monotonic() + 5
        while not watch.pending and time.monotonic() < deadline:
            time.sleep(0.01)
        assert watch.choose(contextlib.nullcontext) == "continue"
        assert (watch.signal_number, watch.pending) == (0, False)


@pytest.mark.parametrize(
    ("signals", "code"),
    [([signal.SIGINT, signal.SIGINT], 130), ([signal.SIGINT, signal.SIGTERM], 143), ([signal.SIGTERM], 143)],
)
def test_a_process_that_does_not_come_back_is_ended(signals: list[signal.Signals], code: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", STUCK], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    for number in signals:
        process.send_signal(number)
        time.sleep(0.3)
    assert process.wait(timeout=10) == code
    process.stdout.close()
