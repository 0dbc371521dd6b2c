"""A server for one model store: TF Serving's REST and gRPC, a page to look at, and metrics."""

import asyncio
import contextlib
import gc
import ipaddress
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from pipe_seg.config import ServerSection
from pipe_seg.errors import MachineError, Problem, RefusedError
from pipe_seg.inference import engines
from pipe_seg.serving.server import grpc_api, request_guard
from pipe_seg.serving.server.batching import Batcher
from pipe_seg.serving.server.prometheus import Metrics
from pipe_seg.serving.server.protocol import Protocol
from pipe_seg.serving.server.rest import Rest
from pipe_seg.serving.server.tf_serving_json import Most
from pipe_seg.serving.server.versions import Versions
from pipe_seg.serving.store.location import StoreLocation

BACKLOG = 512
MIB = 1 << 20
Say = Callable[[str], None]


@dataclass(frozen=True)
class Access:
    """Who may ask: anybody on this machine, or who has the token.

    Attributes:
        hosts: names that clients may call this server by, beside those of this machine.
        token: what they have to show; None where everybody is on this machine.
    """

    hosts: tuple[str, ...] = ()
    token: str | None = None


def access(host: str, token_file: Path | None, hosts: Sequence[str]) -> Access:
    """Read the token; outside this machine there has to be one.

    Raises:
        RefusedError: a token is missing where one is needed, or others may read it.
        MachineError: its file cannot be read.
    """
    if token_file is None:
        if not _is_loopback(host):
            cure = "--token-file FILE, or 127.0.0.1 behind a proxy that asks who is there"
            raise RefusedError(Problem("--host", "others could ask without a token", got=host, expected=cure))
        return Access(tuple(hosts))
    try:
        mode, token = token_file.stat().st_mode, token_file.read_text("utf-8").strip()
    except OSError as error:
        raise MachineError(Problem(token_file, f"cannot be read: {error.strerror}")) from error
    if stat.S_IMODE(mode) & 0o077:
        raise RefusedError(Problem(token_file, "others may read it", got=oct(stat.S_IMODE(mode)), expected="chmod 600"))
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        cure = "16 or more printable letters, as from: openssl rand -hex 32"
        raise RefusedError(Problem(token_file, "not a token", expected=cure))
    return Access((*hosts, *request_guard.own_names()), token)


def run(section: ServerSection, *, place: StoreLocation, allowed: Access, say: Say) -> None:
    """Serve a store until SIGTERM or Ctrl-C; what was asked before that is answered.

    Raises:
        MachineError: a port is taken.
        ConfigError: the engine is not installed, or the store's labels cannot be read.
    """
    asyncio.run(_serve(section, place, allowed, say))


async def _serve(section: ServerSection, place: StoreLocation, allowed: Access, say: Say) -> None:
    engines.chosen(section.engine)  # what is not installed is told of before anything listens
    versions = Versions(place, section.engine, say)
    batcher = Batcher(
        section.batch_frames, section.queue_requests, section.timeout_s, lambda size: metrics.batches.observe(size)
    )
    metrics = Metrics(lambda: batcher.waiting, lambda: versions.status, lambda: versions.labels)
    most, most_bytes = Most(section.request_frames, section.request_mpx), int(section.body_mib * MIB)
    app = request_guard.RequestGuard(
        Rest(versions, batcher, metrics, most).app(),
        hosts=(section.host, *allowed.hosts),
        token=allowed.token,
        most_bytes=most_bytes,
        body_timeout_s=section.body_timeout_s,
        refused=lambda status: metrics.requests.labels("rest", "refused", int(status)).inc(),
    )
    services = grpc_api.Services(versions, batcher, metrics, most, allowed.token)
    with _listening(section.host, section.port) as listening:
        gc.freeze()  # long JSON makes many lists, for which all of TensorFlow's objects would be looked through again
        await versions.refresh()
        async with _grpc(services, section, most_bytes, say):
            say(f"{'ready' if versions.ready else 'waiting for a version'}: http://{_shown(listening)}/")
            answering = asyncio.create_task(batcher.run())
            watching = asyncio.create_task(versions.watch(section.poll_s))
            await _http(app, section, listening, batcher)
            watching.cancel()
    await _end(answering, section.shutdown_s)


async def _end(answering: "asyncio.Task[None]", most_s: float) -> None:
    """Wait for the batch that runs; a graph that never ends is left behind with its thread."""
    try:
        await asyncio.wait_for(answering, most_s)
    except TimeoutError:
        os._exit(0)


async def _http(
    app: request_guard.RequestGuard, section: ServerSection, listening: socket.socket, batcher: Batcher
) -> None:
    """Answer HTTP until a signal; then finish what was begun, and send away who would wait too long."""

    class Limited(Protocol):
        header_timeout_s = section.header_timeout_s
        most_connections = section.connections

    server = _Server(
        uvicorn.Config(
            app,
            http=Limited,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=int(section.idle_timeout_s),
            timeout_graceful_shutdown=int(section.shutdown_s),
        )
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.leave)
    ending = asyncio.create_task(_send_away(server, batcher, section.shutdown_s / 2))
    await server.serve(sockets=[listening])
    batcher.close()
    ending.cancel()


async def _send_away(server: "_Server", batcher: Batcher, after_s: float) -> None:
    await server.left.wait()
    await asyncio.sleep(after_s)
    batcher.close()
    batcher.give_up()


class _Server(uvicorn.Server):
    """uvicorn's, with signals that end it and nothing else: it would raise them again afterwards."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.left = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def leave(self) -> None:
        """Finish what was begun; end now if asked again."""
        if self.should_exit:
            os._exit(130)
        self.should_exit = True
        self.left.set()


@contextlib.asynccontextmanager
async def _grpc(services: grpc_api.Services, section: ServerSection, most_bytes: int, say: Say) -> AsyncIterator[None]:
    if not section.grpc_port:
        yield
        return
    host = f"[{section.host}]" if ":" in section.host else section.host
    try:
        server, port = grpc_api.server(services, f"{host}:{section.grpc_port}", most_bytes)
    except RuntimeError as error:
        raise _taken(section.grpc_port) from error
    await server.start()
    say(f"gRPC: {host}:{port}")
    try:
        yield
    finally:
        await server.stop(section.shutdown_s)


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as found:  # asyncio then sends without delay
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host, port))
        except OSError as error:
            raise _taken(port) from error
        found.listen(BACKLOG)
        yield found


def _taken(port: int) -> MachineError:
    return MachineError(Problem("--port", "cannot be listened on", got=port, expected="a free port"))


def _shown(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
