"""Scratch folders, and the cache of digests."""

import hashlib
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipe_seg import artifacts, disk
from pipe_seg.disk import DigestCache
from pipe_seg.errors import ConflictError


def settled(path: Path, text: str) -> Path:
    """A file that was last changed long enough ago to be remembered."""
    path.write_text(text)
    os.utime(path, ns=(1_700_000_000_000_000_000 + len(text), 1_700_000_000_000_000_000 + len(text)))
    return path


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_file_is_read_again_only_if_its_size_or_time_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, read = DigestCache(tmp_path / "digests.sqlite"), []
    original = disk.digest_file
    monkeypatch.setattr(disk, "digest_file", lambda path: read.append(path.name) or original(path))
    first, second = settled(tmp_path / "a", "aa"), settled(tmp_path / "b", "bbb")
    for _ in range(2):
        assert cache.digests([first, second]) == {first: sha256("aa"), second: sha256("bbb")}
    assert read == ["a", "b"]
    settled(second, "other")
    assert cache.digests([first, second]) == {first: sha256("aa"), second: sha256("other")}
    assert read == ["a", "b", "b"]


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path: Path) -> None:
    """Same size, and within the clock's tick perhaps the same time: only reading it tells."""
    cache, path = DigestCache(tmp_path / "digests.sqlite"), tmp_path / "a"
    for text in ("aa", "bb"):
        path.write_text(text)
        os.utime(path, ns=(time.time_ns(), 10**9 * (int(time.time()) - 1)))
        assert cache.digests([path]) == {path: sha256(text)}


def test_a_cache_that_is_damaged_costs_time_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = settled(tmp_path / "a", "aa")
    (tmp_path / "digests.sqlite").write_bytes(b"no database" * 200)
    with caplog.at_level(logging.WARNING):
        assert DigestCache(tmp_path / "digests.sqlite").digests([path]) == {path: sha256("aa")}
    assert "cannot be used" in caplog.text


def test_of_two_that_publish_one_target_the_first_wins_and_neither_loses_its_work(tmp_path: Path) -> None:
    target = tmp_path / "step"

    def publish_slowly() -> None:
        with artifacts.publishing(target) as slow:
            (slow / "file").write_text("slow")
            with artifacts.publishing(target) as quick:
                assert quick != slow
                (quick / "file").write_text("quick")
            assert (slow / "file").read_text() == "slow"

    with pytest.raises(ConflictError, match="exists already"):
        publish_slowly()
    assert (target / "file").read_text() == "quick"
    assert [path.name for path in tmp_path.iterdir()] == ["step"]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    code = "\n".join(
        (
            "import sys, time; from pathlib import Path; from pipe_seg import disk",
            "with disk.scratch(Path(sys.argv[1])) as folder:",
            "    (folder / 'file').write_text('x'); print(folder, flush=True); time.sleep(60)",
        )
    )
    target = tmp_path / "step"
    process = subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    left = Path(process.stdout.readline().strip())
    with disk.scratch(target):
        assert (left / "file").is_file(), "its process lives"
    process.kill()
    process.wait()
    process.stdout.close()
    assert (left / "file").is_file()
    with disk.scratch(target) as own:
        assert [path for path in tmp_path.iterdir() if path.name.startswith(".step.")] == [own]
