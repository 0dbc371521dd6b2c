"""A store that fsspec reaches: S3, Google Cloud Storage, SFTP.

Credentials come from the environment, as each service's own tools take them, and are never told. Object stores know no
rename: a number is claimed by an object that only one can create, the files are copied to it on the server, and
``saved_model.pb`` comes last; without it neither we nor TensorFlow take a folder for a version. SFTP renames. Labels
are revisions that only one can create; the newest counts, and ``models.config`` is a copy of it for TF Serving.
"""

import json
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipe_seg.errors import ConfigError, MachineError, Problem, RefusedError
from pipe_seg.schema import MODEL_NAME
from pipe_seg.serving.store.location import GRAPH, LABELS, MANIFEST, STAGING, WITHDRAWN, StoreLocation, numbers

SCHEMES = {"s3": "s3", "gs": "gcs", "sftp": "sftp"}
THEIRS = ("botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "paramiko")
CLAIMS, REVISIONS = ".claims", ".labels"
UNCACHED = {"use_listings_cache": False}
KNOWN_HOSTS = Path("~/.ssh/known_hosts")


class Remote(StoreLocation):
    """A store behind ``s3://``, ``gs://`` or ``sftp://``."""

    def __init__(self, uri: str) -> None:
        """Connect.

        Raises:
            ConfigError: a password stands in ``uri``, or the service's package is not installed.
            MachineError: the service cannot be reached or refuses.
        """
        scheme, parts = uri.partition("://")[0], urlsplit(uri)
        if parts.password is not None:
            cure = "credentials in the environment, or a key"
            raise ConfigError(Problem(f"{scheme}://{parts.hostname}", "a password in it", expected=cure))
        self.name = uri.rstrip("/")
        self.base = f"{self.name}/{MODEL_NAME}"
        self._renames = scheme == "sftp"
        with self._reached():
            self._files, root = _connected(uri, SCHEMES[scheme])
        self._root = root.rstrip("/")
        self._base = f"{self._root}/{MODEL_NAME}"

    def versions(self) -> list[int]:
        """See ``StoreLocation``."""
        with self._reached():
            return numbers(parts[0] for parts in self._near() if parts[1:] == [GRAPH])

    def text(self, path: str) -> bytes | None:
        """See ``StoreLocation``."""
        try:
            with self._reached():
                return bytes(self._files.cat_file(f"{self._root}/{path}"))
        except FileNotFoundError:
            return None

    @contextmanager
    def staged(self, saved_model: Path, texts: Mapping[str, str]) -> Iterator[str]:
        """See ``StoreLocation``."""
        name = f"{STAGING}{uuid.uuid4().hex}"
        target = f"{self._base}/{name}"
        try:
            with self._reached():
                for file in sorted(path for path in saved_model.rglob("*") if path.is_file()):
                    self._put(f"{target}/{file.relative_to(saved_model).as_posix()}", file.read_bytes())
                for path, text in texts.items():
                    self._put(f"{target}/{path}", text.encode())
            yield name
        finally:
            with self._reached():
                self._remove(target)

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """See ``StoreLocation``."""
        source = f"{self._base}/{name}"
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / name
            with self._reached():
                for path in self._below(source):
                    target = folder / _inside(path.removeprefix(f"{source}/"))
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(self._files.cat_file(path))
            (folder / "variables").mkdir(parents=True, exist_ok=True)  # empty, which objects cannot say
            yield folder

    def claim(self, staging: str) -> int:
        """See ``StoreLocation``."""
        source = f"{self._base}/{staging}"
        with self._reached():
            while True:
                number = max(self._taken(), default=0) + 1
                if self._renames and self._moved(source, f"{self._base}/{number}"):
                    return number
                if not self._renames and self._created(f"{self._base}/{CLAIMS}/{number}", staging.encode()):
                    self._copy(source, f"{self._base}/{number}")
                    return number

    def withdraw(self, number: int) -> None:
        """See ``StoreLocation``."""
        source = f"{self._base}/{number}"
        with self._reached():
            if self._renames:
                aside = f"{self._base}/{WITHDRAWN}{number}-{uuid.uuid4().hex}"
                self._files.mv(source, aside)
                source = aside
            else:
                self._files.rm_file(f"{source}/{GRAPH}")
            self._remove(source)

    def sweep(self) -> None:
        """See ``StoreLocation``; an object that lost its graph stays: it may be one that is being written."""
        with self._reached():
            for name in {parts[0] for parts in self._near() if parts[0].startswith(WITHDRAWN)}:
                self._remove(f"{self._base}/{name}")

    def held(self) -> AbstractContextManager[None]:
        """See ``StoreLocation``: nothing holds here; a revision that somebody else made first is taken anew."""
        return nullcontext()

    def labels(self) -> tuple[str | None, int]:
        """See ``StoreLocation``."""
        with self._reached():
            revision = max(self._revisions(), default=0)
        text = self.text(f"{REVISIONS}/{revision}" if revision else LABELS)
        return None if text is None else text.decode("utf-8", "replace"), revision

    def relabel(self, text: str, revision: int) -> bool:
        """See ``StoreLocation``."""
        with self._reached():
            if not self._created(f"{self._root}/{REVISIONS}/{revision + 1}", text.encode()):
                return False
            written = 0
            while written != (newest := max(self._revisions(), default=0)):
                self._put(f"{self._root}/{LABELS}", self._files.cat_file(f"{self._root}/{REVISIONS}/{newest}"))
                written = newest
        return True

    def _revisions(self) -> list[int]:
        return numbers(path.rpartition("/")[2] for path in self._below(f"{self._root}/{REVISIONS}"))

    def _taken(self) -> set[int]:
        """Give the numbers that somebody has, whole versions or not."""
        return set(numbers(parts[1] if parts[0] == CLAIMS else parts[0] for parts in self._near() if len(parts) > 1))

    def _near(self) -> list[list[str]]:
        """Give the files beside and directly in versions, as the names on the way to them."""
        return [path.removeprefix(f"{self._base}/").split("/") for path in self._below(self._base, 2)]

    def _below(self, folder: str, depth: int | None = None) -> list[str]:
        """Give the files below a folder; `find` would take what it may not list for empty."""
        walked = self._files.walk(folder, maxdepth=depth, on_error=_unless_gone)
        return sorted(f"{place.rstrip('/')}/{name}" for place, _, names in walked for name in names)

    def _put(self, path: str, data: bytes) -> None:
        if self._renames:
            self._files.mv(self._beside(path, data), path)
        else:
            self._files.pipe_file(path, data)

    def _beside(self, path: str, data: bytes) -> str:
        """Write what is to be renamed to ``path``; give its name until then."""
        self._make_folder(path.rpartition("/")[0])
        partial = f"{path}.{uuid.uuid4().hex}.partial"
        self._files.pipe_file(partial, data)
        return partial

    def _created(self, path: str, data: bytes) -> bool:
        """Write a file that was not there, whole or not at all; say whether it was not there."""
        if self._renames:
            partial = self._beside(path, data)
            if self._moved(partial, path):
                return True
            self._files.rm_file(partial)
            return False
        try:
            self._files.pipe_file(path, data, mode="create")
        except OSError:
            if self._files.exists(path):
                return False
            raise
        return True

    def _make_folder(self, path: str) -> None:
        """Make a folder and those above it; somebody else may make any of them meanwhile."""
        for _ in path.split("/"):
            try:
                self._files.makedirs(path, exist_ok=True)
            except OSError:
                if not self._files.isdir(path):
                    continue
            return
        self._files.makedirs(path, exist_ok=True)

    def _moved(self, source: str, target: str) -> bool:
        """Rename where nothing stands yet, unlike `mv`; say whether nothing stood there."""
        try:
            self._files.ftp.rename(source, target)
        except OSError:
            if self._files.exists(target):
                return False
            raise
        return True

    def _copy(self, source: str, target: str) -> None:
        """Copy a version on the server, every file of its manifest; what makes it one comes last."""
        told = json.loads(self._files.cat_file(f"{source}/{MANIFEST}"))
        names = [MANIFEST, *told["files"]]
        for name in sorted(names, key=lambda name: (name == GRAPH, name == MANIFEST, name)):
            self._files.cp_file(f"{source}/{name}", f"{target}/{name}")

    def _remove(self, folder: str) -> None:
        if self._files.exists(folder):
            self._files.rm(folder, recursive=True)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Tell of what the service or the network refuses, without what may hold a secret."""
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in THEIRS:
                raise
            cure = "a store that is there, and credentials for it in the environment"
            raise MachineError(Problem(self.name, f"cannot be reached: {_told(error)}", expected=cure)) from error


def _connected(uri: str, extra: str) -> tuple[Any, str]:
    """Give the file system of ``uri`` and the path in it."""
    from fsspec.core import url_to_fs

    try:
        options = {"host_key_policy": _known_hosts()} if extra == "sftp" else UNCACHED
        files, root = url_to_fs(uri, skip_instance_cache=True, **options)
    except ImportError as error:
        scheme = uri.partition("://")[0]
        raise ConfigError(
            Problem(f"{scheme}://", "its package is not installed", expected=f"pip install 'pipe-seg[{extra}]'")
        ) from error
    return files, str(root)


def _known_hosts() -> Any:
    """Give paramiko's policy that lets in what ``~/.ssh/known_hosts`` knows, as ``ssh`` does, and nobody else."""
    import paramiko

    class KnownHosts(paramiko.MissingHostKeyPolicy):
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            place = KNOWN_HOSTS.expanduser()
            if not place.is_file() or not paramiko.HostKeys(str(place)).check(hostname, key):
                raise paramiko.SSHException(f"{hostname} is not known; `ssh` to it once, or put its key into {place}")

    return KnownHosts()


def _inside(path: str) -> str:
    """Give a path below a folder as it is.

    Raises:
        RefusedError: it leads somewhere else.
    """
    if any(part in ("", ".", "..") for part in path.split("/")) or "\\" in path or "\0" in path:
        raise RefusedError(Problem(path, "a name that leads out of its version"))
    return path


def _unless_gone(error: OSError) -> None:
    """Let pass that a folder went while its parent was listed."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"
