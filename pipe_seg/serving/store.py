"""A versioned model store in TF Serving's layout: ``STORE/pipe_seg/17/saved_model.pb``.

A version appears by one rename of a folder that was written, synced and verified beside it, under a name
TF Serving does not read. A version is never written again. ``manifest.json`` in it has the sha256 of every file, and
of itself.
"""

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipe_seg import disk
from pipe_seg.errors import ConfigError, Problem, RefusedError
from pipe_seg.schema import MODEL_NAME

MANIFEST = "manifest.json"
VERSION = re.compile(r"[1-9][0-9]{0,17}")


def publish(saved_model: Path, store: Path, facts: Mapping[str, Any], verify: Any) -> Path:
    """Publish a copy of ``saved_model`` as the next version and give its folder.

    Args:
        saved_model: the folder with ``saved_model.pb``.
        store: the store's folder; made if missing.
        facts: what goes into the manifest beside the digests.
        verify: called with the staged folder before anybody can see it; raises to refuse.

    Raises:
        RefusedError: what was staged is not what was to be published, or ``verify`` refused.
        MachineError: the store cannot be written.
    """
    base = store / MODEL_NAME
    staging = base / f".staging-{uuid.uuid4().hex}"
    with disk.environment(store):
        base.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copytree(saved_model, staging)
            told = {**facts, "files": disk.digest_tree(saved_model)}
            disk.write_json(staging / MANIFEST, told | {"digest": _digest(told)})
            disk.sync_tree(staging)
            check(staging)
            verify(staging)
            return _claim(staging, base)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _claim(staging: Path, base: Path) -> Path:
    """Rename to the next number; who loses a race takes the one after."""
    while True:
        version = base / str(max(versions(base), default=0) + 1)
        if disk.rename_new(staging, version):
            disk.sync(base)
            return version


def versions(base: Path) -> list[int]:
    """Give the version numbers in ``STORE/pipe_seg``, ascending, by the names TF Serving reads."""
    if not base.is_dir():
        return []
    return sorted(int(path.name) for path in base.iterdir() if path.is_dir() and VERSION.fullmatch(path.name))


def version(folder: Path, number: int) -> Path:
    """Give the folder of a version.

    Raises:
        ConfigError: there is none.
    """
    found = folder / MODEL_NAME / str(number)
    if not found.is_dir():
        there = ", ".join(map(str, versions(folder / MODEL_NAME))) or "none there yet"
        raise ConfigError(Problem(folder, "no such version", got=number, expected=there))
    return found


def manifest(version: Path) -> dict[str, Any]:
    """Give what was written when ``version`` was published.

    Raises:
        RefusedError: it is not there, or not as it was written.
    """
    path = version / MANIFEST
    try:
        text = path.read_text("utf-8")
        told = dict(json.loads(text))
        whole = disk.as_json(told) == text and told.pop("digest") == _digest(told)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RefusedError(Problem(path, f"cannot be read: {error}")) from error
    if not whole:
        raise RefusedError(Problem(path, "changed"))
    return told


def _digest(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(disk.as_json(told).encode()).hexdigest()


def check(version: Path) -> None:
    """Compare every file with the manifest.

    Raises:
        RefusedError: a file was changed, is missing, does not belong, or is not a plain file.
    """
    inside = [version, *sorted(version.rglob("*"))]
    odd = [path for path in inside if path.is_symlink() or not (path.is_file() or path.is_dir())]
    if odd:
        raise RefusedError(*(Problem(path, "not a plain file or folder") for path in odd))
    expected = manifest(version)["files"]
    found = disk.digest_tree(version)
    found.pop(MANIFEST, None)
    problems = [Problem(version / name, "missing") for name in sorted(set(expected) - set(found))]
    problems += [Problem(version / name, "not in the manifest") for name in sorted(set(found) - set(expected))]
    both = sorted(set(found) & set(expected))
    problems += [Problem(version / name, "changed") for name in both if found[name] != expected[name]]
    if problems:
        raise RefusedError(*problems)


def local(uri: str) -> Path:
    """Give the folder that ``uri`` names.

    Raises:
        ConfigError: another scheme than a plain path or ``file://``.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return Path(uri)
    if scheme == "file" and rest.startswith("/"):
        return Path(rest)
    raise ConfigError(Problem("--to", "not a folder", got=uri, expected="a path on this machine, or file:///…"))
