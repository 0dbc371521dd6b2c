"""Access rules, which are checked before the server listens."""

from pathlib import Path

import pytest

from pipe_seg.errors import MachineError, RefusedError
from pipe_seg.serving import server
from tests.conftest import Command


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert server.access(host, None, ()).token is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "pipes.example", "localhost.example", ""])
def test_other_hosts_need_a_token(host: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="without a token"):
        server.access(host, None, ())
    token = tmp_path / "token"
    token.write_text("x" * 32)
    token.chmod(0o600)
    assert server.access(host, token, ("pipes",)).token == "x" * 32


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("x" * 32, 0o644),
        ("x" * 32, 0o640),
        ("short", 0o600),
        ("", 0o600),
        ("two words in a token", 0o600),
        ("Ж" * 32, 0o600),
    ],
)
def test_a_malformed_or_readable_token_is_refused(text: str, mode: int, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(text)
    token.chmod(mode)
    with pytest.raises(RefusedError):
        server.access("127.0.0.1", token, ())


def test_a_missing_token_file(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot be read"):
        server.access("127.0.0.1", tmp_path / "none", ())


def test_the_command_line_refuses_to_listen_on_all_interfaces_without_a_token(cli: Command, tmp_path: Path) -> None:
    assert "--token-file" in cli("serve", tmp_path, "--host", "0.0.0.0", code=6).stderr
