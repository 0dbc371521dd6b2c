"""Folders of frames: imported, checked, split, cropped, refined, looked at."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipe_seg import disk
from pipe_seg.artifacts import Artifact, Dataset, Model
from pipe_seg.config import Config, CropperSection, RefinerSection
from pipe_seg.errors import ConfigError, ConflictError, MachineError, Problem
from pipe_seg.pipeline import datasets
from pipe_seg.progress import OnProgress
from pipe_seg.schema import FOLDERS

if TYPE_CHECKING:
    from pipe_seg.annotations.splits import SplitFile
    from pipe_seg.components.example_validator import Anomaly
    from pipe_seg.components.importer import Order
    from pipe_seg.components.refiner import RefinedDataset
    from pipe_seg.data.statistics import Statistics

Log = Callable[[str], None]


def import_(order: "Order", *, path: Path, frames_dir: Path | None, to: Path, on_progress: OnProgress) -> list[Dataset]:
    """Converts other formats to the layout of ``datasets/``; returns the data sets that were written."""
    from pipe_seg.components import importer

    return importer.run(order, path=path, frames_dir=frames_dir, to=to, report=on_progress)


def export_labels(form: str, *, folder: Path, to: Path) -> list[str]:
    """Writes one data set's labels for a tool; returns what the format could not keep.

    Raises:
        ConfigError: The folder holds more than one data set, or none with labels.
    """
    from pipe_seg.components import importer, statistics_gen

    datasets = statistics_gen.discover(folder)
    if len(datasets) > 1 or not datasets[0].labelled:
        inner = " or ".join(str(dataset.layout.root) for dataset in datasets)
        raise ConfigError(Problem(folder, "not one data set with labels", expected=inner))
    return importer.export(form, layout=datasets[0].layout, out=to)


def check(
    root: Path, *, group_by: str, pattern: str | None, on_progress: OnProgress
) -> "tuple[Statistics, list[Anomaly]]":
    """Reads every frame of a folder once; returns what is in it and what is wrong with it."""
    from pipe_seg.components import example_validator, statistics_gen

    statistics = statistics_gen.run(root, group_by=group_by, pattern=pattern, report=on_progress)
    return statistics, example_validator.run(statistics)


def split(
    root: Path,
    *,
    group_by: str,
    pattern: str | None,
    fractions: Mapping[str, float],
    seed: int,
    legacy: bool,
    replace: bool,
    on_progress: OnProgress,
) -> "tuple[Statistics, dict[str, SplitFile]]":
    """Groups the frames of a folder into scenes and freezes which scene is in which split."""
    from pipe_seg.components import split_gen

    roots, statistics = _scenes(root, group_by, pattern, on_progress)
    files = split_gen.run(
        statistics, roots, fractions=fractions, seed=seed, group_by=group_by, legacy=legacy, replace=replace
    )
    return statistics, files


def folds(
    root: Path, *, group_by: str, pattern: str | None, number: int, seed: int, out: Path, on_progress: OnProgress
) -> list[Path]:
    """Groups a folder's frames into scenes; writes folders that hold out each scene with contours once."""
    from pipe_seg.components import fold_gen

    roots, statistics = _scenes(root, group_by, pattern, on_progress)
    return fold_gen.run(statistics, roots, number=number, seed=seed, out=out, inputs=fold_inputs(root))


def fold_inputs(root: Path) -> dict[str, str]:
    """Returns one sha256 over the names and bytes of each data set of a folder."""
    found = {name: disk.digest_tree(root / name) for name in FOLDERS.values() if (root / name).is_dir()}
    return {name: hashlib.sha256(json.dumps(files).encode()).hexdigest() for name, files in found.items()}


def _scenes(
    root: Path, group_by: str, pattern: str | None, on_progress: OnProgress
) -> "tuple[dict[str, Path], Statistics]":
    from pipe_seg.components import statistics_gen

    roots = {dataset.name: dataset.layout.root for dataset in statistics_gen.discover(root)}
    _refuse_crops(roots)
    return roots, statistics_gen.run(root, group_by=group_by, pattern=pattern, frozen=False, report=on_progress)


def _refuse_crops(roots: Mapping[str, Path]) -> None:
    """Raises for boxes cut out of frames: they keep the scenes of their frames."""
    from pipe_seg.data import data_card

    for root in roots.values():
        made = data_card.made(root)["cropped"]
        if made:
            what = "boxes cut out of frames, whose names do not say which scene they show"
            raise ConfigError(Problem(root, what, expected=f"`data split` of {made['source']}, then `data crop` again"))


def crop(
    section: CropperSection, *, root: Path, out: Path, on_progress: OnProgress, key: str | None = None
) -> dict[str, int]:
    """Cuts the boxes of the frames with contours in ``root`` out, as a data set of their own in ``out``.

    Returns:
        The number of crops of each split.

    Raises:
        ConfigError: There are no contours, or ``out`` lies inside the data.
        ConflictError: ``out`` exists already.
        InputDataError: A frame cannot be used.
    """
    from pipe_seg.components import cropper, statistics_gen

    if out.resolve() == root.resolve() or out.resolve().is_relative_to((root / FOLDERS["ps"]).resolve()):
        raise ConfigError(Problem(out, "inside the data that is cropped", expected="another --out"))
    layouts = {dataset.name: dataset.layout for dataset in statistics_gen.discover(root)}
    if "ps" not in layouts:
        raise ConfigError(Problem(root, "no contours here", expected=f"a folder with {FOLDERS['ps']}"))
    return cropper.run(section, layouts["ps"], out=out, report=on_progress, key=key)


def refine(
    section: RefinerSection,
    *,
    models: Sequence[Model],
    root: Path,
    out: Path,
    on_progress: OnProgress,
    key: str | None = None,
) -> "RefinedDataset":
    """Draws contours inside the training boxes of ``root``; writes those that pass the gates.

    Raises:
        ConfigError: There are no boxes, or ``out`` lies inside the data.
        ConflictError: ``out`` exists already.
        InputDataError: A frame cannot be used.
    """
    from pipe_seg.components import refiner

    layouts = _layouts_to_refine(root, out)
    return refiner.run(section, models=models, layouts=layouts, root=root, out=out, report=on_progress, key=key)


def prelabel(
    section: RefinerSection,
    *,
    models: Sequence[Model],
    root: Path,
    out: Path,
    form: str,
    number: int,
    on_progress: OnProgress,
) -> int:
    """Writes the frames of ``root`` that models are least certain of, to be corrected; returns how many."""
    from pipe_seg.components import refiner

    layouts = _layouts_to_refine(root, out)
    return refiner.prelabel(
        section, models=models, layouts=layouts, form=form, number=number, out=out, report=on_progress
    )


def _layouts_to_refine(root: Path, out: Path) -> dict[str, Any]:
    from pipe_seg.components import statistics_gen

    if not (root / FOLDERS["pbs"] / "images").is_dir():
        cure = f"--manual-dir with a folder that holds {FOLDERS['pbs']}/images"
        raise ConfigError(Problem(root, "no boxes here", expected=cure))
    if out.exists():
        raise ConflictError(Problem(out, "exists already", expected="another --out"))
    if out.resolve().is_relative_to(root.resolve()):
        raise ConfigError(Problem(out, "inside the data that is refined", expected="another --out"))
    return {dataset.name: dataset.layout for dataset in statistics_gen.discover(root)}


def preview(
    settings: Config, source: str, *, manual_dir: Path | None, per_class: int, out: Path, log: Log
) -> list[str]:
    """Writes a contact sheet of a dataset (``pbs``, ``ps``) or of a folder; returns the frames' names."""
    from pipe_seg.components import preview as component
    from pipe_seg.components import statistics_gen
    from pipe_seg.data import examples as data

    frames: Iterator[Any]
    if source in FOLDERS:
        frames = data.frames(datasets.examples(settings, source, manual_dir, log).path, "train")
    else:
        (dataset, *others) = statistics_gen.discover(Path(source))
        layout = others[-1].layout if others else dataset.layout
        frames = (frame.read() for frame in layout.frames("train"))
    return component.run(settings.transform, frames=frames, per_class=per_class, seed=settings.seed, out=out)


def crop_source(folder: Path) -> Path | None:
    """Returns the folder of frames that ``data crop`` cut a folder from; None where nothing is recorded."""
    try:
        return Path(Artifact(folder).record["details"]["source"]).parent
    except (MachineError, KeyError, TypeError):
        return None
