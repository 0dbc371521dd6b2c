"""Write the job that trains on several machines: for Kubernetes, or for bare machines.

    python deploy/render.py tfjob --name pipes --image REGISTRY/pipe-seg:1 --workers 4 --claim shared > job.yaml
    python deploy/render.py launch --host 10.0.0.1:2222 --host 10.0.0.2:2222 > launch.sh

What follows ``--`` goes to ``train``: ``… -- --preset cctv -s pbs.epochs=40``.
"""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import jinja2

HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*:\d{1,5}")
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def render(target: str, **values: Any) -> str:
    """Give the text of ``job.j2`` for ``tfjob`` or ``launch``; a value that it needs and lacks is an error."""
    folder = Path(__file__).parent
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    templates.filters |= {"quote": shlex.quote, "json": json.dumps}
    return templates.get_template("job.j2").render(target=target, **values)


def _label(_: click.Context, __: click.Parameter, value: str) -> str:
    if not LABEL.fullmatch(value):
        raise click.BadParameter("lower-case letters, digits and -, as Kubernetes names things")
    return value


def _hosts(_: click.Context, __: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    for host in value:
        if not HOST.fullmatch(host):
            raise click.BadParameter(f"{host} is not HOST:PORT")
    return value


def _shared(command: Any) -> Any:
    options = (
        click.option("--dataset", type=click.Choice(["pbs", "ps"]), default="pbs", show_default=True),
        click.option("--runs", default="/shared/runs", show_default=True, help="Seen and written by all workers."),
        click.option("--data-dir", default="/shared/tfds", show_default=True, help="TFDS_DATA_DIR, shared too."),
        click.option("--restarts", type=click.IntRange(0), default=10, show_default=True),
        click.argument("arguments", nargs=-1, metavar="[-- TRAIN_OPTIONS]"),
    )
    for option in options:
        command = option(command)
    return command


@click.group(help=__doc__)
def main() -> None:
    """Hold the two targets."""


@main.command()
@click.option("--name", required=True, callback=_label)
@click.option("--image", required=True, help="A container image with this project in its working directory.")
@click.option("--workers", type=click.IntRange(2), required=True)
@click.option("--gpus", type=click.IntRange(0), default=1, show_default=True, help="A worker.")
@click.option("--claim", required=True, callback=_label, help="A PersistentVolumeClaim, ReadWriteMany.")
@click.option("--mount", default="/shared", show_default=True, help="Where the claim is mounted.")
@_shared
def tfjob(**values: Any) -> None:
    """Write a TFJob for the Kubeflow training operator."""
    click.echo(render("tfjob", **{**values, "arguments": list(values["arguments"])}), nl=False)


@main.command()
@click.option("--host", "hosts", required=True, multiple=True, callback=_hosts, metavar="HOST:PORT")
@_shared
def launch(**values: Any) -> None:
    """Write a script that is started on every machine with its index."""
    click.echo(render("launch", **{**values, "arguments": list(values["arguments"])}), nl=False)


if __name__ == "__main__":
    main()
