"""Checks a request's Host, Origin, token, size and time before any handler reads it."""

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
    """ASGI middleware that refuses requests.

    Args:
        app: The application behind it; `scope["state"]["body"]` holds the body of a POST.
        hosts: Allowed Host names, besides the loopback names and the address that the client connected to.
        token: Token that `Authorization: Bearer …` must hold; None if no token is needed.
        max_bytes: Maximum size of a body, compressed or not.
        body_timeout_s: Maximum time for a body to arrive.
        on_refusal: Called with the status of each refusal.
    """

    def __init__(
        self,
        app: App,
        *,
        hosts: Iterable[str],
        token: str | None,
        max_bytes: int,
        body_timeout_s: float,
        on_refusal: Callable[[int], None],
    ) -> None:
        self._app, self._hosts = app, {*LOCAL, *(host.lower() for host in hosts)}
        self._token, self._max_bytes, self._body_timeout_s = token, max_bytes, body_timeout_s
        self._on_refusal = on_refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request to the application, or refuses it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
            await send(message)

        try:
            headers = _single(scope["headers"])
            self._check_headers(scope, headers)
            if scope["method"] == "POST":
                scope.setdefault("state", {})["body"] = await self._body(headers, receive)
            elif headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
                raise bad("a body is allowed with POST only")
            await self._app(scope, receive, guarded)
        except Refusal as refusal:
            self._on_refusal(refusal.status)
            unread = "body" not in scope.get("state", {})
            await _refuse(refusal, receive if unread else None, guarded)

    def _check_headers(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        host = _host(headers.get(b"host"))
        if host not in self._hosts and not _is_address(host, scope.get("server")):
            raise Refusal(HTTPStatus.FORBIDDEN, "unknown Host; expected a name from --allow-host")
        origin = headers.get(b"origin")
        if origin is not None and origin.lower().partition(b"://")[2] != headers[b"host"].lower():
            raise Refusal(HTTPStatus.FORBIDDEN, "cross-origin request (Origin)")
        is_navigation = scope["path"] == "/" and headers.get(b"sec-fetch-mode") == b"navigate"  # a link to the page
        if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin") and not is_navigation:
            raise Refusal(HTTPStatus.FORBIDDEN, "cross-site request (Sec-Fetch-Site)")
        if scope["method"] not in ("GET", "HEAD", "POST"):
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "method not allowed; expected GET or POST")
        is_open = scope["path"] == "/" or scope["path"].startswith(OPEN)
        if self._token is not None and not is_open and not has_token(headers.get(b"authorization"), self._token):
            raise Refusal(HTTPStatus.UNAUTHORIZED, "missing or wrong token; expected Authorization: Bearer TOKEN")

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """Returns the decompressed body; refuses one that is too large, too slow or in an unknown encoding."""
        encoding = headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding not in (b"identity", b"gzip"):
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unknown Content-Encoding; expected gzip")
        if int(headers.get(b"content-length", b"0")) > self._max_bytes:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(self._body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise bad("the request ended early")  # the client is gone
                    body += message.get("body", b"")
                    if len(body) > self._max_bytes:
                        raise self._too_large()
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "the request body did not arrive in time") from None
        if encoding == b"gzip":
            return await asyncio.to_thread(self._decompress, bytes(body))
        return bytes(body)

    def _decompress(self, body: bytes) -> bytes:
        decompressor = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            data = decompressor.decompress(body, self._max_bytes + 1)
        except zlib.error as error:
            raise bad("the body is not gzip") from error
        if len(data) > self._max_bytes:
            raise self._too_large()
        if not decompressor.eof:
            raise bad("the gzip body is incomplete")
        return data

    def _too_large(self) -> Refusal:
        return too_large(f"request body exceeds {self._max_bytes} bytes")


def has_token(authorization: bytes | None, token: str) -> bool:
    """Returns whether the Authorization header holds the token; compares in constant time."""
    return hmac.compare_digest(authorization or b"", b"Bearer " + token.encode())


def _single(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Returns headers by name; a security-relevant header that occurs twice is refused."""
    by_name: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in by_name and name in (b"host", b"authorization", b"content-encoding", b"content-length", b"origin"):
            raise bad(f"duplicate header {name.decode('latin-1')}")
        by_name[name] = value
    return by_name


def _host(value: bytes | None) -> str:
    """Returns the name in a Host header, without its port; a missing name is refused."""
    try:
        name = urlsplit(f"//{(value or b'').decode('ascii')}").hostname
    except ValueError:
        name = None
    if not name:
        raise bad("missing or malformed Host")
    return name.lower()


def _is_address(host: str, server: tuple[str, int | None] | None) -> bool:
    """Returns whether `host` is the IP address of the connection, which DNS rebinding cannot fake."""
    try:
        return server is not None and ipaddress.ip_address(host) == ipaddress.ip_address(server[0])
    except ValueError:
        return False


def machine_names() -> set[str]:
    """Returns the host names of this machine."""
    return {socket.gethostname().lower(), socket.getfqdn().lower()}


async def _refuse(refusal: Refusal, unread: Receive | None, send: Send) -> None:
    """Sends the refusal, then reads on briefly: a client that is still sending would not see it otherwise."""
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
