"""Sends bytes over a socket that no HTTP library would send."""

import socket
import time

HOST = b"Host: localhost\r\n"


def send(port: int, *parts: bytes, pause_s: float = 0.0, wait_s: float = 20.0, half_close: bool = False) -> bytes:
    """Sends `parts`, and returns all bytes received until the server closes or stops sending."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause_s)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # already refused; the response is still to be read
        return read(connection)


def read(connection: socket.socket) -> bytes:
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
            if _complete(received):
                break
    except OSError:
        pass
    return received


def _complete(received: bytes) -> bool:
    head, separator, body = received.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if separator and line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return False


def status(received: bytes) -> int:
    """Returns the status of a response; 0 if there is none."""
    words = received.split(b" ", 2)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def post(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    """Returns a request as bytes."""
    lines = [b"POST /v1/models/pipe_seg:predict HTTP/1.1", b"Host: localhost", *headers]
    if length is not None or not any(header.lower().startswith(b"transfer-encoding") for header in headers):
        lines.append(b"Content-Length: %d" % (len(body) if length is None else length))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
