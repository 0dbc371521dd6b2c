"""A strict HTTP/1.1 protocol on uvicorn and h11: refuses malformed, oversized and slow requests."""

import asyncio
import re
import sys
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_HEADERS = 100
MAX_CHUNKS = 65_536
HEADER_BYTES = 65_536
FOLDED = re.compile(rb"\r?\n[ \t][^\r\n]*\S")
PHRASES = {
    400: b"Bad Request",
    408: b"Request Timeout",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
}


class Strict(h11.Connection):
    """An h11 connection that also refuses folded headers, too many headers or chunks, and two lengths."""

    chunks = 0

    def next_event(self) -> Any:
        """Returns the next event of h11.

        Raises:
            h11.RemoteProtocolError: The request is refused; `error_status_hint` holds the status.
        """
        if self.their_state is h11.IDLE:
            head = self.trailing_data[0].partition(b"\r\n\r\n")[0]
            if FOLDED.search(head):
                raise h11.RemoteProtocolError("folded header")
        event = super().next_event()
        if isinstance(event, h11.Request):
            self.chunks = 0
            self._check(event)
        if isinstance(event, h11.Data):
            self.chunks += event.chunk_start
            if self.chunks > MAX_CHUNKS:
                raise h11.RemoteProtocolError("too many chunks", error_status_hint=413)
        return event

    def _check(self, request: h11.Request) -> None:
        names = [name for name, _ in request.headers]
        size = len(request.target) + sum(len(name) + len(value) for name, value in request.headers)
        if len(names) > MAX_HEADERS or size > HEADER_BYTES:
            raise h11.RemoteProtocolError("too many headers", error_status_hint=431)
        if b"transfer-encoding" in names and b"content-length" in names:
            raise h11.RemoteProtocolError("both Content-Length and Transfer-Encoding")
        if request.http_version not in (b"1.0", b"1.1"):
            raise h11.RemoteProtocolError("not HTTP/1.1")


class Protocol(H11Protocol):
    """uvicorn's HTTP protocol with a time limit on headers and a specific status for each refusal."""

    header_timeout_s = 10.0
    max_connections = 1000
    stall_check_s = 15.0

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.conn = Strict(h11.SERVER, HEADER_BYTES)
        self._header_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._was_stalled = False

    def connection_made(self, transport: Any) -> None:
        """Starts the header timeout, or refuses the connection if there are too many."""
        super().connection_made(transport)
        self._stall_timer = self.loop.call_later(self.stall_check_s, self._check_stalled)
        if len(self.connections) > self.max_connections:
            self._refuse(503, "too many connections")
            return
        self._start_header_timeout()

    def data_received(self, data: bytes) -> None:
        """Reads data; the header timeout runs until the headers are complete."""
        if self._header_timer is None and self.conn.their_state is h11.IDLE:
            self._start_header_timeout()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._cancel_header_timeout()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancels the timers."""
        self._cancel_header_timeout()
        if self._stall_timer:
            self._stall_timer.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuses a malformed request with the status that h11 suggests."""
        error = sys.exception()
        self._refuse(error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400, msg)

    def _check_stalled(self) -> None:
        """Aborts a client that, in two checks in a row, reads no response or keeps sending after it."""
        states = (self.conn.our_state, self.conn.their_state)
        unread = states[0] in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED) and states[1] is h11.SEND_BODY
        stalled = self.transport.is_closing() or self.flow.write_paused or unread
        if stalled and self._was_stalled:
            self.transport.abort()
            return
        self._was_stalled = stalled
        self._stall_timer = self.loop.call_later(self.stall_check_s, self._check_stalled)

    def _start_header_timeout(self) -> None:
        self._header_timer = self.loop.call_later(self.header_timeout_s, self._header_timed_out)

    def _cancel_header_timeout(self) -> None:
        if self._header_timer:
            self._header_timer.cancel()
            self._header_timer = None

    def _header_timed_out(self) -> None:
        self._header_timer = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self._refuse(408, "the request headers did not arrive in time")

    def _refuse(self, status: int, message: str) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            if self.cycle.response_started:
                self.transport.close()
                return
            self.cycle.response_started = self.cycle.response_complete = self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = b'{"error": "%s"}' % message.encode("ascii", "replace").replace(b'"', b"'")
        retry = b"retry-after: 2\r\n" if status == 503 else b""
        head = b"HTTP/1.1 %d %s\r\n%scontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, PHRASES.get(status, b"Refused"), retry, len(body)) + body)
        self.transport.close()
