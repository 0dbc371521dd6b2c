"""What a ladder trains: rungs of one or more trainings, over seeds and folds."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from pipe_seg.config import Section
from pipe_seg.errors import ConfigError, Problem

NAME = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]*$")]


class Step(Section):
    """One training; it begins with the weights of the step before it.

    ``crop``: on the boxes of frames with contours, as `data crop` cuts them out; no other step begins with that.
    ``refine``: on boxes that the step before it refined, as `data refine` does with one model.
    """

    dataset: Literal["pbs", "ps", "pbs+ps"]
    preset: str = "default"
    settings: tuple[str, ...] = ()
    crop: bool = False
    refine: bool = False

    @model_validator(mode="after")
    def _crops(self) -> "Step":
        if self.crop and (self.dataset != "ps" or self.refine):
            raise ValueError("crop: only of ps, and not with refine")
        return self


class Rung(Section):
    """One recipe. ``over`` names the rung it is compared with: the one before it, unless it says otherwise."""

    name: NAME
    what: str = ""
    steps: tuple[Step, ...] = Field(min_length=1)
    over: str | None = None


class Plan(Section):
    """A ladder.

    ``folds``: cross-validation over all scenes with contours, 0 for the data's own split; ``split``: what is scored
    then; ``settings`` go for every step.
    """

    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((1, 2, 3), min_length=1)
    folds: int = Field(0, ge=0, le=20)
    fold_seed: int = Field(1, ge=0)
    split: Literal["validation", "test"] = "validation"
    draws: int = Field(2000, ge=10)
    settings: tuple[str, ...] = ()
    rungs: tuple[Rung, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names(self) -> "Plan":
        known: set[str] = set()
        for rung in self.rungs:
            if rung.name in known:
                raise ValueError(f"two rungs are called {rung.name}")
            if rung.over is not None and rung.over not in known:
                raise ValueError(f"{rung.name}: over names {rung.over}, which stands not before it")
            if rung.steps[0].refine:
                raise ValueError(f"{rung.name}: its first step has no step before it to refine with")
            if rung.steps[-1].crop:
                raise ValueError(f"{rung.name}: its last step is scored on frames, not on crops")
            known.add(rung.name)
        return self

    def under(self, rung: Rung) -> str | None:
        """Give the name of the rung that ``rung`` is compared with; None for the first."""
        names = [other.name for other in self.rungs]
        before = names.index(rung.name) - 1
        return rung.over or (names[before] if before >= 0 else None)


@dataclass(frozen=True)
class Training:
    """One rung's steps on one fold with one seed."""

    rung: Rung
    fold: int
    seed: int


def trainings(plan: Plan) -> Iterator[Training]:
    """Give all of them, a whole seed at a time: an interrupted ladder has whole seeds to show."""
    for seed in plan.seeds:
        for fold in range(max(plan.folds, 1)):
            for rung in plan.rungs:
                yield Training(rung, fold, seed)


def load(path: Path) -> Plan:
    """Read a plan.

    Raises:
        ConfigError: it cannot be read or says what no plan says.
    """
    try:
        return Plan.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(Problem(path, f"cannot be read: {error}")) from error
    except ValidationError as error:
        faults = ((".".join(str(part) for part in fault["loc"]), fault["msg"]) for fault in error.errors())
        raise ConfigError(*(Problem(path, f"{key}: {what}".removeprefix(": ")) for key, what in faults)) from error
