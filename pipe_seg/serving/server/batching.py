"""Frames that wait for the model, answered together: what came while the last batch ran makes the next one."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pipe_seg.serving.server.refusals import Refusal, busy, late, unavailable
from pipe_seg.serving.server.servable import Answer, Servable


@dataclass
class _Waiting:
    servable: Servable
    frames: Sequence[bytes] | None
    work: Callable[[], Any] | None
    answer: "asyncio.Future[Any]" = field(compare=False)

    @property
    def size(self) -> int:
        return len(self.frames) if self.frames else 1


class Batcher:
    """One thread that asks the model, and who waits for it.

    Args:
        batch_frames: at most so many frames of several requests are answered together.
        queue_requests: at most so many requests wait.
        timeout_s: nobody waits longer.
        tell: called with the size of every batch.
    """

    def __init__(self, batch_frames: int, queue_requests: int, timeout_s: float, tell: Callable[[int], None]) -> None:
        """Begin with an empty queue; ``run`` has to be running for anybody to be answered."""
        self._batch_frames, self._queue_requests, self._timeout_s = batch_frames, queue_requests, timeout_s
        self._tell = tell
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "model")
        self._running = True

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    async def frames(self, servable: Servable, frames: Sequence[bytes]) -> list[Answer]:
        """Answer encoded frames, together with those of others.

        Raises:
            Refusal: a frame cannot be decoded, too many wait, or it took too long.
        """
        answers = await self._ask(servable, frames, None)
        for answer in answers:
            if isinstance(answer, Refusal):
                raise answer
        return list(answers)

    async def alone(self, servable: Servable, work: Callable[[], Any]) -> Any:
        """Do ``work``, which asks ``servable``, when its turn comes."""
        return await self._ask(servable, None, work)

    async def run(self) -> None:
        """Answer until ``close``; what waits then is answered first."""
        loop = asyncio.get_running_loop()
        while self._running or self._waiting:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            batch = self._next()
            if not batch:
                continue
            self._tell(sum(waiting.size for waiting in batch))
            try:
                answers = await loop.run_in_executor(self._thread, _answers, batch, self._batch_frames)
            except Exception as error:
                answers = [error] * len(batch)
            for waiting, answer in zip(batch, answers, strict=True):
                _give(waiting.answer, answer)
        self._thread.shutdown(wait=False)

    def close(self) -> None:
        """Take nobody in any more."""
        self._running = False
        self._arrived.set()

    def give_up(self) -> None:
        """Send away all who wait."""
        while self._waiting:
            _give(self._waiting.popleft().answer, unavailable("the server is shutting down"))

    async def _ask(self, servable: Servable, frames: Sequence[bytes] | None, work: Callable[[], Any] | None) -> Any:
        if not self._running:
            raise unavailable("the server is shutting down")
        if len(self._waiting) >= self._queue_requests:
            raise busy("too many requests wait for the model")
        waiting = _Waiting(servable, frames, work, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await waiting.answer
        except TimeoutError:
            raise late() from None

    def _next(self) -> list[_Waiting]:
        """Take from the queue what can be answered together, and leave out who waits no longer."""
        batch: list[_Waiting] = []
        while self._waiting:
            first = self._waiting[0]
            if first.answer.done():
                self._waiting.popleft()
                continue
            fits = first.frames and sum(other.size for other in batch) + first.size <= self._batch_frames
            alike = not batch or (batch[0].frames and fits and batch[0].servable is first.servable)
            if not alike:
                break
            batch.append(self._waiting.popleft())
            if not first.frames:
                break
        return batch


def _answers(batch: Sequence[_Waiting], most: int) -> list[Any]:
    """Ask the model, for at most so many frames at once; runs in its thread."""
    first = batch[0]
    if first.work:
        return [first.work()]
    frames = [frame for waiting in batch for frame in waiting.frames or ()]
    found = [answer for part in batched(frames, most) for answer in first.servable.frames(part)]
    shares = []
    for waiting in batch:
        shares.append(found[: waiting.size])
        found = found[waiting.size :]
    return shares


def batched(frames: Sequence[bytes], most: int) -> Iterator[Sequence[bytes]]:
    """Give ``frames`` in parts of ``most`` or fewer."""
    for start in range(0, len(frames), most):
        yield frames[start : start + most]


def _give(answer: "asyncio.Future[Any]", value: Any) -> None:
    if answer.done():
        return
    if isinstance(value, Exception):
        answer.set_exception(value)
    else:
        answer.set_result(value)
