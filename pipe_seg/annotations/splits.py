"""The frozen split of a data set: ``splits.json`` beside ``images/`` says where every frame belongs."""

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipe_seg.annotations import documents, names
from pipe_seg.errors import InputDataError, Problem

NAME = "splits.json"
AGAIN = "`python cli.py data split` run again"

Split = Literal["train", "validation", "test"]


class Entry(BaseModel):
    """One frame: the sha256 of its file, the scene it shows and the split that scene is in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    group: Annotated[str, Field(min_length=1, max_length=300)]
    split: Split


class SplitFile(BaseModel):
    """The file: how it was made, and the frames by their path below the data set's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    made: dict[str, str | int | float | bool | None]
    frames: dict[str, Entry]

    def groups(self, split: str) -> set[str]:
        """Give the scenes of a split."""
        return {entry.group for entry in self.frames.values() if entry.split == split}


def read(root: Path) -> SplitFile | None:
    """Give the data set's split file, or None where there is none.

    Raises:
        InputDataError: it cannot be read, a frame in it is not there, or a scene stands in two splits of a split
            that is not the folders' own.
        RefusedError: a name in it points outside the folder.
    """
    path = root / NAME
    if not path.exists():
        return None
    content = documents.parse_json(path, documents.read_text(path, "utf-8"))
    found = documents.fitted(path, content, SplitFile)
    sides: dict[str, set[str]] = defaultdict(set)
    for name, entry in found.frames.items():
        names.relative(name, Problem(path, "", pointer="/frames"))
        sides[entry.group].add(entry.split)
    gone = [root / name for name in found.frames if not names.contained(root / name, root)]
    if gone:
        raise InputDataError(*(Problem(frame, f"listed in {NAME} but not there", expected=AGAIN) for frame in gone))
    if found.made.get("legacy"):
        return found
    cut = [group for group, splits in sides.items() if len(splits) > 1]
    if cut:
        what = "one scene in two splits"
        raise InputDataError(*(Problem(path, what, got=group, expected="all of it in one") for group in cut))
    return found
