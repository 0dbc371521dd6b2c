"""Who may ask, and how much: names, origins, tokens, lengths and times, before any of our own code reads a request."""

import asyncio
import hmac
import ipaddress
import socket
import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import pydantic_core

from pipe_seg.serving.server.refusals import Refusal, bad, too_large

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/page/", "/healthz", "/readyz")
LOCAL = ("localhost", "127.0.0.1", "::1")
LINGER_S = 2.0
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (
        b"content-security-policy",
        b"default-src 'self'; media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'",
    ),
)


class RequestGuard:
    """An ASGI application around another.

    Args:
        app: what is behind it; ``scope["state"]["body"]`` holds the whole body of a POST.
        hosts: names this server goes by, beside those of this machine's loopback and the address that was asked.
        token: what ``Authorization: Bearer …`` has to hold; None where nobody is asked for it.
        most_bytes: the largest body, packed or not.
        body_timeout_s: how long a body may take.
        refused: called with the status of each refusal.
    """

    def __init__(
        self,
        app: App,
        *,
        hosts: Iterable[str],
        token: str | None,
        most_bytes: int,
        body_timeout_s: float,
        refused: Callable[[int], None],
    ) -> None:
        """Stand before ``app``."""
        self._app, self._hosts = app, {*LOCAL, *(host.lower() for host in hosts)}
        self._token, self._most_bytes, self._body_timeout_s = token, most_bytes, body_timeout_s
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
            await send(message)

        try:
            headers = _single(scope["headers"])
            self._admit(scope, headers)
            if scope["method"] == "POST":
                scope.setdefault("state", {})["body"] = await self._body(headers, receive)
            elif headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
                raise bad("only POST has a body")
            await self._app(scope, receive, guarded)
        except Refusal as refusal:
            self._refused(refusal.status)
            unread = "body" not in scope.get("state", {})
            await _refuse(refusal, receive if unread else None, guarded)

    def _admit(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        host = _host(headers.get(b"host"))
        if host not in self._hosts and not _is_address(host, scope.get("server")):
            raise Refusal(HTTPStatus.FORBIDDEN, "this server does not go by that name (Host)")
        origin = headers.get(b"origin")
        if origin is not None and origin.lower().partition(b"://")[2] != headers[b"host"].lower():
            raise Refusal(HTTPStatus.FORBIDDEN, "asked from another site (Origin)")
        followed = scope["path"] == "/" and headers.get(b"sec-fetch-mode") == b"navigate"  # a link to the page
        if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin") and not followed:
            raise Refusal(HTTPStatus.FORBIDDEN, "asked from another site (Sec-Fetch-Site)")
        if scope["method"] not in ("GET", "HEAD", "POST"):
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and POST")
        is_open = scope["path"] == "/" or scope["path"].startswith(OPEN)
        if self._token is not None and not is_open and not allowed(headers.get(b"authorization"), self._token):
            raise Refusal(HTTPStatus.UNAUTHORIZED, "a token is needed: Authorization: Bearer …")

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """Give the whole body, unpacked.

        Raises:
            Refusal: it is too large, too slow, or packed in an unknown way.
        """
        encoding = headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding not in (b"identity", b"gzip"):
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding: only gzip")
        if int(headers.get(b"content-length", b"0")) > self._most_bytes:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(self._body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise bad("the request ended early")  # nobody is left to read this
                    body += message.get("body", b"")
                    if len(body) > self._most_bytes:
                        raise self._too_large()
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "the request's body did not come in time") from None
        if encoding == b"gzip":
            return await asyncio.to_thread(self._unpacked, bytes(body))
        return bytes(body)

    def _unpacked(self, body: bytes) -> bytes:
        unpacking = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            data = unpacking.decompress(body, self._most_bytes + 1)
        except zlib.error as error:
            raise bad("the body is not gzip") from error
        if len(data) > self._most_bytes:
            raise self._too_large()
        if not unpacking.eof:
            raise bad("the body is not whole gzip")
        return data

    def _too_large(self) -> Refusal:
        return too_large(f"a request of more than {self._most_bytes} bytes")


def allowed(authorization: bytes | None, token: str) -> bool:
    """Say whether a header holds the token; takes the same time whatever it holds."""
    return hmac.compare_digest(authorization or b"", b"Bearer " + token.encode())


def _single(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Give headers by name.

    Raises:
        Refusal: one that decides anything stands there twice.
    """
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in found and name in (b"host", b"authorization", b"content-encoding", b"content-length", b"origin"):
            raise bad(f"two headers {name.decode('latin-1')}")
        found[name] = value
    return found


def _host(value: bytes | None) -> str:
    """Give the name in a Host header without its port.

    Raises:
        Refusal: there is none.
    """
    try:
        name = urlsplit(f"//{(value or b'').decode('ascii')}").hostname
    except ValueError:
        name = None
    if not name:
        raise bad("no Host")
    return name.lower()


def _is_address(host: str, server: tuple[str, int | None] | None) -> bool:
    """Say whether ``host`` is the very address that was connected to: no name that somebody else may point here."""
    try:
        return server is not None and ipaddress.ip_address(host) == ipaddress.ip_address(server[0])
    except ValueError:
        return False


def own_names() -> set[str]:
    """Give the names this machine goes by."""
    return {socket.gethostname().lower(), socket.getfqdn().lower()}


async def _refuse(refusal: Refusal, unread: Receive | None, send: Send) -> None:
    """Send the refusal at once, then read on for a moment: a client that is still sending would not see it."""
    body = pydantic_core.to_json({"error": refusal.message})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if unread:
        headers.append((b"connection", b"close"))
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append((b"allow", b"GET, POST"))
    await send({"type": "http.response.start", "status": int(refusal.status), "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    if unread:
        await _linger(unread)
    await send({"type": "http.response.body", "body": b""})


async def _linger(receive: Receive) -> None:
    try:
        async with asyncio.timeout(LINGER_S):
            while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                pass
    except TimeoutError:
        return
