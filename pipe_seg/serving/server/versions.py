"""Loads and unloads versions as the store changes, and resolves version numbers and labels.

The target is every version that `models.config` labels; without labels, the newest version. A loaded version stays
until all target versions are available. A label keeps its version until the new one is available. If the store becomes
unreachable, the loaded versions stay.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from pipe_seg import disk
from pipe_seg.errors import PipeSegError, Problem, RefusedError
from pipe_seg.inference import engines
from pipe_seg.serving.server.refusals import bad, missing, unavailable
from pipe_seg.serving.server.servable import Servable, open_version
from pipe_seg.serving.store import version_labels
from pipe_seg.serving.store.location import StoreLocation

State = Literal["LOADING", "AVAILABLE", "END"]
RETRY_S = 60.0


@dataclass(frozen=True)
class Status:
    """State of a version; `error` is why it could not be loaded."""

    state: State
    error: str = ""


@dataclass(frozen=True)
class _Failure:
    fingerprint: str
    at_s: float
    error: str


class Versions:
    """The versions of one store; `refresh` loads them.

    Args:
        location: The store.
        engine: The configured runtime.
        log: Called with each log line.
    """

    def __init__(self, location: StoreLocation, engine: engines.Engine, log: Callable[[str], None]) -> None:
        self._location, self._engine, self._log = location, engine, log
        self._target_labels: dict[str, int] = {}
        self._loaded: dict[int, Servable] = {}
        self._labels: dict[str, int] = {}
        self._status: dict[int, Status] = {}
        self._failures: dict[int, _Failure] = {}
        self._thread = ThreadPoolExecutor(1, "load")

    @property
    def ready(self) -> bool:
        """Whether any version is loaded."""
        return bool(self._loaded)

    @property
    def labels(self) -> dict[str, int]:
        """The current version of each label."""
        return dict(self._labels)

    @property
    def status(self) -> dict[int, Status]:
        """State of every target version, by number."""
        return dict(sorted(self._status.items()))

    def find(self, number: int | None = None, label: str | None = None) -> Servable:
        """Returns the version with this number or label; without either, `stable`, else the newest.

        Raises:
            Refusal: The version or label is unknown, or no version is loaded.
        """
        if label is not None:
            if label not in self._labels:
                raise bad(f"Unrecognized servable version label: {label[:80]}")
            return self._loaded[self._labels[label]]
        if number is not None:
            if number not in self._loaded:
                raise missing(f"Servable not found for request: Specific(pipe_seg, {number})")
            return self._loaded[number]
        if version_labels.STABLE in self._labels:
            return self._loaded[self._labels[version_labels.STABLE]]
        if version_labels.STABLE in self._target_labels or not self._loaded:
            raise unavailable("no version of the model is available yet")
        return self._loaded[max(self._loaded)]

    async def watch(self, poll_s: float) -> None:
        """Refreshes every `poll_s` seconds until cancelled."""
        while True:
            try:
                await self.refresh()
            except Exception as error:  # the loaded versions stay whatever the store does
                cause = error.lines()[0] if isinstance(error, PipeSegError) else f"{type(error).__name__}: {error}"
                self._log(f"the store cannot be read: {cause}")
            await asyncio.sleep(poll_s)

    async def refresh(self) -> None:
        """Loads the target versions and unloads the others.

        Raises:
            PipeSegError: The store cannot be read; the loaded versions stay.
        """
        run = asyncio.get_running_loop().run_in_executor
        labels, target = await run(self._thread, self._read_target)
        if target:
            self._target_labels = labels
        for number in sorted(target - set(self._loaded)):
            self._status.setdefault(number, Status("LOADING"))
            status, servable = await run(self._thread, self._load, number)
            if status:
                self._status[number] = status
            if servable:
                self._loaded[number] = servable
                self._relabel(labels)
                self._log(f"version {number} is available ({servable.engine})")
        if target:
            self._relabel(labels)
        if target and target <= set(self._loaded):
            self._unload(target | set(self._labels.values()))

    def _relabel(self, labels: dict[str, int]) -> None:
        """Moves each label to its new version if that is loaded; otherwise the label keeps its version."""
        kept = {name: number for name, number in self._labels.items() if name in labels}
        self._labels = kept | {name: number for name, number in labels.items() if number in self._loaded}

    def _read_target(self) -> tuple[dict[str, int], set[int]]:
        labels = version_labels.read(self._location)
        if labels:
            return labels, set(labels.values())
        numbers = self._location.versions()
        return {}, {max(numbers)} if numbers else set()

    def _load(self, number: int) -> tuple[Status | None, Servable | None]:
        """Loads a version, unless it failed before and has not changed since."""
        try:
            if number in self._failures and not self._should_retry(number):
                return None, None
            servable = open_version(self._location, number, self._engine)
        except PipeSegError as error:
            return self._failed(number, "; ".join(error.lines()[:3]), _public(error)), None
        except Exception as error:  # a graph may fail in any way; the other versions stay
            first = (str(error).splitlines() or [""])[0][:200]
            return self._failed(number, f"{type(error).__name__}: {first}", _public(error)), None
        self._failures.pop(number, None)
        return Status("AVAILABLE"), servable

    def _should_retry(self, number: int) -> bool:
        """Returns whether to load a failed version again: its files changed, or `RETRY_S` have passed."""
        failure = self._failures[number]
        if time.monotonic() - failure.at_s > RETRY_S:
            return True
        return self._location.is_local and self._fingerprint(number) != failure.fingerprint

    def _failed(self, number: int, error: str, public: str) -> Status:
        before = self._failures.get(number)
        if before is None or before.error != error:
            self._log(f"version {number} is not served: {error}")
        fingerprint = self._fingerprint(number) if self._location.is_local else ""
        self._failures[number] = _Failure(fingerprint, time.monotonic(), error)
        return Status("END", public)

    def _fingerprint(self, number: int) -> str:
        """Returns a digest of a version's files, or the error that reading them raises."""
        try:
            with self._location.fetched(str(number)) as folder:
                return str(disk.digest_tree(folder))
        except (PipeSegError, OSError) as error:
            return str(error)

    def _unload(self, needed: set[int]) -> None:
        for number in set(self._loaded) - needed:
            del self._loaded[number]
            self._status[number] = Status("END")
            self._log(f"version {number} is unloaded")
        for number in [number for number, status in self._status.items() if number not in needed and status.error]:
            del self._status[number]


def _public(error: Exception) -> str:
    """Returns the cause of a failure for clients: file name and fault, without paths of this machine."""
    if not isinstance(error, RefusedError):
        return "cannot be read or loaded; see the server log"
    problems = [problem for problem in error.problems[:3] if isinstance(problem, Problem)]
    return "; ".join(f"{PurePath(str(problem.path)).name}: {problem.what}" for problem in problems)
