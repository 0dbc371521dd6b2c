"""Makes the datasets that trainings read from folders, finds them again and prunes them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipe_seg import disk
from pipe_seg.artifact_store import ArtifactStore
from pipe_seg.artifacts import Dataset
from pipe_seg.config import Config
from pipe_seg.data.training_data import TrainingData
from pipe_seg.errors import ConfigError, ConflictError, InputDataError, Problem
from pipe_seg.pipeline.runs import Run, list_runs
from pipe_seg.schema import FOLDERS

MANUAL_DIR = Path("datasets")
RENDERED_NOTE = "the embedded rendered sample is used, whose scores prove nothing"
Log = Callable[[str], None]


def uses_rendered(name: str, manual_dir: Path | None) -> bool:
    """Returns whether ``examples`` would render ``name``, or the first of two; imports no TensorFlow."""
    return manual_dir is None and not (MANUAL_DIR / FOLDERS[name.split("+")[0]]).is_dir()


def examples(settings: Config, name: str, manual_dir: Path | None, log: Log) -> Dataset:
    """Returns the dataset ``name`` of the user's folder, or a rendered one where there is no folder.

    A folder given by ``manual_dir`` must be there; the default one may be missing.

    Raises:
        PipeSegError: Frames that cannot be used, or a folder that cannot be written.
    """
    rendered = uses_rendered(name, manual_dir)
    if rendered:
        log(f"{name}: {RENDERED_NOTE}")
    return _built(settings, name, manual_dir or MANUAL_DIR, rendered=rendered)


def _built(settings: Config, name: str, folder: Path, *, rendered: bool) -> Dataset:
    from pipe_seg.components import example_gen

    return example_gen.run(settings.example_gen, name=name, manual_dir=folder, rendered=rendered)


def publish(settings: Config, dataset: Dataset) -> Path:
    """Copies a dataset to where ``tfds.load`` finds it; returns that folder. No training reads it."""
    from pipe_seg.components import example_gen

    return example_gen.publish(dataset, ArtifactStore(settings.example_gen.data_dir).data_dir)


def training_data(
    settings: Config, name: str, manual_dir: Path | None, log: Log, *, rendered: bool = False
) -> TrainingData:
    """Returns what ``name`` learns from, and PS if there is any: scores are against contours, not boxes.

    Args:
        settings: The configuration.
        name: ``pbs``, ``ps`` or ``pbs+ps``, which needs both from one place.
        manual_dir: The folder of frames; None for the default one, or rendered frames where that is missing.
        log: Receives notes for the person.
        rendered: Render the embedded sample whatever the default folder holds.
    """
    wanted = name.split("+")
    rendered = rendered or uses_rendered(wanted[0], manual_dir)
    folder = (manual_dir or MANUAL_DIR) / FOLDERS["ps"]
    if "ps" not in wanted and (rendered or folder.is_dir()):
        wanted.append("ps")
    if not rendered and any(uses_rendered(other, manual_dir) for other in wanted):
        both = " and ".join(FOLDERS.values())
        raise InputDataError(Problem(MANUAL_DIR, "one of two data sets", expected=f"both {both}, or neither"))
    if "ps" not in wanted:
        log(f"{folder} is missing: scores are against filled boxes, not contours")
    if rendered:
        log(f"{name}: {RENDERED_NOTE}")
    base = manual_dir or MANUAL_DIR
    return TrainingData(name, {other: _built(settings, other, base, rendered=rendered) for other in wanted})


def recorded(data: TrainingData, manual_dir: Path | None) -> dict[str, Any]:
    """Returns what a run records of its data, so that it can be found or made again."""
    return {
        "dataset": data.full_name,
        "manual_dir": str((manual_dir or MANUAL_DIR).absolute()),
        "data_key": data.key,
        "datasets": {
            name: {"key": dataset.key, "rendered": dataset.rendered, "inputs": dataset.record["inputs"]}
            for name, dataset in data.datasets.items()
        },
        "data": data.splits,
    }


def refer(settings: Config, data: TrainingData, run: Path) -> None:
    """Notes that a run uses these datasets, so that ``data prune`` leaves them."""
    store = ArtifactStore(settings.example_gen.data_dir)
    for dataset in data.datasets.values():
        store.refer(dataset.path, run)


def data_of(run: Run) -> TrainingData:
    """Returns the very data that a run used: found by its keys, or made again from the same bytes.

    Raises:
        ConflictError: The files are not those that the run used; the message says which part differs.
        ConfigError: An earlier version made the run, which recorded no data.
    """
    return _found_again(run, run.info)


def source_of(run: Run, manual_dir: Path | None = None) -> TrainingData:
    """Returns the data that a run began with, as ``data_of`` does; a recipe's first stages read it.

    Args:
        run: The run.
        manual_dir: Another folder that holds the same bytes; its files are compared even if the data is still there.
    """
    info = run.info
    return _found_again(run, info.get("source", info), manual_dir)


def _found_again(run: Run, record: Mapping[str, Any], manual_dir: Path | None = None) -> TrainingData:
    if not record.get("datasets"):
        what = "an earlier version made this run and did not record its data"
        raise ConfigError(Problem(run.path, what, expected="another training"))
    found = {name: _dataset(run, record, name, manual_dir) for name in record["datasets"]}
    return TrainingData(str(record["dataset"]).partition("/")[0], found)


def dataset_of(run: Run, name: str) -> Dataset:
    """Returns one of the datasets that a run used, as ``data_of`` does."""
    return _dataset(run, run.info, name, None)


def _dataset(run: Run, record: Mapping[str, Any], name: str, manual_dir: Path | None) -> Dataset:
    from pipe_seg.components import example_gen

    then, section = record["datasets"][name], run.config.example_gen
    target = ArtifactStore(section.data_dir).path(example_gen.COMPONENT, then["key"])
    if manual_dir is None and target.is_dir():
        return Dataset(target)
    folder, rendered = manual_dir or Path(record["manual_dir"]), then["rendered"]
    inputs = example_gen.digests(section, name=name, manual_dir=folder, rendered=rendered)
    if example_gen.key_of(section, name, inputs) != then["key"]:
        what = f"not the data of {run.name}: {changes(then['inputs'], inputs)}"
        cure = f"--manual-dir with the frames that {run.name} used, or another training"
        raise ConflictError(Problem(folder, what, expected=cure))
    return example_gen.run(section, name=name, manual_dir=folder, rendered=rendered)


def changes(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Returns which parts of a folder of frames differ, in words."""
    counts = {
        part: [side.get(part, "no files").partition(",")[0] for side in (now, then)]
        for part in sorted({*then, *now})
        if then.get(part) != now.get(part)
    }
    changed = [f"{part} has {a}, other than the {b} before" for part, (a, b) in counts.items()]
    return "; ".join(changed) or "this version of pipe-seg builds it differently"


def prune(settings: Config, runs: Path, *, dry_run: bool) -> list[tuple[Path, int]]:
    """Removes shared artifacts that no run refers to and remains of killed builds; returns their bytes.

    Args:
        settings: Where datasets are kept.
        runs: Runs in this folder count even if they were moved here.
        dry_run: Only list.
    """
    store = ArtifactStore(settings.example_gen.data_dir)
    keys = {key for run in list_runs(runs) for key in run.keys}
    found = [
        (path, sum(file.stat().st_size for file in path.rglob("*") if file.is_file())) for path in store.unused(keys)
    ]
    for path, _ in () if dry_run else found:
        store.remove(path)
    for folder in () if dry_run else store.root.glob("*/"):
        disk.remove_leftovers(folder)
    return found
