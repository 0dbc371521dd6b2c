"""``serve``: a model store over TF Serving's protocols, and a page to look at."""

import importlib.util
from pathlib import Path
from typing import Any

import click

from pipe_seg.cli import options, quiet
from pipe_seg.config import ServerSection
from pipe_seg.errors import MachineError, Problem

DEFAULTS = ServerSection()
NEEDED = ("uvicorn", "starlette", "prometheus_client")


def _default(name: str, kind: Any, text: str) -> Any:
    flag = f"--{name.replace('_', '-')}"
    return click.option(flag, type=kind, default=getattr(DEFAULTS, name), show_default=True, help=text)


@click.command()
@click.argument("uri", metavar="STORE")
@_default("host", str, "Where to listen; anywhere but on this machine needs --token-file.")
@_default("port", click.IntRange(0, 65535), "For REST and the page; 0: any free one.")
@_default("grpc_port", click.IntRange(0, 65535), "For gRPC; 0: none.")
@click.option("--token-file", type=options.FILE, help="A file only you may read; clients show what is in it.")
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="A name clients may call this server by.")
@_default("engine", click.Choice(["auto", "tf", "openvino"]), "auto: OpenVINO where it is installed, without a GPU.")
@_default("batch_frames", click.IntRange(1, 1024), "At most so many frames are answered together.")
@_default("queue_requests", click.IntRange(1, 100_000), "So many requests may wait; the next is answered 429.")
@_default("timeout_s", click.FloatRange(0, min_open=True), "Nobody waits longer for the model: 504.")
@_default("body_mib", click.FloatRange(0, 1024, min_open=True), "The largest request: 413.")
@_default("poll_s", click.FloatRange(0, min_open=True), "How often the store is looked at.")
def serve(uri: str, token_file: Path | None, hosts: tuple[str, ...], **settings: Any) -> None:
    """Serve the versions that STORE labels, or its newest, until Ctrl-C.

    http://HOST:PORT/ is a page to drop frames on; /v1/models/pipe_seg speaks TF Serving's REST dialect, the other
    port its gRPC. New versions and moved labels are taken over while it runs, each checked to the last byte first.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MachineError(Problem("serve", f"needs {', '.join(missing)}", expected="pip install 'pipe-seg[serve]'"))
    quiet.tensorflow()
    from pipe_seg.serving import server, store

    allowed = server.access(settings["host"], token_file, hosts)
    server.run(ServerSection(**settings), location=store.at(uri), allowed=allowed, log=options.log)
