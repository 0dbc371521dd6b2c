"""A store behind fsspec: S3, Google Cloud Storage or SFTP.

Credentials come from the environment variables of each service's own tools and are never printed. SFTP can rename.
Object stores cannot: a conditional create reserves the version number, then the server copies the files, with
`saved_model.pb` last. PipeSeg and TensorFlow ignore a folder without it. Each change of labels creates a numbered
revision, also conditionally. The newest revision is valid; `models.config` is its copy for TF Serving.
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
CLIENT_MODULES = ("botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "paramiko")
RESERVED, REVISIONS = ".claims", ".labels"
UNCACHED = {"use_listings_cache": False}
KNOWN_HOSTS = Path("~/.ssh/known_hosts")


class Remote(StoreLocation):
    """A store at `s3://`, `gs://` or `sftp://`.

    Raises:
        ConfigError: The URI holds a password, or the service's package is not installed.
        MachineError: The service cannot be reached, or refuses access.
    """

    def __init__(self, uri: str) -> None:
        scheme, parts = uri.partition("://")[0], urlsplit(uri)
        if parts.password is not None:
            cure = "credentials in the environment, or a key"
            raise ConfigError(Problem(f"{scheme}://{parts.hostname}", "the URI holds a password", expected=cure))
        self.name = uri.rstrip("/")
        self.base = f"{self.name}/{MODEL_NAME}"
        self._renames = scheme == "sftp"
        with self._translated_errors():
            self._files, root = _connect(uri, SCHEMES[scheme])
        self._root = root.rstrip("/")
        self._base = f"{self._root}/{MODEL_NAME}"

    def versions(self) -> list[int]:
        """See `StoreLocation`."""
        with self._translated_errors():
            return numbers(parts[0] for parts in self._paths() if parts[1:] == [GRAPH])

    def text(self, path: str) -> bytes | None:
        """See `StoreLocation`."""
        try:
            with self._translated_errors():
                return bytes(self._files.cat_file(f"{self._root}/{path}"))
        except FileNotFoundError:
            return None

    @contextmanager
    def staged(self, saved_model: Path, texts: Mapping[str, str]) -> Iterator[str]:
        """See `StoreLocation`."""
        name = f"{STAGING}{uuid.uuid4().hex}"
        target = f"{self._base}/{name}"
        try:
            with self._translated_errors():
                for file in sorted(path for path in saved_model.rglob("*") if path.is_file()):
                    self._put(f"{target}/{file.relative_to(saved_model).as_posix()}", file.read_bytes())
                for path, text in texts.items():
                    self._put(f"{target}/{path}", text.encode())
            yield name
        finally:
            with self._translated_errors():
                self._remove(target)

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """See `StoreLocation`."""
        source = f"{self._base}/{name}"
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / name
            with self._translated_errors():
                for path in self._below(source):
                    target = folder / _inside(path.removeprefix(f"{source}/"))
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(self._files.cat_file(path))
            (folder / "variables").mkdir(parents=True, exist_ok=True)  # object stores have no empty folders
            yield folder

    def commit(self, staging: str) -> int:
        """See `StoreLocation`."""
        source = f"{self._base}/{staging}"
        with self._translated_errors():
            while True:
                number = max(self._used_numbers(), default=0) + 1
                if self._renames and self._rename(source, f"{self._base}/{number}"):
                    return number
                if not self._renames and self._create(f"{self._base}/{RESERVED}/{number}", staging.encode()):
                    self._copy(source, f"{self._base}/{number}")
                    return number

    def delete(self, number: int) -> None:
        """See `StoreLocation`."""
        source = f"{self._base}/{number}"
        with self._translated_errors():
            if self._renames:
                aside = f"{self._base}/{WITHDRAWN}{number}-{uuid.uuid4().hex}"
                self._files.mv(source, aside)
                source = aside
            else:
                self._files.rm_file(f"{source}/{GRAPH}")
            self._remove(source)

    def sweep(self) -> None:
        """See `StoreLocation`; a version without a graph stays: another process may be writing it."""
        with self._translated_errors():
            for name in {parts[0] for parts in self._paths() if parts[0].startswith(WITHDRAWN)}:
                self._remove(f"{self._base}/{name}")

    def locked(self) -> AbstractContextManager[None]:
        """See `StoreLocation`; there are no locks: the revision in `write_labels` detects other writers."""
        return nullcontext()

    def read_labels(self) -> tuple[str | None, int]:
        """See `StoreLocation`."""
        with self._translated_errors():
            revision = max(self._revisions(), default=0)
        text = self.text(f"{REVISIONS}/{revision}" if revision else LABELS)
        return None if text is None else text.decode("utf-8", "replace"), revision

    def write_labels(self, text: str, revision: int) -> bool:
        """See `StoreLocation`."""
        with self._translated_errors():
            if not self._create(f"{self._root}/{REVISIONS}/{revision + 1}", text.encode()):
                return False
            written = 0
            while written != (newest := max(self._revisions(), default=0)):
                self._put(f"{self._root}/{LABELS}", self._files.cat_file(f"{self._root}/{REVISIONS}/{newest}"))
                written = newest
        return True

    def _revisions(self) -> list[int]:
        return numbers(path.rpartition("/")[2] for path in self._below(f"{self._root}/{REVISIONS}"))

    def _used_numbers(self) -> set[int]:
        """Returns the numbers in use, by complete versions or not."""
        return set(numbers(parts[1] if parts[0] == RESERVED else parts[0] for parts in self._paths() if len(parts) > 1))

    def _paths(self) -> list[list[str]]:
        """Returns the files beside and directly in versions, each as the parts of its path."""
        return [path.removeprefix(f"{self._base}/").split("/") for path in self._below(self._base, 2)]

    def _below(self, folder: str, depth: int | None = None) -> list[str]:
        """Returns the files below a folder; fsspec's `find` would treat an unreadable folder as empty."""
        walked = self._files.walk(folder, maxdepth=depth, on_error=_raise_unless_deleted)
        return sorted(f"{parent.rstrip('/')}/{name}" for parent, _, names in walked for name in names)

    def _put(self, path: str, data: bytes) -> None:
        if self._renames:
            self._files.mv(self._write_partial(path, data), path)
        else:
            self._files.pipe_file(path, data)

    def _write_partial(self, path: str, data: bytes) -> str:
        """Writes a temporary file beside `path`, to be renamed to it, and returns its name."""
        self._make_folder(path.rpartition("/")[0])
        partial = f"{path}.{uuid.uuid4().hex}.partial"
        self._files.pipe_file(partial, data)
        return partial

    def _create(self, path: str, data: bytes) -> bool:
        """Writes a new file atomically; returns False if the file exists."""
        if self._renames:
            partial = self._write_partial(path, data)
            if self._rename(partial, path):
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
        """Creates a folder and its parents; other processes may create them at the same time."""
        for _ in path.split("/"):
            try:
                self._files.makedirs(path, exist_ok=True)
            except OSError:
                if not self._files.isdir(path):
                    continue
            return
        self._files.makedirs(path, exist_ok=True)

    def _rename(self, source: str, target: str) -> bool:
        """Renames without overwriting, unlike `mv`; returns False if the target exists."""
        try:
            self._files.ftp.rename(source, target)
        except OSError:
            if self._files.exists(target):
                return False
            raise
        return True

    def _copy(self, source: str, target: str) -> None:
        """Copies the files of a manifest on the server; the graph and the manifest come last."""
        contents = json.loads(self._files.cat_file(f"{source}/{MANIFEST}"))
        names = [MANIFEST, *contents["files"]]
        for name in sorted(names, key=lambda name: (name == GRAPH, name == MANIFEST, name)):
            self._files.cp_file(f"{source}/{name}", f"{target}/{name}")

    def _remove(self, folder: str) -> None:
        if self._files.exists(folder):
            self._files.rm(folder, recursive=True)

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Turns errors of the service or the network into MachineError, without text that may hold a secret."""
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in CLIENT_MODULES:
                raise
            cure = "an existing store, and credentials for it in the environment"
            raise MachineError(Problem(self.name, f"cannot be reached: {_summary(error)}", expected=cure)) from error


def _connect(uri: str, extra: str) -> tuple[Any, str]:
    """Returns the file system of `uri` and the path in it."""
    from fsspec.core import url_to_fs

    try:
        options = {"host_key_policy": _known_hosts()} if extra == "sftp" else UNCACHED
        files, root = url_to_fs(uri, skip_instance_cache=True, **options)
    except ImportError as error:
        scheme = uri.partition("://")[0]
        raise ConfigError(
            Problem(f"{scheme}://", f"{extra} support is not installed", expected=f"pip install 'pipe-seg[{extra}]'")
        ) from error
    return files, str(root)


def _known_hosts() -> Any:
    """Returns a paramiko policy that accepts only the hosts in `~/.ssh/known_hosts`, as `ssh` does."""
    import paramiko

    class KnownHosts(paramiko.MissingHostKeyPolicy):
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            file = KNOWN_HOSTS.expanduser()
            if not file.is_file() or not paramiko.HostKeys(str(file)).check(hostname, key):
                raise paramiko.SSHException(f"{hostname} is unknown; connect once with ssh, or add its key to {file}")

    return KnownHosts()


def _inside(path: str) -> str:
    """Returns a relative path unchanged; a path that leaves its folder raises RefusedError."""
    if any(part in ("", ".", "..") for part in path.split("/")) or "\\" in path or "\0" in path:
        raise RefusedError(Problem(path, "the name leads outside its version"))
    return path


def _raise_unless_deleted(error: OSError) -> None:
    """Raises the error, unless a folder was deleted while its parent was listed."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _summary(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"
