"""Which versions are loaded, and which one a name means; looked up in the store again and again.

Wanted is what ``models.config`` labels; where nothing is labelled, the newest version. A version that was wanted stays
until all that is wanted now answers, and a label goes on meaning the version it meant until its new one answers. A
store that is gone takes nothing with it.
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
    """Where a version stands; ``error`` says why it ended."""

    state: State
    error: str = ""


@dataclass(frozen=True)
class _Failure:
    seen: str
    at_s: float
    error: str


class Versions:
    """The versions of one store."""

    def __init__(self, place: StoreLocation, engine: engines.Engine, say: Callable[[str], None]) -> None:
        """Begin with nothing loaded; ``refresh`` loads."""
        self._place, self._engine, self._say = place, engine, say
        self._named: dict[str, int] = {}
        self._loaded: dict[int, Servable] = {}
        self._labels: dict[str, int] = {}
        self._status: dict[int, Status] = {}
        self._failures: dict[int, _Failure] = {}
        self._thread = ThreadPoolExecutor(1, "load")

    @property
    def ready(self) -> bool:
        """Whether anything answers."""
        return bool(self._loaded)

    @property
    def labels(self) -> dict[str, int]:
        """What each label means at present."""
        return dict(self._labels)

    @property
    def status(self) -> dict[int, Status]:
        """Every version that was wanted, by number."""
        return dict(sorted(self._status.items()))

    def find(self, number: int | None = None, label: str | None = None) -> Servable:
        """Give the version a request names: by number, by label; without either ``stable``, else the newest.

        Raises:
            Refusal: it is not here, or nothing is.
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
        if version_labels.STABLE in self._named or not self._loaded:
            raise unavailable("no version of the model answers yet")
        return self._loaded[max(self._loaded)]

    async def watch(self, poll_s: float) -> None:
        """Look at the store every ``poll_s``, for ever."""
        while True:
            try:
                await self.refresh()
            except Exception as error:  # whatever the store does, what is loaded goes on
                told = error.lines()[0] if isinstance(error, PipeSegError) else f"{type(error).__name__}: {error}"
                self._say(f"the store cannot be read: {told}")
            await asyncio.sleep(poll_s)

    async def refresh(self) -> None:
        """Load what is wanted now and let go of what is not.

        Raises:
            PipeSegError: the store cannot be read; what is loaded stays.
        """
        run = asyncio.get_running_loop().run_in_executor
        named, wanted = await run(self._thread, self._wanted)
        if wanted:
            self._named = named
        for number in sorted(wanted - set(self._loaded)):
            self._status.setdefault(number, Status("LOADING"))
            status, servable = await run(self._thread, self._opened, number)
            if status:
                self._status[number] = status
            if servable:
                self._loaded[number] = servable
                self._relabel(named)
                self._say(f"version {number} answers ({servable.engine})")
        if wanted:
            self._relabel(named)
        if wanted and wanted <= set(self._loaded):
            self._let_go(wanted | set(self._labels.values()))

    def _relabel(self, named: dict[str, int]) -> None:
        """Let labels mean what they are to mean, as far as that answers; else what they meant."""
        kept = {name: number for name, number in self._labels.items() if name in named}
        self._labels = kept | {name: number for name, number in named.items() if number in self._loaded}

    def _wanted(self) -> tuple[dict[str, int], set[int]]:
        named = version_labels.read(self._place)
        if named:
            return named, set(named.values())
        numbers = self._place.versions()
        return {}, {max(numbers)} if numbers else set()

    def _opened(self, number: int) -> tuple[Status | None, Servable | None]:
        """Try to load a version, unless it is known to fail as it is."""
        try:
            if number in self._failures and not self._worth_trying(number):
                return None, None
            servable = open_version(self._place, number, self._engine)
        except PipeSegError as error:
            return self._failed(number, "; ".join(error.lines()[:3]), _public(error)), None
        except Exception as error:  # a graph may fail in any way; the versions before it go on
            first = (str(error).splitlines() or [""])[0][:200]
            return self._failed(number, f"{type(error).__name__}: {first}", _public(error)), None
        self._failures.pop(number, None)
        return Status("AVAILABLE"), servable

    def _worth_trying(self, number: int) -> bool:
        """Say whether a version that failed may do better: its files changed, or it failed long ago."""
        failure = self._failures[number]
        if time.monotonic() - failure.at_s > RETRY_S:
            return True
        return self._place.near and self._seen(number) != failure.seen

    def _failed(self, number: int, error: str, told: str) -> Status:
        before = self._failures.get(number)
        if before is None or before.error != error:
            self._say(f"version {number} is not served: {error}")
        self._failures[number] = _Failure(self._seen(number) if self._place.near else "", time.monotonic(), error)
        return Status("END", told)

    def _seen(self, number: int) -> str:
        """Give what tells one state of a version from another."""
        try:
            with self._place.fetched(str(number)) as folder:
                return str(disk.digest_tree(folder))
        except (PipeSegError, OSError) as error:
            return str(error)

    def _let_go(self, needed: set[int]) -> None:
        for number in set(self._loaded) - needed:
            del self._loaded[number]
            self._status[number] = Status("END")
            self._say(f"version {number} is let go")
        for number in [number for number, status in self._status.items() if number not in needed and status.error]:
            del self._status[number]


def _public(error: Exception) -> str:
    """Give what a client may know of a failure: which file, what is wrong, but no path of this machine."""
    if not isinstance(error, RefusedError):
        return "cannot be read or loaded; the server's log says why"
    problems = [problem for problem in error.problems[:3] if isinstance(problem, Problem)]
    return "; ".join(f"{PurePath(str(problem.path)).name}: {problem.what}" for problem in problems)
