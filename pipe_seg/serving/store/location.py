"""What a store has to be able to do, whatever it lies on."""

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

    ``name`` is what people are told, ``base`` where the versions lie, as TF Serving is told; in a ``near`` one reading
    a version fetches nothing.
    """

    name: str
    base: str
    near = False
    model = MODEL_NAME

    def named(self, number: int) -> str:
        """Give the name of a version for people."""
        return f"{self.name}/{self.model}/{number}"

    @abstractmethod
    def versions(self) -> list[int]:
        """Give the numbers of whole versions, ascending, by the names TF Serving reads."""

    @abstractmethod
    def text(self, path: str) -> bytes | None:
        """Give a small file of the store by its path in it; None where there is none."""

    @abstractmethod
    def staged(self, saved_model: Path, texts: Mapping[str, str]) -> AbstractContextManager[str]:
        """Copy a SavedModel and texts under a name nobody reads, which is given and removed in the end."""

    @abstractmethod
    def fetched(self, name: str) -> AbstractContextManager[Path]:
        """Give a folder with the files of a version or of what was staged."""

    @abstractmethod
    def claim(self, staging: str) -> int:
        """Make a version of what was staged, of the next free number; who loses a race takes the one after."""

    @abstractmethod
    def withdraw(self, number: int) -> None:
        """Remove a version; from the first moment on nobody takes it for one."""

    @abstractmethod
    def sweep(self) -> None:
        """Remove what withdrawals and uploads left that were killed long ago."""

    @abstractmethod
    def held(self) -> AbstractContextManager[None]:
        """Keep others from moving labels meanwhile, where that can be done."""

    @abstractmethod
    def labels(self) -> tuple[str | None, int]:
        """Give the text of ``models.config``, None where there is none, and its revision."""

    @abstractmethod
    def relabel(self, text: str, revision: int) -> bool:
        """Write ``models.config`` if it still has that revision; say whether it had."""


def numbers(names: Iterable[str]) -> list[int]:
    """Give those of ``names`` that TF Serving takes for versions, ascending."""
    return sorted(int(name) for name in names if VERSION.fullmatch(name))
