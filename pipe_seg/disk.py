"""Files and folders: written whole, synced, locked, digested. Nothing here knows what they hold."""

import ctypes
import errno
import fcntl
import hashlib
import json
import logging
import os
import secrets
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pipe_seg.errors import MachineError, Problem

NO_REPLACE, EXCHANGE = 1, 2
PARENT_DEATH_SIGNAL = 1
PARTIAL = ".partial"
SETTLED_NS = 2_000_000_000
FIND_DIGEST = "SELECT sha256 FROM files WHERE path = ? AND size = ? AND mtime_ns = ?"

log = logging.getLogger(__name__)


@contextmanager
def environment(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` about the machine into a ``MachineError`` that names the path."""
    try:
        yield
    except OSError as error:
        place = error.filename or path
        cure = "a folder you may write to, with free space"
        raise MachineError(Problem(place, f"cannot be written: {error.strerror or error}", expected=cure)) from error


@contextmanager
def locked(folder: Path, wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Locks ``folder`` for this process; calls ``wait`` once if another, still alive, holds the lock.

    Raises:
        MachineError: the folder cannot be made.
    """
    with environment(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """Yields an empty folder beside ``target`` that no other process uses; removes it afterwards.

    The folder is locked while this process lives, so that leftovers of a killed process differ from what
    another process is writing; leftovers for the same target are removed here.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent, target.name)
    folder = target.parent / f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}"
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def remove_leftovers(parent: Path, name: str = "*") -> None:
    """Removes scratch folders in ``parent`` whose process is gone; ``name`` is that of their target."""
    for folder in parent.glob(f".{name}.*{PARTIAL}"):
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # its process is writing
        finally:
            os.close(descriptor)


def end_with_parent() -> None:
    """Lets this process receive SIGTERM when its parent dies, where the system is Linux."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl:
        prctl(PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)


def put(new: Path, target: Path) -> None:
    """Let ``new`` (synced, on the same disk) stand at ``target``: at no moment is there neither.

    What stood there before is at ``new`` afterwards. Where the system cannot exchange two folders in one
    step, the old one is moved aside first.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        os.rename(new, target)
    elif not _rename(new, target, EXCHANGE):
        aside = new.with_name(f"{new.name}.old")
        os.rename(target, aside)
        os.rename(new, target)
        os.rename(aside, new)
    sync(target.parent)


def rename_new(new: Path, target: Path) -> bool:
    """Renames ``new`` to ``target`` unless that exists (even an empty folder); returns whether it did."""
    if _rename(new, target, NO_REPLACE):
        return True
    if target.exists() or target.is_symlink():
        return False
    try:
        os.rename(new, target)  # a system or disk without renameat2: an empty folder made meanwhile is replaced
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            return False
        raise
    return True


def _rename(first: Path, second: Path, flag: int) -> bool:
    """Renames with a flag of Linux's renameat2; returns whether that worked."""
    here = -100
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    return bool(renameat2(here, os.fsencode(first), here, os.fsencode(second), flag) == 0)


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as ``as_json`` returns it, whole or not at all."""
    write_text(path, as_json(value))


def as_json(value: Any) -> str:
    """Returns ``value`` as indented JSON with sorted keys; NaN is refused."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}")
    try:
        partial.write_text(text, "utf-8")
        sync(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until the operating system has put a file or folder on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Sync every file below ``folder``, then the folders, the deepest first."""
    for path in sorted(folder.rglob("*"), key=lambda path: -len(path.parts)):
        sync(path)
    sync(folder)


def digest_file(path: Path) -> str:
    """Returns the sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_tree(folder: Path) -> dict[str, str]:
    """Returns the sha256 of every file below ``folder`` by its path, POSIX style and sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in files}


class DigestCache:
    """Caches the sha256 of files by path, size and modification time: a second look is a ``stat``.

    A file that changed within the last two seconds is not remembered: it may change again within the clock's tick.
    """

    def __init__(self, path: Path) -> None:
        """Uses the SQLite file at ``path``, which is made on first use."""
        self._path = path

    def digests(self, files: Iterable[Path]) -> dict[Path, str]:
        """Returns the sha256 of each file, in hex.

        Raises:
            MachineError: a file cannot be read.
        """
        listed = list(files)
        try:
            return self._remembered(listed)
        except sqlite3.Error as error:  # a cache that cannot be used costs time, nothing else
            log.warning("%s cannot be used (%s): every file is read again", self._path, error)
            return {file: self._digest(file) for file in listed}

    def _remembered(self, files: list[Path]) -> dict[Path, str]:
        found, learnt = {}, []
        with closing(self._open()) as database:
            for file in files:
                with environment(file):
                    status = os.stat(file)
                stamp = (os.fsencode(os.path.realpath(file)), status.st_size, status.st_mtime_ns)
                row = database.execute(FIND_DIGEST, stamp).fetchone()
                found[file] = row[0] if row else self._digest(file)
                if not row and time.time_ns() - status.st_mtime_ns > SETTLED_NS:
                    learnt.append((*stamp, found[file]))
            with database:
                database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", learnt)
        return found

    @staticmethod
    def _digest(file: Path) -> str:
        with environment(file):
            return digest_file(file)

    def _open(self) -> sqlite3.Connection:
        with environment(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._path, timeout=60)
        database.execute(
            "CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT)"
        )
        return database
