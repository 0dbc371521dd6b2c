"""Files and folders that are written whole, synced, locked and counted; nothing here knows what they hold."""

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipe_seg.errors import MachineError, Problem

NO_REPLACE, EXCHANGE = 1, 2


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
    """Hold ``folder`` for this process; ``wait`` is called once if another holds it. A dead holder holds nothing.

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
    """Rename ``new`` to ``target`` unless something stands there, an empty folder too; say whether it was done."""
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
    """Rename with a flag of Linux's renameat2; say whether that could be done."""
    here = -100
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    return bool(renameat2(here, os.fsencode(first), here, os.fsencode(second), flag) == 0)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as ``as_json`` gives it, whole or not at all."""
    write_text(path, as_json(value))


def as_json(value: Any) -> str:
    """Give ``value`` as indented JSON with sorted keys; NaN is refused."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, "utf-8")
    sync(partial)
    os.replace(partial, path)


def link(source: str, target: str) -> None:
    """Make ``target`` the same file where the disk allows it, else a copy; for ``shutil.copytree``."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def sync(path: Path) -> None:
    """Ask the operating system to put a file or folder on disk before going on."""
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
    """Give the sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_tree(folder: Path) -> dict[str, str]:
    """Give the sha256 of every file below ``folder`` by its path, POSIX style and sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in files}
