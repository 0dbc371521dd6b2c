"""A versioned model store in TF Serving's layout: ``STORE/pipe_seg/17/saved_model.pb``.

A version is staged under a name that TF Serving does not read, read back, verified, and only then given its number.
It is never written again. ``manifest.json`` in it has the sha256 of every file, and of itself.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipe_seg import disk
from pipe_seg.errors import ConfigError, Problem, RefusedError
from pipe_seg.serving.store.folder import Folder
from pipe_seg.serving.store.location import MANIFEST, StoreLocation
from pipe_seg.serving.store.registry import PREFIX, Registry
from pipe_seg.serving.store.remote import SCHEMES, Remote


def at(uri: str) -> StoreLocation:
    """Give the store that ``uri`` names: a path, ``file://``, ``s3://``, ``gs://``, ``sftp://`` or ``mlflow:``.

    Raises:
        ConfigError: another scheme, a password in it, or a package that is not installed.
    """
    scheme, separator, rest = uri.partition("://")
    if uri == PREFIX:
        return Registry()
    if not separator:
        return Folder(Path(uri))
    if scheme == "file" and rest.startswith("/"):
        return Folder(Path(rest))
    if scheme in SCHEMES:
        return Remote(uri)
    known = "a path, file:///…, mlflow:, " + ", ".join(f"{name}://…" for name in SCHEMES)
    raise ConfigError(Problem("--to", "not a store", got=f"{scheme}://…", expected=known))


def publish(
    place: StoreLocation,
    saved_model: Path,
    facts: Mapping[str, Any],
    verify: Callable[[Path], None],
    texts: Mapping[str, str] | None = None,
) -> int:
    """Publish a copy of ``saved_model`` as the next version and give its number.

    Args:
        place: the store.
        saved_model: the folder with ``saved_model.pb``.
        facts: what goes into the manifest beside the digests.
        verify: called with what was staged, read back, before anybody can see it; raises to refuse.
        texts: small files that lie in the version beside the SavedModel's own, by name.

    Raises:
        RefusedError: what was staged is not what was to be published, or ``verify`` refused.
        MachineError: the store cannot be reached or written.
    """
    texts = texts or {}
    files = disk.digest_tree(saved_model)
    files |= {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    told = {**facts, "files": files}
    whole = {**texts, MANIFEST: disk.as_json(told | {"digest": _digest(told)})}
    with place.staged(saved_model, whole) as staging:
        with place.fetched(staging) as folder:
            check(folder)
            verify(folder)
        return place.claim(staging)


def manifest(place: StoreLocation, number: int) -> dict[str, Any]:
    """Give what was written when a version was published.

    Raises:
        ConfigError: there is no such version.
        RefusedError: it was not, or is not as it was written.
    """
    _there(place, number)
    return _manifest(place.text(f"{place.model}/{number}/{MANIFEST}"), f"{place.named(number)}/{MANIFEST}")


def verify(place: StoreLocation, number: int) -> dict[str, Any]:
    """Compare every file of a version with its manifest, and give that.

    Raises:
        ConfigError: there is no such version.
        RefusedError: a file was changed, is missing, does not belong, or is not a plain file.
    """
    _there(place, number)
    with place.fetched(str(number)) as folder:
        return check(folder, place.named(number))


def check(folder: Path, name: str | None = None) -> dict[str, Any]:
    """Compare every file of a version in a folder with the manifest there, and give that.

    ``name`` is what faults are told of.

    Raises:
        RefusedError: as ``verify``.
    """

    def fault(path: str, what: str) -> Problem:
        return Problem(f"{name or folder}/{path}", what)

    inside = sorted(folder.rglob("*"))
    odd = [path for path in inside if path.is_symlink() or not (path.is_file() or path.is_dir())]
    if folder.is_symlink() or odd:
        raise RefusedError(
            *(fault(path.relative_to(folder).as_posix(), "not a plain file or folder") for path in odd or [folder])
        )
    path = folder / MANIFEST
    told = _manifest(path.read_bytes() if path.is_file() else None, f"{name or folder}/{MANIFEST}")
    expected = told["files"]
    found = disk.digest_tree(folder)
    found.pop(MANIFEST, None)
    problems = [fault(path, "missing") for path in sorted(set(expected) - set(found))]
    problems += [fault(path, "not in the manifest") for path in sorted(set(found) - set(expected))]
    both = sorted(set(found) & set(expected))
    problems += [fault(path, "changed") for path in both if found[path] != expected[path]]
    if problems:
        raise RefusedError(*problems)
    return told


def _there(place: StoreLocation, number: int) -> None:
    numbers = place.versions()
    if number not in numbers:
        there = ", ".join(map(str, numbers)) or "none there yet"
        raise ConfigError(Problem(place.name, "no such version", got=number, expected=there))


def _manifest(data: bytes | None, name: str) -> dict[str, Any]:
    if data is None:
        raise RefusedError(Problem(name, "missing"))
    try:
        text = data.decode()
        told = dict(json.loads(text))
        whole = disk.as_json(told) == text and told.pop("digest") == _digest(told)
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(Problem(name, f"cannot be read: {error}")) from error
    if not whole:
        raise RefusedError(Problem(name, "changed"))
    return told


def _digest(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(disk.as_json(told).encode()).hexdigest()
