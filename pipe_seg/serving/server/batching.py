"""Dynamic batching: the requests that arrive while one batch runs form the next one."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pipe_seg.serving.server.refusals import Refusal, busy, late, unavailable
from pipe_seg.serving.server.servable import Answer, Servable


@dataclass
class _QueuedRequest:
    servable: Servable
    frames: Sequence[bytes] | None
    work: Callable[[], Any] | None
    result: "asyncio.Future[Any]" = field(compare=False)

    @property
    def size(self) -> int:
        return len(self.frames) if self.frames else 1


class Batcher:
    """A queue of requests and the one thread that runs the model; requests wait until `run` is running.

    Args:
        batch_frames: Maximum number of frames in a batch.
        queue_requests: Maximum number of queued requests.
        timeout_s: Maximum time that a request waits for its result.
        on_batch: Called with the number of frames of every batch.
    """

    def __init__(
        self, batch_frames: int, queue_requests: int, timeout_s: float, on_batch: Callable[[int], None]
    ) -> None:
        self._batch_frames, self._queue_requests = batch_frames, queue_requests
        self._timeout_s, self._on_batch = timeout_s, on_batch
        self._queue: deque[_QueuedRequest] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "model")
        self._running = True

    @property
    def queue_length(self) -> int:
        """Number of queued requests."""
        return len(self._queue)

    async def frames(self, servable: Servable, frames: Sequence[bytes]) -> list[Answer]:
        """Returns the predictions for encoded frames, batched with those of other requests.

        Raises:
            Refusal: A frame cannot be decoded, the queue is full, or the timeout has passed.
        """
        answers = await self._enqueue(servable, frames, None)
        for answer in answers:
            if isinstance(answer, Refusal):
                raise answer
        return list(answers)

    async def run_alone(self, servable: Servable, work: Callable[[], Any]) -> Any:
        """Returns the result of `work`, which runs `servable` and is not batched."""
        return await self._enqueue(servable, None, work)

    async def run(self) -> None:
        """Runs batches until `close`; requests that are queued by then are still answered."""
        loop = asyncio.get_running_loop()
        while self._running or self._queue:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            batch = self._next()
            if not batch:
                continue
            self._on_batch(sum(request.size for request in batch))
            try:
                results = await loop.run_in_executor(self._thread, _run_batch, batch, self._batch_frames)
            except Exception as error:
                results = [error] * len(batch)
            for request, result in zip(batch, results, strict=True):
                _resolve(request.result, result)
        self._thread.shutdown(wait=False)

    def close(self) -> None:
        """Refuses new requests."""
        self._running = False
        self._arrived.set()

    def refuse_queued(self) -> None:
        """Refuses all queued requests."""
        while self._queue:
            _resolve(self._queue.popleft().result, unavailable("the server is shutting down"))

    async def _enqueue(self, servable: Servable, frames: Sequence[bytes] | None, work: Callable[[], Any] | None) -> Any:
        if not self._running:
            raise unavailable("the server is shutting down")
        if len(self._queue) >= self._queue_requests:
            raise busy("the queue is full")
        request = _QueuedRequest(servable, frames, work, asyncio.get_running_loop().create_future())
        self._queue.append(request)
        self._arrived.set()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await request.result
        except TimeoutError:
            raise late() from None

    def _next(self) -> list[_QueuedRequest]:
        """Takes the next batch from the queue and drops requests that timed out."""
        batch: list[_QueuedRequest] = []
        while self._queue:
            first = self._queue[0]
            if first.result.done():
                self._queue.popleft()
                continue
            fits = first.frames and sum(other.size for other in batch) + first.size <= self._batch_frames
            joins = not batch or (batch[0].frames and fits and batch[0].servable is first.servable)
            if not joins:
                break
            batch.append(self._queue.popleft())
            if not first.frames:
                break
        return batch


def _run_batch(batch: Sequence[_QueuedRequest], batch_frames: int) -> list[Any]:
    """Runs the model in its thread, on at most `batch_frames` frames at once."""
    first = batch[0]
    if first.work:
        return [first.work()]
    frames = [frame for request in batch for frame in request.frames or ()]
    answers = [answer for part in batched(frames, batch_frames) for answer in first.servable.frames(part)]
    results = []
    for request in batch:
        results.append(answers[: request.size])
        answers = answers[request.size :]
    return results


def batched(frames: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    """Yields `frames` in parts of at most `size`."""
    for start in range(0, len(frames), size):
        yield frames[start : start + size]


def _resolve(future: "asyncio.Future[Any]", result: Any) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
