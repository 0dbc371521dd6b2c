"""The interface of a model store, and the names of the files in it."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from pipe_seg.schema import MODEL_NAME

MANIFEST = "manifest.json"
GRAPH = "saved_model.pb"
LABELS = "models.config"
STAGING = ".staging-"
WITHDRAWN = ".withdrawn-"
VERSION = re.compile(r"[1-9][0-9]{0,17}")


class StoreLocation(ABC):
    """A store.

    Attributes:
        name: The store's name in messages.
        base: Folder of the versions, TF Serving's `base_path`.
        is_local: Whether versions are read in place, without a download.
        model: Name of the model.
    """

    name: str
    base: str
    is_local = False
    model = MODEL_NAME

    def named(self, number: int) -> str:
        """Returns the name of a version for messages."""
        return f"{self.name}/{self.model}/{number}"

    @abstractmethod
    def versions(self) -> list[int]:
        """Returns the numbers of complete versions, ascending; names are those that TF Serving reads."""

    @abstractmethod
    def text(self, path: str) -> bytes | None:
        """Returns the contents of a small file, by its path in the store; None if there is no such file."""

    @abstractmethod
    def staged(self, saved_model: Path, texts: Mapping[str, str]) -> AbstractContextManager[str]:
        """Copies a SavedModel and texts under a hidden name; yields the name and finally removes the copy."""

    @abstractmethod
    def fetched(self, name: str) -> AbstractContextManager[Path]:
        """Yields a local folder with the files of a version or of a staged copy."""

    @abstractmethod
    def commit(self, staging: str) -> int:
        """Makes a staged copy the version with the next free number, and returns the number."""

    @abstractmethod
    def delete(self, number: int) -> None:
        """Deletes a version; readers stop seeing it before the first file is removed."""

    @abstractmethod
    def sweep(self) -> None:
        """Removes the remains of interrupted deletions and uploads."""

    @abstractmethod
    def locked(self) -> AbstractContextManager[None]:
        """Locks the labels against other writers, if the store supports locks."""

    @abstractmethod
    def read_labels(self) -> tuple[str | None, int]:
        """Returns the text of `models.config`, None if there is none, and its revision."""

    @abstractmethod
    def write_labels(self, text: str, revision: int) -> bool:
        """Writes `models.config` if its revision is still `revision`; returns whether it was."""


def numbers(names: Iterable[str]) -> list[int]:
    """Returns the numbers of the `names` that TF Serving reads as versions, ascending."""
    return sorted(int(name) for name in names if VERSION.fullmatch(name))
