"""A store in a folder, on a disk or on NFS; a version becomes visible by one rename."""

import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipe_seg import disk
from pipe_seg.errors import MachineError, Problem
from pipe_seg.schema import MODEL_NAME
from pipe_seg.serving.store.location import LABELS, STAGING, WITHDRAWN, StoreLocation, numbers

ABANDONED_S = 24 * 3600


class Folder(StoreLocation):
    """A folder as a store; the first upload creates it."""

    is_local = True

    def __init__(self, root: Path) -> None:
        self._root, self._base = root, root / MODEL_NAME
        self.name, self.base = str(root), str(self._base.absolute())

    def versions(self) -> list[int]:
        """See `StoreLocation`."""
        if not self._base.is_dir():
            return []
        return numbers(path.name for path in self._base.iterdir() if path.is_dir())

    def text(self, path: str) -> bytes | None:
        """See `StoreLocation`."""
        try:
            return (self._root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise MachineError(Problem(self._root / path, f"cannot be read: {error.strerror}")) from error

    @contextmanager
    def staged(self, saved_model: Path, texts: Mapping[str, str]) -> Iterator[str]:
        """See `StoreLocation`."""
        staging = self._base / f"{STAGING}{uuid.uuid4().hex}"
        with disk.environment(self._root):
            self._base.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copytree(saved_model, staging)
                for name, text in texts.items():
                    disk.write_text(staging / name, text)
                disk.sync_tree(staging)
                yield staging.name
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """See `StoreLocation`."""
        yield self._base / name

    def commit(self, staging: str) -> int:
        """See `StoreLocation`."""
        number = max(self.versions(), default=0) + 1
        while not disk.rename_new(self._base / staging, self._base / str(number)):
            number += 1
        disk.sync(self._base)
        return number

    def delete(self, number: int) -> None:
        """See `StoreLocation`."""
        aside = self._base / f"{WITHDRAWN}{number}-{uuid.uuid4().hex}"
        with disk.environment(self._root):
            (self._base / str(number)).rename(aside)
            disk.sync(self._base)
            shutil.rmtree(aside)

    def sweep(self) -> None:
        """See `StoreLocation`."""
        with disk.environment(self._root):
            for path in self._base.glob(f"{WITHDRAWN}*"):
                shutil.rmtree(path)
            for path in self._base.glob(f"{STAGING}*"):
                if time.time() - path.stat().st_mtime > ABANDONED_S:
                    shutil.rmtree(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """See `StoreLocation`."""
        if not self._root.is_dir():
            yield
            return
        with disk.locked(self._root):
            yield

    def read_labels(self) -> tuple[str | None, int]:
        """See `StoreLocation`; `locked` makes revisions unnecessary."""
        text = self.text(LABELS)
        return None if text is None else text.decode("utf-8", "replace"), 0

    def write_labels(self, text: str, revision: int) -> bool:
        """See `StoreLocation`."""
        with disk.environment(self._root):
            disk.write_text(self._root / LABELS, text)
            disk.sync(self._root)
        return True
