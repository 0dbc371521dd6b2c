"""Boxes and models → contours inside the boxes that can be trusted, as a new version of the data set.

A model trained on contours predicts every training frame with boxes: the whole frame, or, if it learnt from crops, each
box with its surroundings. What it finds takes the place of the filled box if it passes three gates: a share of the box
that contours of this class have, a bounding box that is the box, and models that agree. The other boxes stay boxes.
"""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from pipe_seg import artifacts, disk
from pipe_seg.annotations import coco, formats, prelabels
from pipe_seg.annotations.folders import Layout
from pipe_seg.artifacts import Model
from pipe_seg.components.refiner import page
from pipe_seg.components.refiner.box_predictor import BoxPredictor
from pipe_seg.components.refiner.proposals import REASONS, Gates, RefinedFrame, check, refine_frames, usual_fill
from pipe_seg.config import RefinerSection
from pipe_seg.data import data_card
from pipe_seg.progress import OnProgress
from pipe_seg.schema import CLASS_NAMES, FOLDERS

COMPONENT, VERSION = "refiner", 1


@dataclass(frozen=True)
class RefinedDataset:
    """A new version of the data sets, a ``--manual-dir`` folder.

    Attributes:
        path: The folder.
        frames: How many frames have boxes that were judged.
        classes: What ``summary`` returns.
        validation: What ``check`` returns, and what validation frames ``chosen`` of the models before.
    """

    path: Path
    frames: int
    classes: Mapping[str, Mapping[str, Any]]
    validation: Mapping[str, Any]


def run(
    section: RefinerSection,
    *,
    models: Sequence[Model],
    layouts: Mapping[str, Layout],
    root: Path,
    out: Path,
    report: OnProgress,
    key: str | None = None,
) -> RefinedDataset:
    """Writes a new version of the data sets in ``root``, training boxes refined, and a page about it.

    Args:
        section: The gates and the threshold.
        models: Exported models; several judge each other.
        layouts: The data sets of ``root`` by name; ``pbs`` has to be there, ``ps`` sets the usual fill.
        root: The folder that holds them.
        out: The folder to make.
        report: Receives how many frames are done.
        key: The key to record.

    Raises:
        ConflictError: ``out`` exists already.
        InputDataError: A frame cannot be used.
        ConfigError: No frame has boxes to refine.
    """
    gates, predictor = gates_of(section, layouts), BoxPredictor(models, section.threshold)
    checked = check(layouts.get("ps"), predictor=predictor, gates=gates) | {"chosen": _chosen(section, models)}
    frames = list(refine_frames(layouts["pbs"], predictor=predictor, gates=gates, on_progress=report))
    found, names = summary(frames), [str(model.path) for model in models]
    details: dict[str, Any] = {
        "models": names,
        "source": str(root.absolute()),
        "gates": gates.to_json(),
        "classes": found,
    }
    details |= {"threshold": section.threshold, "validation": checked}
    shown = page.render(frames, found, gates, names, checked)
    write_dataset(frames, root=root, out=out, section=section, details=details, page=shown, key=key)
    return RefinedDataset(out, len(frames), found, checked)


def key_of(section: RefinerSection, inputs: Mapping[str, str]) -> str:
    """Returns the key of what ``run`` makes of these inputs: the digests of the data and of the models."""
    return artifacts.key_of(COMPONENT, VERSION, section.model_dump(), inputs)


def prelabel(
    section: RefinerSection,
    *,
    models: Sequence[Model],
    layouts: Mapping[str, Layout],
    form: str,
    number: int,
    out: Path,
    report: OnProgress,
) -> int:
    """Writes the ``number`` frames whose models agree least, for a person to correct; returns how many.

    Raises:
        ConflictError: ``out`` exists already.
        InputDataError: A frame cannot be used.
    """
    gates, predictor = gates_of(section, layouts), BoxPredictor(models, section.threshold)
    frames = list(refine_frames(layouts["pbs"], predictor=predictor, gates=gates, on_progress=report))
    return write_prelabels(frames, form=form, number=number, out=out, models=[str(model.path) for model in models])


def gates_of(section: RefinerSection, layouts: Mapping[str, Layout]) -> Gates:
    """Returns the gates, with the usual fill of the training contours."""
    return Gates(usual_fill(layouts.get("ps")), section.tightness, section.agreement)


def _chosen(section: RefinerSection, models: Sequence[Model]) -> list[str]:
    """Returns what validation frames chose of the models; the check may use the same frames."""
    chosen = {name for model in models for name in model.chosen}
    return sorted(chosen if section.threshold is None else chosen - {"threshold"})


def write_dataset(
    frames: Sequence[RefinedFrame],
    *,
    root: Path,
    out: Path,
    section: RefinerSection | None = None,
    details: dict[str, Any],
    page: str,
    key: str | None = None,
) -> None:
    """Writes every data set of ``root`` with its splits, the training boxes refined, and the report.

    Raises:
        ConflictError: ``out`` exists already.
    """
    chosen = section.model_dump() if section else {}
    with artifacts.writing(out, component=COMPONENT, section=chosen, details=details, key=key) as folder:
        for name in FOLDERS.values():
            if (root / name).is_dir():
                shutil.copytree(root / name, folder / name)
                data_card.copy_licences(root / name, folder / name)
        _relabel(folder / FOLDERS["pbs"], root / FOLDERS["pbs"], frames)
        (folder / "refine.html").write_text(page, "utf-8")


def write_prelabels(frames: Sequence[RefinedFrame], *, form: str, number: int, out: Path, models: Sequence[str]) -> int:
    """Writes the ``number`` frames whose models agree least; returns how many they are.

    ``prelabels.csv`` lists them, the least certain first, with the digest that later shows what was corrected.

    Raises:
        ConflictError: ``out`` exists already.
    """
    chosen = sorted(frames, key=lambda frame: (frame.agreement, frame.path.name))[:number]
    with artifacts.writing(out, component="prelabels", details={"format": form, "models": list(models)}) as folder:
        formats.write(form, [(frame.path.name, frame.size, frame.found) for frame in chosen], folder)
        for frame in chosen:
            shutil.copyfile(frame.path, folder / frame.path.name)
        rows = [(frame.path.name, frame.agreement, frame.found, frame.size) for frame in chosen]
        prelabels.write(folder / prelabels.NAME, rows, models)
    return len(chosen)


def summary(frames: Sequence[RefinedFrame]) -> dict[str, dict[str, Any]]:
    """Returns, for each class: boxes, accepted ones and their mean fill, and refused ones by gate."""
    found = {}
    for label, name in enumerate(CLASS_NAMES):
        boxes = [p for frame in frames for p in frame.proposals if p.box.label == label]
        verdicts = Counter(proposal.verdict for proposal in boxes)
        fills = [proposal.fill for proposal in boxes if proposal.verdict == "accepted"]
        if boxes:
            counts = {reason: verdicts[reason] for reason in REASONS}
            found[name] = {"boxes": len(boxes), **counts, "mean_fill": fmean(fills) if fills else None}
    return found


def _relabel(target: Path, source: Path, frames: Sequence[RefinedFrame]) -> None:
    """Replaces the label files of the refined frames by one COCO file for each folder of frames."""
    layout = Layout(source, "box")
    changed = {frame.path: frame for frame in frames if frame.after.is_refined}
    for folder in sorted({path.parent for path in changed}):
        place = folder.relative_to(source / "images").as_posix()
        listed = []
        for path in (path for path in layout.all_images() if path.parent == folder):
            refined = changed.get(path)
            if refined:
                _remove_labels(layout, path, target)
                listed.append((path.name, refined.size, refined.after))
            elif layout.frame(path).draw:
                frame, annotation = layout.frame(path).load(path.read_bytes())
                height, width = frame.segmentation_mask.shape
                listed.append((path.name, (height, width), replace(annotation, mask=None)))
        content = coco.written(listed, {"description": "refined by pipe-seg"})
        for image in content["images"]:
            image["mask_source"] = "refined" if folder / image["file_name"] in changed else "box"
        (target / "annotations" / f"via_{place}.csv").unlink(missing_ok=True)
        path = target / "annotations" / f"instances_{place}.json"
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.write_json(path, content)


def _remove_labels(layout: Layout, path: Path, target: Path) -> None:
    """Removes the label files of one frame, which would come before the refined boxes."""
    frame = layout.frame(path)
    for file in (frame.label, frame.mask):
        if file:
            (target / file.relative_to(layout.root)).unlink()
