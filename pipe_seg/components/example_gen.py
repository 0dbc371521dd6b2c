"""Raw folders → a TFDS dataset, by calling the builders; nothing is built twice from the same files."""

import contextlib
import hashlib
import importlib
import io
import os
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from pipe_seg import artifacts
from pipe_seg.artifacts import Dataset
from pipe_seg.config import ExampleGenSection
from pipe_seg.errors import InputDataError, Problem

PACKAGE = Path(__file__).resolve().parent.parent


def run(section: ExampleGenSection, *, name: str, manual_dir: Path, rendered: bool) -> Dataset:
    """Build ``name`` from ``manual_dir``, or render it; give what is there if the files are the same.

    Raises:
        InputDataError: the folder is missing, with instructions; or every frame that cannot be used.
        MachineError: the data folder cannot be written.
    """
    cls = builder_class(name)
    config = "synthetic" if rendered else "default"
    if not rendered and not (manual_dir / cls.FOLDER).is_dir():
        raise InputDataError(
            Problem(manual_dir, f"no folder {cls.FOLDER} here", expected=str(cls.MANUAL_DOWNLOAD_INSTRUCTIONS))
        )
    data_dir = Path(section.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    digest = _digest(cls, name, manual_dir, rendered)
    target = data_dir / name / config / str(cls.VERSION)
    if Dataset(target).digest == digest:
        return Dataset(target)
    with artifacts.environment(data_dir):
        _build(cls, config, data_dir, manual_dir, target, digest)
    return Dataset(target)


def builder_class(name: str) -> Any:
    """Give the TFDS builder called ``name``."""
    return importlib.import_module(f"tfds_builders.{name}.{name}_dataset_builder").Builder


def _build(cls: Any, config: str, data_dir: Path, manual_dir: Path, target: Path, digest: str) -> None:
    """Build aside, then put the result in the place of whatever was there."""
    scratch = data_dir / f".building-{uuid.uuid4().hex}"
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            if not sys.stderr.isatty():
                tfds.disable_progress_bar()
            builder = cls(config=config, data_dir=scratch)
            download = tfds.download.DownloadConfig(manual_dir=str(manual_dir), register_checksums=False)
            builder.download_and_prepare(download_config=download)
        built = Path(builder.data_dir)
        artifacts.write_json(built / artifacts.INPUTS, {"digest": digest})
        artifacts.sync_tree(built)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            target.rename(scratch / "old")
        built.rename(target)
        artifacts.sync(target.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _digest(cls: Any, name: str, manual_dir: Path, rendered: bool) -> str:
    """Give one sha256 over the code that reads or renders and the files it reads."""
    files = sorted(path for part in ("annotations", "data") for path in (PACKAGE / part).rglob("*.py"))
    files += [PACKAGE / "images.py", PACKAGE / "schema.py"]
    files += sorted((PACKAGE.parent / "tfds_builders" / name).glob("*.py"))
    if not rendered:
        folders = (manual_dir / cls.FOLDER, *(manual_dir / extra for extra in getattr(cls, "HELD_OUT_FOLDERS", ())))
        files += sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.name}\0{artifacts.digest_file(path)}\n".encode())
    return total.hexdigest()
