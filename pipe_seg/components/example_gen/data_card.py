"""The data card: what a built dataset holds, where it comes from and what is doubtful about it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from pipe_seg import artifacts
from pipe_seg.data.examples import FrameBuilder
from pipe_seg.data.tally import Tally
from pipe_seg.schema import CLASS_NAMES

LICENCE_FILES = ("LICENSE*", "LICENCE*", "license*", "licence*", "COPYING*")
MAX_LICENCE_CHARACTERS = 20_000


def write(built: Path, builder: FrameBuilder, folder: Path, *, rendered: bool, digest: str) -> None:
    """Write ``data_card.json`` and ``DATA_CARD.md`` into the dataset's folder."""
    card = describe(builder, folder, rendered=rendered, digest=digest)
    artifacts.write_json(built / artifacts.DATA_CARD, card)
    environment = Environment(
        loader=PackageLoader("pipe_seg.components.example_gen"), autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.get_template("DATA_CARD.md").render(card=card, classes=CLASS_NAMES)
    (built / "DATA_CARD.md").write_text(text + "\n", "utf-8")


def describe(builder: FrameBuilder, folder: Path, *, rendered: bool, digest: str) -> dict[str, Any]:
    """Give the card's content as plain values."""
    whole = Tally.sum(builder.tallies.values())
    return {
        "name": f"{builder.name}/{builder.builder_config.name}",
        "version": str(builder.version),
        "rendered": rendered,
        "source": "rendered by pipe_seg.data.synthetic" if rendered else str(folder.absolute()),
        "imported": None if rendered else _imported(folder),
        "licence": "as pipe-seg itself" if rendered else _licence(folder),
        "splits": {name: _split(tally, builder.groups[name]) for name, tally in builder.tallies.items()},
        "box_against_contour": whole.noise(),
        "left_out": dict(sorted(whole.left_out.items())),
        "inputs_sha256": digest,
        "content_digest": {name: tally.content for name, tally in builder.tallies.items()},
    }


def _split(tally: Tally, groups: Sequence[str]) -> dict[str, Any]:
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
    }


def _imported(folder: Path) -> dict[str, Any] | None:
    """Give what ``data import`` wrote down, if the folder was imported."""
    record = artifacts.Artifact(folder)
    return record.record["details"] if (folder / artifacts.RECORD).is_file() else None


def _licence(folder: Path) -> str | None:
    for place in (folder, folder.parent):
        for pattern in LICENCE_FILES:
            for path in sorted(place.glob(pattern)):
                if path.is_file():
                    return path.read_text("utf-8", "replace")[:MAX_LICENCE_CHARACTERS]
    return None
