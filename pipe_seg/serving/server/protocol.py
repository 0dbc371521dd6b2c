"""HTTP/1.1 as strict as we need it, on uvicorn and h11: nonsense, too much and too slow are answered and cut off."""

import asyncio
import re
import sys
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_HEADERS = 100
MOST_CHUNKS = 65_536
HEADER_BYTES = 65_536
FOLDED = re.compile(rb"\r?\n[ \t][^\r\n]*\S")
PHRASES = {
    400: b"Bad Request",
    408: b"Request Timeout",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
}


class Strict(h11.Connection):
    """A connection that refuses what h11 lets pass: too many headers or chunks, folded headers, two lengths."""

    chunks = 0

    def next_event(self) -> Any:
        """Give h11's next event.

        Raises:
            h11.RemoteProtocolError: with the status in ``error_status_hint``.
        """
        if self.their_state is h11.IDLE:
            head = self.trailing_data[0].partition(b"\r\n\r\n")[0]
            if FOLDED.search(head):
                raise h11.RemoteProtocolError("a header over several lines")
        event = super().next_event()
        if isinstance(event, h11.Request):
            self.chunks = 0
            self._check(event)
        if isinstance(event, h11.Data):
            self.chunks += event.chunk_start
            if self.chunks > MOST_CHUNKS:
                raise h11.RemoteProtocolError("too many chunks", error_status_hint=413)
        return event

    def _check(self, request: h11.Request) -> None:
        names = [name for name, _ in request.headers]
        size = len(request.target) + sum(len(name) + len(value) for name, value in request.headers)
        if len(names) > MOST_HEADERS or size > HEADER_BYTES:
            raise h11.RemoteProtocolError("too many headers", error_status_hint=431)
        if b"transfer-encoding" in names and b"content-length" in names:
            raise h11.RemoteProtocolError("a length and chunks")
        if request.http_version not in (b"1.0", b"1.1"):
            raise h11.RemoteProtocolError("not HTTP/1.1")


class Protocol(H11Protocol):
    """uvicorn's connection with a time limit on headers, and the exact status for what is refused."""

    header_timeout_s = 10.0
    most_connections = 1000
    stuck_s = 15.0

    def __init__(self, *args: Any, **keywords: Any) -> None:
        """Take what uvicorn gives."""
        super().__init__(*args, **keywords)
        self.conn = Strict(h11.SERVER, HEADER_BYTES)
        self._deadline: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None
        self._was_stuck = False

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for headers."""
        super().connection_made(transport)
        self._look = self.loop.call_later(self.stuck_s, self._looked_at)
        if len(self.connections) > self.most_connections:
            self._refuse(503, "too many connections")
            return
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Read; whoever has begun with headers has to come to an end with them."""
        if self._deadline is None and self.conn.their_state is h11.IDLE:
            self._expect()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._relax()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._relax()
        if self._look:
            self._look.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read with the status that says why."""
        error = sys.exception()
        self._refuse(error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400, msg)

    def _looked_at(self) -> None:
        """Cut off who, for two looks, takes no answer or goes on sending after it."""
        states = (self.conn.our_state, self.conn.their_state)
        unread = states[0] in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED) and states[1] is h11.SEND_BODY
        stuck = self.transport.is_closing() or self.flow.write_paused or unread
        if stuck and self._was_stuck:
            self.transport.abort()
            return
        self._was_stuck = stuck
        self._look = self.loop.call_later(self.stuck_s, self._looked_at)

    def _expect(self) -> None:
        self._deadline = self.loop.call_later(self.header_timeout_s, self._too_slow)

    def _relax(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self._refuse(408, "no request in time")

    def _refuse(self, status: int, message: str) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            if self.cycle.response_started:
                self.transport.close()
                return
            self.cycle.response_started = self.cycle.response_complete = self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = b'{"error": "%s"}' % message.encode("ascii", "replace").replace(b'"', b"'")
        again = b"retry-after: 2\r\n" if status == 503 else b""
        head = b"HTTP/1.1 %d %s\r\n%scontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, PHRASES.get(status, b"Refused"), again, len(body)) + body)
        self.transport.close()
