"""Ctrl-C between steps."""

import contextlib
import io
import signal

import pytest

from pipe_seg.components.trainer.interrupt import Interrupted, Watch, watching


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def answer(text: str, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGINT) -> bool:
    monkeypatch.setattr("sys.stdin", Terminal(text))
    watch = Watch()
    watch(number, None)
    return watch.stop(contextlib.nullcontext)


def test_nothing_asked_is_nothing_stopped() -> None:
    assert Watch().stop(contextlib.nullcontext) is False


@pytest.mark.parametrize(("text", "stopped"), [("c\n", False), ("s\n", True), ("\n", True), ("x\nc\n", False)])
def test_a_person_is_asked(text: str, stopped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer(text, monkeypatch) is stopped


def test_abort_aborts(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        answer("a\n", monkeypatch)


def test_sigterm_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Interrupted) as caught:
        answer("c\n", monkeypatch, signal.SIGTERM)
    assert caught.value.exit_code == 143


def test_without_a_terminal_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("c\n"))
    watch = Watch()
    watch(signal.SIGINT, None)
    with pytest.raises(Interrupted) as caught:
        watch.stop(contextlib.nullcontext)
    assert caught.value.exit_code == 130


def test_the_second_signal_means_now() -> None:
    with watching() as watch:
        signal.raise_signal(signal.SIGINT)
        assert watch.signal_number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
