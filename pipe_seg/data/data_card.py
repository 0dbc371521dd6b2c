"""The data card: what a built dataset holds, where it comes from and what is doubtful about it."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from pipe_seg import artifacts, disk
from pipe_seg.data.dataset_counts import DatasetCounts
from pipe_seg.errors import MachineError
from pipe_seg.schema import CLASS_NAMES

LICENCE_FILES = ("LICENSE*", "LICENCE*", "license*", "licence*", "COPYING*")
MAX_LICENCE_CHARACTERS = 20_000


@dataclass(frozen=True)
class Facts:
    """What a builder knows of the dataset it has just built; ``folder`` is None for rendered frames."""

    name: str
    version: str
    folder: Path | None
    counts: Mapping[str, DatasetCounts]
    groups: Mapping[str, Sequence[str]]


def write(built: Path, facts: Facts) -> None:
    """Write ``data_card.json`` and ``DATA_CARD.md`` into the dataset's folder."""
    card = describe(facts)
    disk.write_json(built / artifacts.DATA_CARD, card)
    environment = Environment(
        loader=PackageLoader("pipe_seg.data"), autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.get_template("DATA_CARD.md").render(card=card, classes=CLASS_NAMES)
    (built / "DATA_CARD.md").write_text(text + "\n", "utf-8")


def describe(facts: Facts) -> dict[str, Any]:
    """Returns the card's content as plain values."""
    whole, folder = DatasetCounts.sum(facts.counts.values()), facts.folder
    return {
        "name": facts.name,
        "version": facts.version,
        "rendered": folder is None,
        "source": str(folder.absolute()) if folder else "rendered by pipe_seg.data.synthetic",
        **made(folder),
        "licence": _licence(folder) if folder else "as pipe-seg itself",
        "splits": {name: _split(tally, facts.groups[name]) for name, tally in facts.counts.items()},
        "box_against_contour": whole.noise(),
        "left_out": dict(sorted(whole.left_out.items())),
        "content_digest": {name: tally.content for name, tally in facts.counts.items()},
    }


def _split(tally: DatasetCounts, groups: Sequence[str]) -> dict[str, Any]:
    counts = tally.counts
    frames = counts["frames"]
    sizes = Counter(groups)
    return {
        "frames": frames,
        "groups": len(sizes),
        "largest_group": max(sizes.values(), default=0),
        "without_defect": counts["without_defect"],
        "defect_area": round(counts["defect_area_ppm"] / max(frames, 1) / 1_000_000, 4),
        "frames_of_class": {name: counts[f"frames_of.{name}"] for name in CLASS_NAMES},
        "boxes_of_class": {name: counts[f"boxes_of.{name}"] for name in CLASS_NAMES},
        "refined_boxes": counts["refined_boxes"],
        "box_against_contour": tally.noise(),
    }


def made(folder: Path | None) -> dict[str, dict[str, Any] | None]:
    """Returns what ``data import`` or ``data crop`` recorded, if one of them made the folder."""
    try:
        record = artifacts.Artifact(folder).record if folder else {}
        found = {record["component"]: dict(record["details"])}
    except (MachineError, KeyError, TypeError, ValueError):
        found = {}
    return {"imported": found.get("importer"), "cropped": found.get("cropper")}


def licences(folder: Path) -> list[Path]:
    """Returns a data set's licence files, first those beside ``images/``, then those one folder up."""
    places = (sorted(place.glob(pattern)) for place in (folder, folder.parent) for pattern in LICENCE_FILES)
    return [path for paths in places for path in paths if path.is_file()]


def copy_licences(source: Path, target: Path) -> None:
    """Copies a data set's licence files to a data set made from it: those inside it, and those beside it."""
    for path in licences(source):
        copy = (target if path.parent == source else target.parent) / path.name
        if not copy.exists():
            shutil.copyfile(path, copy)


def _licence(folder: Path) -> str | None:
    found = licences(folder)
    return found[0].read_text("utf-8", "replace")[:MAX_LICENCE_CHARACTERS] if found else None
