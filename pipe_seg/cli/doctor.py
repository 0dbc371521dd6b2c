"""``doctor``: what this machine can do, and what is missing."""

import json
import os
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from pipe_seg.cli import options, quiet
from pipe_seg.errors import MachineError, Problem
from pipe_seg.pipeline import datasets
from pipe_seg.pipeline import runs as run_folder
from pipe_seg.schema import FOLDERS

EXTRAS = {"tfds-cli": "mlcroissant"}
LEAST_FREE_GIB = 2


@click.command()
@options.manual_dir
@options.runs
@options.as_json
def doctor(manual_dir: Path | None, runs: Path, as_json: bool) -> None:
    """Show versions, devices, memory, write access and the data folder; exit 4 when something is missing."""
    missing = [package for package in run_folder.PACKAGES if not _version(package)]
    if missing:
        raise MachineError(*(Problem(package, "not installed", expected="pip install -e .") for package in missing))
    quiet.tensorflow()
    facts = {
        "python": platform.python_version(),
        **{package: _version(package) for package in (*run_folder.PACKAGES, "tensorboard")},
        "extras": {extra: _version(package) for extra, package in EXTRAS.items()},
        **_devices(),
        "memory_gib": _memory_gib(),
        "free_disk_gib": round(shutil.disk_usage(_existing(runs)).free / 2**30, 1),
        "runs_writable": os.access(_existing(runs), os.W_OK),
        "data": _data(manual_dir or datasets.MANUAL_DIR),
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        for name, value in facts.items():
            click.echo(f"{name:<26}{_text(value)}")
    problems = _problems(facts, runs)
    if problems:
        raise MachineError(*problems)


def _problems(facts: dict[str, Any], runs: Path) -> list[Problem]:
    problems = []
    if not facts["runs_writable"]:
        problems.append(Problem(runs, "cannot be written", expected="a folder of yours, or --runs"))
    if facts["free_disk_gib"] < LEAST_FREE_GIB:
        problems.append(
            Problem(
                runs, "disk nearly full", got=f"{facts['free_disk_gib']} GiB", expected=f"{LEAST_FREE_GIB} GiB free"
            )
        )
    return problems


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> dict[str, Any]:
    import tensorflow as tf

    from pipe_seg import devices

    return {
        "processors": os.cpu_count(),
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        "bfloat16_flags": sorted(devices.cpu_flags() & devices.BFLOAT16_FLAGS),
        "precision_auto": devices.precision("auto"),
    }


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def _existing(path: Path) -> Path:
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())


def _data(folder: Path) -> dict[str, str]:
    return {name: _frames(folder / inner) for name, inner in FOLDERS.items()}


def _frames(folder: Path) -> str:
    if not folder.is_dir():
        return f"no {folder}: the rendered sample is used unless --manual-dir names another folder"
    images = sum(path.suffix.lower() in (".jpg", ".jpeg") for path in (folder / "images").rglob("*"))
    return f"{images} frames in {folder}"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {inner or 'not installed'}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return "not installed" if value is None else str(value)
