"""Raw folders → a TFDS dataset, by calling the builders; nothing is built twice from the same files.

A dataset is built aside and exchanged for the one before in one step, under a lock on the TFDS folder: a
reader sees the old one or the new one, two builds wait for each other, and what a killed build left behind
is removed by the next.
"""

import contextlib
import hashlib
import importlib
import io
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from pipe_seg import artifacts, disk, progress
from pipe_seg.artifacts import Dataset
from pipe_seg.config import ExampleGenSection
from pipe_seg.errors import ConfigError, InputDataError, MachineError, Problem, Tolerance

PACKAGE = Path(__file__).resolve().parents[1]

log = logging.getLogger(__name__)


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
    scratch = data_dir / f".building-{name}-{config}"
    with disk.locked(data_dir, lambda: log.warning("another build holds %s: waiting", data_dir)):
        shutil.rmtree(scratch, ignore_errors=True)
        if not _up_to_date(section, target, digest):
            with disk.environment(data_dir):
                try:
                    _build(section, cls, config, scratch, manual_dir, target, digest)
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)
    return Dataset(target)


def builder_class(name: str) -> Any:
    """Give the TFDS builder called ``name``."""
    return importlib.import_module(f"tfds_builders.{name}.{name}_dataset_builder").Builder


def _up_to_date(section: ExampleGenSection, target: Path, digest: str) -> bool:
    """Say whether the same files were built; what was left out then must be allowed now."""
    built = Dataset(target)
    if built.digest != digest:
        return False
    left_out = built.card.get("left_out", {})
    frames = sum(split["frames"] for split in built.card.get("splits", {}).values())
    try:
        _tolerance(section).judge(left_out, frames + len(left_out))
    except InputDataError:
        return False
    return True


def _tolerance(section: ExampleGenSection) -> Tolerance:
    return Tolerance(section.on_bad == "skip", section.max_bad)


def _build(
    section: ExampleGenSection, cls: Any, config: str, scratch: Path, manual_dir: Path, target: Path, digest: str
) -> None:
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()), progress.bar("building") as report:
        builder = cls(config=config, data_dir=scratch)
        builder.inputs_sha256 = digest
        builder.tolerance = _tolerance(section)
        builder.progress = lambda split, done, total: report(done, total)
        download = tfds.download.DownloadConfig(
            manual_dir=str(manual_dir), register_checksums=False, beam_options=_beam_options(section)
        )
        builder.download_and_prepare(download_config=download)
    built = Path(builder.data_dir)
    disk.write_json(built / artifacts.INPUTS, {"digest": digest})
    disk.sync_tree(built)
    disk.put(built, target)


def _beam_options(section: ExampleGenSection) -> Any:
    """Give Beam's options; never from this process's own command line."""
    if not section.beam:
        return None
    try:
        from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
        from apache_beam.runners.runner import create_runner
    except ImportError as error:
        raise MachineError("Beam is not installed; expected: pip install 'pipe-seg[beam]'") from error
    try:
        options = PipelineOptions([f"--{option}" for option in section.beam])
        create_runner(options.view_as(StandardOptions).runner or "FnApiRunner")
        return options
    except (SystemExit, ValueError, TypeError, AttributeError, ImportError) as error:
        cure = "runner=DirectRunner, …"
        problem = Problem("example_gen.beam", "not Beam's options", got=list(section.beam), expected=cure)
        raise ConfigError(problem) from error


def _digest(cls: Any, name: str, manual_dir: Path, rendered: bool) -> str:
    """Give one sha256 over the code that reads or renders and the files it reads."""
    files = sorted(path for part in ("annotations", "data") for path in (PACKAGE / part).rglob("*.py"))
    files += [PACKAGE / "images.py", PACKAGE / "schema.py"]
    files += sorted((PACKAGE.parent / "tfds_builders" / name).glob("*.py"))
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.name}\0{disk.digest_file(path)}\n".encode())
    places = () if rendered else (cls.FOLDER, *getattr(cls, "ALSO_READS", ()))
    for place in (manual_dir / place for place in places):
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file():
                name = os.fsencode(path.relative_to(manual_dir)).hex()
                total.update(f"{name}\0{disk.digest_file(path)}\n".encode())
    return total.hexdigest()
