"""Raw folders → what is in them: every frame read once, its labels, its copies and its scenes."""

import hashlib
import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import shapely

from pipe_seg import images
from pipe_seg.annotations import documents, folders, frame_file, masks, raster
from pipe_seg.annotations.folders import Layout
from pipe_seg.annotations.frame_file import FrameFile
from pipe_seg.data import grouping, near_duplicates
from pipe_seg.data.dataset_counts import DatasetCounts
from pipe_seg.data.near_duplicates import Descriptor
from pipe_seg.data.statistics import FrameStatistics, Link, Statistics
from pipe_seg.errors import InputDataError, PipeSegError, Problem, RefusedError
from pipe_seg.progress import OnProgress
from pipe_seg.schema import CLASS_NAMES, FOLDERS, SPLITS, Annotation, Frame, MaskSource

CONSTANT_SPREAD = 3.0
MAX_LOOKS = 20_000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSet:
    """One data set of a folder: what it is called, where its frames are, whether it has labels."""

    name: str
    layout: Layout
    labelled: bool


def run(
    root: Path,
    *,
    group_by: str = "auto",
    pattern: str | None = None,
    frozen: bool = True,
    report: OnProgress | None = None,
) -> Statistics:
    """Read every frame below ``root`` once.

    Args:
        root: a folder with ``PipeBoxSegmentation`` and ``PipeSegmentation``, one of them, or plain images.
        group_by: what links frames: ``name``, ``video``, ``regex`` (``pattern``'s first group), ``hash`` (bytes
            and look), or ``auto`` (name, bytes and look).
        pattern: for ``regex``.
        frozen: whether split files count, or the folders alone.
        report: is called with (done, total).

    Raises:
        InputDataError: there are no frames.
    """
    tell = report or (lambda done, total: None)
    datasets = discover(root, frozen=frozen)
    tasks = [(dataset, path) for dataset in datasets for path in _paths(dataset)]
    if not tasks:
        raise InputDataError(Problem(root, "no frames here", expected="images, as datasets/README.md shows"))
    look = group_by in ("auto", "hash") and len(tasks) <= MAX_LOOKS
    if group_by in ("auto", "hash") and not look:
        log.warning("%s: %d frames are too many to compare by look: name and bytes only", root, len(tasks))
    frames = _scan(tasks, look, lambda done: tell(done, 2 * len(tasks) if look else len(tasks)))
    links = _links(
        frames, group_by, pattern, lambda done, total: tell(len(tasks) + len(tasks) * done // total, 2 * len(tasks))
    )
    tell(2 * len(tasks), 2 * len(tasks))
    groups = grouping.union(len(frames), ((link.first, link.second) for link in links))
    names = tuple(folders.group_of(frames[group].path.stem) for group in groups)
    orphans = tuple(problem for dataset in datasets if dataset.labelled for problem in _orphans(dataset))
    return Statistics(
        root, tuple(d.name for d in datasets), tuple(frames), tuple(links), _distinct(groups, names), orphans
    )


def discover(root: Path, *, frozen: bool = True) -> list[DataSet]:
    """Returns the data sets of a folder: both of ours, one of them, or plain images without labels."""
    inner = {name: root / folder for name, folder in FOLDERS.items() if (root / folder / "images").is_dir()}
    if inner:
        sources: dict[str, MaskSource] = {"pbs": "box", "ps": "contour"}
        layouts = {name: Layout(path, sources[name], frozen=frozen) for name, path in inner.items()}
        return [DataSet(name, layout, labelled=True) for name, layout in layouts.items()]
    if not (root / "images").is_dir():
        return [DataSet(root.name, Layout(root, "contour", images_folder=".", frozen=frozen), labelled=False)]
    if root.name == FOLDERS["ps"] or any((root / kind).is_dir() for kind in ("masks", "annotations")):
        return [DataSet("ps", Layout(root, "contour", frozen=frozen), labelled=True)]
    labelled = (root / "labels").is_dir() or root.name == FOLDERS["pbs"]
    return [DataSet("pbs", Layout(root, "box", frozen=frozen), labelled)]


def _paths(dataset: DataSet) -> list[Path]:
    """Returns all frames, each with a name of its own in its split."""
    found = dataset.layout.all_images()
    if dataset.labelled and found and (dataset.layout.frozen or any(map(dataset.layout.split_of, found))):
        dataset.layout.check_all_in_a_split()
    for split in SPLITS:
        folders.check_names([path for path in found if _split(dataset.layout, path) == split])
    return found


def _split(layout: Layout, path: Path) -> str:
    return layout.split_of(path) or "train"


def _scan(tasks: Sequence[tuple[DataSet, Path]], look: bool, tell: Callable[[int], None]) -> list[FrameStatistics]:
    found = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, frame in enumerate(pool.map(lambda task: _read(*task, look=look), tasks), 1):
            found.append(frame)
            tell(done)
    return found


def _read(dataset: DataSet, path: Path, *, look: bool) -> FrameStatistics:
    """Read one frame: bytes, header, picture, labels."""
    data, refused, level, size, tally = b"", False, 0, (0, 0), DatasetCounts()
    problems: list[Problem | str] = []
    oddities: list[str] = []
    labels: tuple[int, ...] = ()
    try:
        data = documents.read_bytes(path, images.MAX_BYTES)
        header = images.header(data)
        size, oddities = (header.height, header.width), header.oddities(path.suffix)
        waiting = dataset.layout.frame(path)
        if dataset.labelled:
            frame, drawn = waiting.load(data)
            labels, tally = frame.labels, DatasetCounts.of(frame)
            level = masks.level(waiting.mask) if waiting.mask else 0
            oddities += _oddities(waiting, frame, drawn)
        else:
            frame_file.checked(path, data)
            tally = DatasetCounts(Counter(frames=1))
    except ValueError as error:
        problems = [Problem(path, str(error), expected="a whole image; copy it again")]
    except PipeSegError as error:
        problems, refused = list(error.problems), isinstance(error, RefusedError)
    grey = _grey(data)
    seen = _look(grey) if look and grey is not None else None
    if grey is not None and not problems and float(grey.std()) < CONSTANT_SPREAD:
        oddities.append("one colour all over")
    digest = hashlib.sha256(data).hexdigest()
    split = _split(dataset.layout, path)
    return FrameStatistics(
        dataset.name, path, split, digest, size, labels, tally, tuple(problems), tuple(oddities), refused, level, seen
    )


def _grey(data: bytes) -> np.ndarray | None:
    try:
        return images.decode(data, images.GREY_HALF)
    except ValueError:
        return None


def _look(grey: np.ndarray) -> Descriptor | None:
    try:
        return near_duplicates.descriptor_of_pixels(grey)
    except (ValueError, cv2.error):
        return None


def _oddities(waiting: FrameFile, frame: Frame, drawn: Annotation) -> list[str]:
    """Returns what is doubtful about labels that can be used."""
    told = [
        f"contour of {CLASS_NAMES[shape.label]} crosses itself"
        for shape in drawn.polygons
        if not shapely.Polygon(shape.points).is_valid
    ]
    if drawn.mask is not None and (drawn.polygons or drawn.regions):
        shapes = raster.rasterise(Annotation((), drawn.polygons, drawn.regions), *drawn.mask.shape)
        overlap = np.sum(shapes & drawn.mask) / max(np.sum(shapes | drawn.mask), 1)
        if overlap < 0.8:
            told.append(f"mask and contours are two things: IoU {overlap:.2f}")
    if waiting.mask_source == "contour":
        told += [f"box of {name} without a contour: trained as background" for name in folders.uncovered(drawn)]
    if waiting.mask_source == "contour" and not frame.segmentation_mask.any():
        told.append("empty mask")
    return told


def _links(frames: Sequence[FrameStatistics], group_by: str, pattern: str | None, tell: OnProgress) -> list[Link]:
    stems = [frame.path.stem for frame in frames]
    keys: dict[str, Sequence[Any]] = {}
    if group_by in ("auto", "name"):
        keys["name"] = [folders.group_of(stem) for stem in stems]
    if group_by == "video":
        keys["video"] = [grouping.video_of(folders.group_of(stem)) for stem in stems]
    if group_by == "regex":
        keys["regex"] = [_matched(pattern or "", stem) for stem in stems]
    links = [Link(*pair, why) for why, values in keys.items() for pair in grouping.equal(values) if pair[0] != pair[1]]
    digests = [frame.sha256 if frame.size != (0, 0) else None for frame in frames]
    links += [Link(*pair, "bytes") for pair in grouping.equal(digests) if pair[0] != pair[1]]
    if any(frame.descriptor for frame in frames):
        links += _alike(frames, tell)
    return links


def _alike(frames: Sequence[FrameStatistics], tell: OnProgress) -> list[Link]:
    """Returns the links between near duplicates; of equal files only the first is compared."""
    first = {frame.sha256: index for index, frame in reversed(list(enumerate(frames))) if frame.descriptor}
    places = sorted(first.values())
    pairs = near_duplicates.pairs([look for place in places if (look := frames[place].descriptor)], tell)
    return [Link(places[pair.first], places[pair.second], "look", pair.likeness) for pair in pairs]


def _matched(pattern: str, stem: str) -> str | None:
    found = re.search(pattern, stem)
    return found[1] if found and found.groups() else found[0] if found else None


def _distinct(groups: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    """Returns scene names made unique where two scenes would share one."""
    owners: dict[str, list[int]] = defaultdict(list)
    for group, name in dict(zip(groups, names, strict=True)).items():
        owners[name].append(group)
    return tuple(
        name if owners[name][0] == group else f"{name}~{owners[name].index(group) + 1}"
        for group, name in zip(groups, names, strict=True)
    )


def _orphans(dataset: DataSet) -> list[Problem]:
    """Returns label and mask files that belong to no frame."""
    layout = dataset.layout
    known = {path.relative_to(layout.root / "images").with_suffix("") for path in layout.all_images()}
    found = []
    for kind, suffixes in (("labels", (".txt",)), ("masks", masks.SUFFIXES)):
        for path in sorted((layout.root / kind).rglob("*")):
            stem = path.relative_to(layout.root / kind).with_name(path.stem.removesuffix("_mask"))
            if path.is_file() and path.suffix.lower() in suffixes and stem not in known and path.stem != "classes":
                what = f"{kind.removesuffix('s')} without a frame"
                found.append(Problem(path, what, expected=f"an image {stem.name}.jpg in images/{stem.parent}"))
    return found
