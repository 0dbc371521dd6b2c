"""A versioned model store in TF Serving's layout: `STORE/pipe_seg/17/saved_model.pb`.

A version is staged under a name that TF Serving ignores, read back, verified, and only then gets its number.
It never changes afterwards. Its `manifest.json` holds the sha256 of every file and of itself.
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
    """Returns the store at `uri`: a path, `file://`, `s3://`, `gs://`, `sftp://` or `mlflow:`.

    Raises:
        ConfigError: The scheme is unknown, the URI holds a password, or a package is not installed.
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
    raise ConfigError(Problem("--to", "unknown kind of store", got=f"{scheme}://…", expected=known))


def publish(
    location: StoreLocation,
    saved_model: Path,
    facts: Mapping[str, Any],
    verify: Callable[[Path], None],
    texts: Mapping[str, str] | None = None,
) -> int:
    """Publishes a copy of `saved_model` as the next version and returns its number.

    Args:
        location: The store.
        saved_model: Folder with `saved_model.pb`.
        facts: What the manifest records besides the digests.
        verify: Called with a copy read back from staging, before the version is visible; raises to refuse.
        texts: Text files to add to the version, by name.

    Raises:
        RefusedError: The staged files differ from `saved_model`, or `verify` refused.
        MachineError: The store cannot be reached or written.
    """
    texts = texts or {}
    files = disk.digest_tree(saved_model)
    files |= {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    contents = {**facts, "files": files}
    texts = {**texts, MANIFEST: disk.as_json(contents | {"digest": _digest(contents)})}
    with location.staged(saved_model, texts) as staging:
        with location.fetched(staging) as folder:
            check(folder)
            verify(folder)
        return location.commit(staging)


def manifest(location: StoreLocation, number: int) -> dict[str, Any]:
    """Returns the manifest of a version.

    Raises:
        ConfigError: There is no such version.
        RefusedError: The manifest is missing or was changed.
    """
    _require(location, number)
    return _manifest(location.text(f"{location.model}/{number}/{MANIFEST}"), f"{location.named(number)}/{MANIFEST}")


def verify(location: StoreLocation, number: int) -> dict[str, Any]:
    """Compares every file of a version with its manifest and returns the manifest.

    Raises:
        ConfigError: There is no such version.
        RefusedError: A file was changed, is missing, is not in the manifest, or is not a plain file.
    """
    _require(location, number)
    with location.fetched(str(number)) as folder:
        return check(folder, location.named(number))


def check(folder: Path, name: str | None = None) -> dict[str, Any]:
    """Compares every file in a version's folder with the manifest there and returns the manifest.

    Args:
        folder: The folder, which may be a temporary copy.
        name: The version's name for error messages; `folder` if None.

    Raises:
        RefusedError: As for `verify`.
    """

    def fault(path: str, what: str) -> Problem:
        return Problem(f"{name or folder}/{path}", what)

    paths = sorted(folder.rglob("*"))
    odd = [path for path in paths if path.is_symlink() or not (path.is_file() or path.is_dir())]
    if folder.is_symlink() or odd:
        raise RefusedError(
            *(fault(path.relative_to(folder).as_posix(), "not a plain file or folder") for path in odd or [folder])
        )
    path = folder / MANIFEST
    contents = _manifest(path.read_bytes() if path.is_file() else None, f"{name or folder}/{MANIFEST}")
    expected = contents["files"]
    found = disk.digest_tree(folder)
    found.pop(MANIFEST, None)
    problems = [fault(path, "missing") for path in sorted(set(expected) - set(found))]
    problems += [fault(path, "not in the manifest") for path in sorted(set(found) - set(expected))]
    both = sorted(set(found) & set(expected))
    problems += [fault(path, "changed") for path in both if found[path] != expected[path]]
    if problems:
        raise RefusedError(*problems)
    return contents


def _require(location: StoreLocation, number: int) -> None:
    numbers = location.versions()
    if number not in numbers:
        known = ", ".join(map(str, numbers)) or "a published version; there is none yet"
        raise ConfigError(Problem(location.name, "no such version", got=number, expected=known))


def _manifest(data: bytes | None, name: str) -> dict[str, Any]:
    if data is None:
        raise RefusedError(Problem(name, "missing"))
    try:
        text = data.decode()
        contents = dict(json.loads(text))
        intact = disk.as_json(contents) == text and contents.pop("digest") == _digest(contents)
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(Problem(name, f"cannot be read: {error}")) from error
    if not intact:
        raise RefusedError(Problem(name, "changed"))
    return contents


def _digest(contents: Mapping[str, Any]) -> str:
    return hashlib.sha256(disk.as_json(contents).encode()).hexdigest()
