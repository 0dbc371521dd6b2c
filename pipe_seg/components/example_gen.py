"""Raw folders → a TFDS dataset, by calling the builders; each dataset is built once, under its key.

The key covers the bytes of every file that the builder reads, their names below the data folder, the builder's version
and the rules for frames that cannot be used. Two folders with the same files therefore share a dataset, and a dataset
never changes once it stands.
"""

import contextlib
import hashlib
import io
import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from pipe_seg import artifacts, disk, progress
from pipe_seg.artifact_store import ArtifactStore
from pipe_seg.artifacts import Dataset
from pipe_seg.config import ExampleGenSection
from pipe_seg.data import data_card, synthetic
from pipe_seg.errors import ConfigError, ConflictError, InputDataError, MachineError, Problem, Tolerance
from tfds_builders.pbs import pbs_dataset_builder
from tfds_builders.ps import ps_dataset_builder

COMPONENT = "example_gen"
BUILDERS: dict[str, Any] = {"pbs": pbs_dataset_builder.Builder, "ps": ps_dataset_builder.Builder}


def run(section: ExampleGenSection, *, name: str, manual_dir: Path, rendered: bool) -> Dataset:
    """Returns the dataset ``name`` of a folder: the one under the key of its files, or a new one.

    Args:
        section: Where datasets are kept, and the rules for frames that cannot be used.
        name: ``pbs`` or ``ps``.
        manual_dir: The folder that holds ``PipeBoxSegmentation`` or ``PipeSegmentation``.
        rendered: Whether to render the embedded sample instead of reading ``manual_dir``.

    Raises:
        ConflictError: Files in the folder changed while it was read.
        InputDataError: The folder is missing, or frames cannot be used, one problem each.
        MachineError: The data folder cannot be written.
    """
    inputs = digests(section, name=name, manual_dir=manual_dir, rendered=rendered)
    key = key_of(section, name, inputs)
    target = ArtifactStore(section.data_dir).path(COMPONENT, key)
    if not target.is_dir():
        _build(section, name, inputs, key, target, manual_dir, rendered=rendered)
    disk.remove_leftovers(target.parent, target.name)
    with contextlib.suppress(OSError):
        target.touch()  # in use now: `data prune` spares it
    return Dataset(target)


def key_of(section: ExampleGenSection, name: str, inputs: dict[str, str]) -> str:
    """Returns the key of the dataset that these inputs make."""
    rules = section.model_dump(include={"on_bad", "max_bad"})
    return artifacts.key_of(COMPONENT, str(BUILDERS[name].VERSION), {"dataset": name, **rules}, inputs)


def digests(section: ExampleGenSection, *, name: str, manual_dir: Path, rendered: bool) -> dict[str, str]:
    """Returns the file count and one sha256 for each part of the folder that ``name`` is made from.

    Parts are ``PipeSegmentation/images``, ``PipeSegmentation/masks`` and so on, and the licence files. Files are read
    only where their size or modification time changed since the last look.

    Raises:
        InputDataError: The folder is missing; the message names what to put there.
        MachineError: A file cannot be read.
    """
    if rendered:
        return {"rendered": f"version {synthetic.VERSION}"}
    builder = BUILDERS[name]
    root = manual_dir / builder.FOLDER
    if not root.is_dir():
        what = f"no folder {builder.FOLDER} here"
        raise InputDataError(Problem(manual_dir, what, expected=str(builder.MANUAL_DOWNLOAD_INSTRUCTIONS)))
    places = [manual_dir / place for place in (builder.FOLDER, *getattr(builder, "ALSO_READS", ()))]
    files = {path for place in places for path in (sorted(place.rglob("*")) if place.is_dir() else [place])}
    files |= set(data_card.licences(root))
    records = {place / artifacts.RECORD for place in places}  # say where files came from, which changes no frame
    wanted = sorted(path for path in files - records if path.is_file())
    parts: dict[str, list[str]] = defaultdict(list)
    for path, digest in ArtifactStore(section.data_dir).digest_cache().digests(wanted).items():
        relative = path.relative_to(manual_dir)
        parts["/".join(relative.parts[:2])].append(f"{relative.as_posix()}\0{digest}\n")
    return {part: f"{len(lines)} files, sha256 {_sha256(lines)}" for part, lines in sorted(parts.items())}


def _sha256(lines: list[str]) -> str:
    return hashlib.sha256("".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()


def publish(dataset: Dataset, data_dir: Path) -> Path:
    """Puts a copy where TFDS looks for it, ``<data_dir>/pbs/default/1.2.0``; returns that folder.

    No training reads that copy. What stood there before is replaced in one step.

    Raises:
        MachineError: It cannot be written.
    """
    info = json.loads((dataset.path / "dataset_info.json").read_text("utf-8"))
    target = data_dir / dataset.name / str(info["version"])
    if Dataset(target).key == dataset.key:
        return target
    with disk.environment(target), disk.scratch(target) as scratch:
        copy = scratch / "copy"
        shutil.copytree(dataset.path, copy)
        disk.sync_tree(copy)
        disk.put(copy, target)
    return target


def _build(
    section: ExampleGenSection,
    name: str,
    inputs: dict[str, str],
    key: str,
    target: Path,
    manual_dir: Path,
    *,
    rendered: bool,
) -> None:
    tfds.disable_progress_bar()
    with disk.environment(target), disk.scratch(target) as scratch:
        with contextlib.redirect_stdout(io.StringIO()), progress.bar("building") as report:
            builder = BUILDERS[name](config="synthetic" if rendered else "default", data_dir=scratch)
            builder.tolerance = Tolerance(section.on_bad == "skip", section.max_bad)
            builder.progress = lambda split, done, total: report(done, total)
            options = _beam_options(section)
            download = tfds.download.DownloadConfig(
                manual_dir=str(manual_dir), register_checksums=False, beam_options=options
            )
            builder.download_and_prepare(download_config=download)
        if digests(section, name=name, manual_dir=manual_dir, rendered=rendered) != inputs:
            what = "files here changed while the dataset was built"
            raise ConflictError(Problem(manual_dir, what, expected="the same command again"))
        rules = section.model_dump(include={"on_bad", "max_bad"})
        record: dict[str, Any] = {"component": COMPONENT, "section": rules, "inputs": inputs, "key": key}
        with artifacts.first_wins(target), artifacts.writing(target, **record) as folder:
            shutil.copytree(builder.data_dir, folder, dirs_exist_ok=True, copy_function=shutil.move)


def _beam_options(section: ExampleGenSection) -> Any:
    """Returns Beam's options, never those of this process's own command line."""
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
