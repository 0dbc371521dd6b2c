"""A server for one model store: TF Serving's REST and gRPC APIs, a web page, and metrics."""

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
from pipe_seg.serving.server.tf_serving_json import RequestLimits
from pipe_seg.serving.server.versions import Versions
from pipe_seg.serving.store.location import StoreLocation

BACKLOG = 512
MIB = 1 << 20
Log = Callable[[str], None]


@dataclass(frozen=True)
class Access:
    """Who may send requests.

    Attributes:
        hosts: Allowed Host names, besides the loopback names.
        token: Token that clients must send; None if the server listens on loopback only.
    """

    hosts: tuple[str, ...] = ()
    token: str | None = None


def access(host: str, token_file: Path | None, hosts: Sequence[str]) -> Access:
    """Returns who may send requests; a host other than loopback needs a token.

    Raises:
        RefusedError: The token is missing or malformed, or other users may read its file.
        MachineError: The token file cannot be read.
    """
    if token_file is None:
        if not _is_loopback(host):
            cure = "--token-file FILE, or --host 127.0.0.1 behind a proxy that authenticates clients"
            raise RefusedError(Problem("--host", "open to other machines without a token", got=host, expected=cure))
        return Access(tuple(hosts))
    try:
        mode, token = token_file.stat().st_mode, token_file.read_text("utf-8").strip()
    except OSError as error:
        raise MachineError(Problem(token_file, f"cannot be read: {error.strerror}")) from error
    if stat.S_IMODE(mode) & 0o077:
        raise RefusedError(Problem(token_file, "readable by others", got=oct(stat.S_IMODE(mode)), expected="chmod 600"))
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        cure = "16 or more printable ASCII characters, such as from: openssl rand -hex 32"
        raise RefusedError(Problem(token_file, "malformed token", expected=cure))
    return Access((*hosts, *request_guard.machine_names()), token)


def run(section: ServerSection, *, location: StoreLocation, allowed: Access, log: Log) -> None:
    """Serves a store until SIGTERM or Ctrl-C; requests received before that are answered.

    Args:
        section: Ports, limits and timeouts.
        location: The store.
        allowed: Who may send requests.
        log: Called with each log line.

    Raises:
        MachineError: A port is in use.
        ConfigError: The engine is not installed, or the store's labels cannot be read.
    """
    asyncio.run(_serve(section, location, allowed, log))


async def _serve(section: ServerSection, location: StoreLocation, allowed: Access, log: Log) -> None:
    engines.select_runtime(section.engine)  # fails before the ports open
    versions = Versions(location, section.engine, log)
    batcher = Batcher(
        section.batch_frames, section.queue_requests, section.timeout_s, lambda size: metrics.batches.observe(size)
    )
    metrics = Metrics(lambda: batcher.queue_length, lambda: versions.status, lambda: versions.labels)
    limits, max_bytes = RequestLimits(section.request_frames, section.request_mpx), int(section.body_mib * MIB)
    app = request_guard.RequestGuard(
        Rest(versions, batcher, metrics, limits).app(),
        hosts=(section.host, *allowed.hosts),
        token=allowed.token,
        max_bytes=max_bytes,
        body_timeout_s=section.body_timeout_s,
        on_refusal=lambda status: metrics.requests.labels("rest", "refused", int(status)).inc(),
    )
    services = grpc_api.Services(versions, batcher, metrics, limits, allowed.token)
    with _listening(section.host, section.port) as listening:
        gc.freeze()  # otherwise the many lists of a long JSON make the collector scan TensorFlow's objects again
        await versions.refresh()
        async with _grpc(services, section, max_bytes, log):
            log(f"{'ready' if versions.ready else 'waiting for a version'}: http://{_address(listening)}/")
            answering = asyncio.create_task(batcher.run())
            watching = asyncio.create_task(versions.watch(section.poll_s))
            await _http(app, section, listening, batcher)
            watching.cancel()
    await _wait_for_batch(answering, section.shutdown_s)


async def _wait_for_batch(answering: "asyncio.Task[None]", timeout_s: float) -> None:
    """Waits for the running batch; exits the process if that takes longer than `timeout_s`."""
    try:
        await asyncio.wait_for(answering, timeout_s)
    except TimeoutError:
        os._exit(0)


async def _http(
    app: request_guard.RequestGuard, section: ServerSection, listening: socket.socket, batcher: Batcher
) -> None:
    """Serves HTTP until a signal; requests still queued after half of `shutdown_s` are refused."""

    class Limited(Protocol):
        header_timeout_s = section.header_timeout_s
        max_connections = section.connections

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
        loop.add_signal_handler(number, server.stop)
    ending = asyncio.create_task(_refuse_late(server, batcher, section.shutdown_s / 2))
    await server.serve(sockets=[listening])
    batcher.close()
    ending.cancel()


async def _refuse_late(server: "_Server", batcher: Batcher, after_s: float) -> None:
    await server.stopping.wait()
    await asyncio.sleep(after_s)
    batcher.close()
    batcher.refuse_queued()


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers, which raise the signals again after shutdown."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Starts a graceful shutdown; a second call exits at once."""
        if self.should_exit:
            os._exit(130)
        self.should_exit = True
        self.stopping.set()


@contextlib.asynccontextmanager
async def _grpc(services: grpc_api.Services, section: ServerSection, max_bytes: int, log: Log) -> AsyncIterator[None]:
    if not section.grpc_port:
        yield
        return
    host = f"[{section.host}]" if ":" in section.host else section.host
    try:
        server, port = grpc_api.server(services, f"{host}:{section.grpc_port}", max_bytes)
    except RuntimeError as error:
        raise _port_in_use("--grpc-port", section.grpc_port) from error
    await server.start()
    log(f"gRPC: {host}:{port}")
    try:
        yield
    finally:
        await server.stop(section.shutdown_s)


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:  # asyncio then sets TCP_NODELAY
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise _port_in_use("--port", port) from error
        listener.listen(BACKLOG)
        yield listener


def _port_in_use(option: str, port: int) -> MachineError:
    return MachineError(Problem(option, "cannot listen on this port", got=port, expected="a free port"))


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
