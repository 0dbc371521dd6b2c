"""Malformed and hostile HTTP: each case has its status, and the next request is answered."""

import gzip
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serving.server import bright, raw
from tests.serving.server.process import Server, predict, serving
from tests.serving.server.raw import HOST

GET = b"GET /healthz HTTP/1.1\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
MIB = 1 << 20
ONE_BYTE = b"1\r\nx\r\n"

CASES: dict[str, tuple[bytes, int]] = {
    "a header of 70 kB": (GET + HOST + b"X: " + b"a" * 70_000 + b"\r\n\r\n", 431),
    "200 headers": (GET + HOST + b"".join(b"X-%d: 1\r\n" % i for i in range(200)) + b"\r\n", 431),
    "NUL in a header": (GET + HOST + b"X: a\x00b\r\n\r\n", 400),
    "a folded header": (GET + HOST + b"X: a\r\n b\r\n\r\n", 400),
    "a folded Host": (GET + b"Host: localhost\r\n\tevil\r\n\r\n", 400),
    "length and chunks": (raw.post(b"0\r\n\r\n", CHUNKED, length=5), 400),
    "two lengths": (raw.post(b"{}", b"Content-Length: 3"), 400),
    "length -1": (raw.post(b"", length=-1), 400),
    "length of a word": (raw.post(b"", b"Content-Length: two"), 400),
    "chunk size of a word": (raw.post(b"zz\r\nab\r\n0\r\n\r\n", CHUNKED), 400),
    "negative chunk": (raw.post(b"-1\r\nab\r\n0\r\n\r\n", CHUNKED), 400),
    "unknown transfer": (raw.post(b"", b"Transfer-Encoding: squeezed"), 501),
    # a few more than allowed: h11 misses the start of a chunk whose first byte arrives alone
    "too many chunks": (raw.post(ONE_BYTE * 65_600, CHUNKED), 413),
    "too large by Content-Length": (raw.post(b"", length=2 * MIB), 413),
    "too large, in chunks": (raw.post((b"10000\r\n" + b"x" * 65_536 + b"\r\n") * 20, CHUNKED), 413),
    "a gzip bomb": (raw.post(gzip.compress(b" " * 20 * MIB), b"Content-Encoding: gzip"), 413),
    "gzip that is none": (raw.post(b"plain", b"Content-Encoding: gzip"), 400),
    "half of gzip": (raw.post(gzip.compress(b"{}" * 999)[:-9], b"Content-Encoding: gzip"), 400),
    "unknown encoding": (raw.post(b"{}", b"Content-Encoding: br"), 415),
    "PUT": (b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n", 405),
    "DELETE": (b"DELETE /v1/models/pipe_seg HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "TRACE": (b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "CONNECT": (b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "a word for a method": (b"GARBAGE / HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "no method": (b"@@@ / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 99 + b"\r\n\r\n", 400),
    "a foreign Host": (GET + b"Host: evil.example\r\n\r\n", 403),
    "a GET with a body": (GET + HOST + b"Content-Length: 5\r\n\r\nhello", 400),
    "no Host": (GET + b"\r\n", 400),
    "two Hosts": (GET + HOST + HOST + b"\r\n", 400),
    "a Host that is none": (GET + b"Host: [::\r\n\r\n", 400),
    "a foreign Origin": (raw.post(b"{}", b"Origin: http://evil.example"), 403),
    "Origin null": (raw.post(b"{}", b"Origin: null"), 403),
    "a foreign site": (raw.post(b"{}", b"Sec-Fetch-Site: cross-site"), 403),
    "a neighbour's site": (raw.post(b"{}", b"Sec-Fetch-Site: same-site"), 403),
}


@pytest.mark.parametrize("case", CASES)
def test_each_case_has_its_status(server: Server, case: str) -> None:
    sent, code = CASES[case]
    received = raw.send(server.port, sent)
    assert raw.status(received) == code, received[:300]
    assert predict(server, bright.frame(100))["defect_area_fraction"] > 0


def test_too_large_is_refused_before_the_body_arrives(server: Server) -> None:
    """Waiting for the body would end with 408."""
    assert raw.status(raw.send(server.port, raw.post(b"", length=2 * MIB))) == 413


def test_gzip_is_decompressed(server: Server) -> None:
    import base64
    import json

    frame = {"b64": base64.b64encode(bright.frame(100)).decode()}
    body = gzip.compress(json.dumps({"signature_name": "predict_bytes", "instances": [frame]}).encode())
    assert raw.status(raw.send(server.port, raw.post(body, b"Content-Encoding: gzip"))) == 200


def test_two_requests_on_one_connection(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        for _ in range(2):
            connection.sendall(GET + HOST + b"\r\n")
            assert raw.status(raw.read(connection)) == 200


def test_clients_that_disconnect_do_not_affect_others(server: Server) -> None:
    for _ in range(30):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        connection.sendall(raw.post(b"half", length=1000))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    assert raw.status(raw.send(server.port, raw.post(b"half", length=1000), half_close=True)) in (0, 400)
    assert predict(server, bright.frame(100))["defect_area_fraction"] > 0


@pytest.fixture(scope="module")
def guarded(two: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that needs a token."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text("a-token-of-twenty-letters\n")
    token.chmod(0o600)
    options = ("--engine", "tf", "--token-file", token, "--allow-host", "pipes.example")
    with serving(two, *options) as running:
        yield running


TOKEN = b"Authorization: Bearer a-token-of-twenty-letters"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b"X: 1", 401),
        (b"Authorization: Bearer wrong-token-of-letters", 401),
        (b"Authorization: a-token-of-twenty-letters", 401),
        (b"Authorization: Basic YTpi", 401),
        (b"Authorization: Bearer " + b"x" * 60_000, 401),
        (TOKEN + b"\r\n" + TOKEN, 400),
        (TOKEN, 200),
    ],
)
def test_requests_without_the_token_are_refused(guarded: Server, header: bytes, code: int) -> None:
    received = raw.send(guarded.port, b"GET /v1/models/pipe_seg HTTP/1.1\r\n" + HOST + header + b"\r\n\r\n")
    assert raw.status(received) == code, received[:200]


def test_only_the_page_and_health_checks_need_no_token(guarded: Server) -> None:
    paths = {
        path: httpx.get(f"{guarded.url}{path}").status_code
        for path in (
            "/",
            "/page/page.js",
            "/healthz",
            "/readyz",
            "/metrics",
            "/versions",
            "/v1/models/pipe_seg",
            "/nothing",
        )
    }
    assert list(paths.values()) == [200, 200, 200, 200, 401, 401, 401, 401]
    assert httpx.post(f"{guarded.url}/frames", content=b"x").status_code == 401
    answer = httpx.get(f"{guarded.url}/v1/models/pipe_seg?token=a-token-of-twenty-letters")
    assert answer.status_code == 401


def test_an_allowed_host_name(guarded: Server) -> None:
    received = raw.send(guarded.port, b"GET /healthz HTTP/1.1\r\nHost: pipes.example:8501\r\n\r\n")
    assert raw.status(received) == 200


def test_grpc_needs_the_token_too(guarded: Server) -> None:
    import grpc
    from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "pipe_seg"
    with grpc.insecure_channel(f"127.0.0.1:{guarded.grpc_port}") as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetModelStatus(request, timeout=20)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        metadata = (("authorization", "Bearer a-token-of-twenty-letters"),)
        assert len(stub.GetModelStatus(request, timeout=20, metadata=metadata).model_version_status) == 2


def test_the_token_is_not_logged(guarded: Server) -> None:
    assert "twenty-letters" not in "\n".join(guarded.told)
