"""Where a training stands, apart from the numbers in its variables."""

from dataclasses import asdict, dataclass, field
from typing import Any

from pipe_seg.components.trainer.loop import Progress


@dataclass
class State:
    """What decides how a training goes on, as JSON can hold it: floats come back bit by bit.

    ``epoch``: epochs finished; ``step``: steps taken in the one after them; ``best_epoch``: from 1, 0 before
    there is one; ``in_a_row``: steps skipped since the last good one; ``rolled_back``: whether the one way back has
    been used; ``history``: an object an epoch.
    """

    epoch: int = 0
    step: int = 0
    progress: Progress = field(default_factory=Progress)
    best_iou: float = -1.0
    best_epoch: int = 0
    skipped: int = 0
    in_a_row: int = 0
    rolled_back: bool = False
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The position as a name that sorts by time."""
        return f"epoch-{self.epoch:06d}-step-{self.step:08d}"

    def to_json(self) -> dict[str, Any]:
        """Returns what ``from_json`` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "State":
        """Returns the state that ``to_json`` wrote."""
        return cls(**{**value, "progress": Progress(**value["progress"])})
