"""The frozen split of a data set: ``splits.json`` beside ``images/`` lists the split of every frame."""

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipe_seg.annotations import documents, names
from pipe_seg.errors import InputDataError, Problem

NAME = "splits.json"
RERUN = "a new run of `data split`"

Split = Literal["train", "validation", "test"]


class Entry(BaseModel):
    """One frame: the sha256 of its file, its scene and its split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    group: Annotated[str, Field(min_length=1, max_length=300)]
    split: Split


class SplitFile(BaseModel):
    """The file: its provenance, and the frames by path relative to the data set's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    made: dict[str, str | int | float | bool | None]
    frames: dict[str, Entry]

    def groups(self, split: str) -> set[str]:
        """Returns the scenes of a split."""
        return {entry.group for entry in self.frames.values() if entry.split == split}


def read(root: Path) -> SplitFile | None:
    """Returns the data set's split file, or None where there is none.

    Raises:
        InputDataError: The file cannot be read, a frame is missing, or a scene is in two splits (allowed if legacy).
        RefusedError: A name in the file points outside the folder.
    """
    path = root / NAME
    if not path.exists():
        return None
    content = documents.parse_json(path, documents.read_text(path, "utf-8"))
    found = documents.validated(path, content, SplitFile)
    scene_splits: dict[str, set[str]] = defaultdict(set)
    for name, entry in found.frames.items():
        names.relative(name, Problem(path, "", pointer="/frames"))
        scene_splits[entry.group].add(entry.split)
    missing = [root / name for name in found.frames if not names.contained(root / name, root)]
    if missing:
        raise InputDataError(*(Problem(frame, f"listed in {NAME} but missing", expected=RERUN) for frame in missing))
    if found.made.get("legacy"):
        return found
    divided = [group for group, splits in scene_splits.items() if len(splits) > 1]
    if divided:
        what = "one scene in two splits"
        raise InputDataError(*(Problem(path, what, got=group, expected="each scene in one split") for group in divided))
    return found
