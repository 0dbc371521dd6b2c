"""Ablations: recipes × folds × seeds, trained as a single recipe is, and scored on held-out frames."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from pipe_seg import config
from pipe_seg.artifacts import Artifact, Dataset
from pipe_seg.components.evaluator import frame_scores
from pipe_seg.config import Config, Section
from pipe_seg.data import examples
from pipe_seg.errors import ConfigError, ConflictError, Problem
from pipe_seg.nn.scores import FrameScore
from pipe_seg.pipeline import datasets, frames, models, recipe, runner
from pipe_seg.pipeline.recipe import NAME, Recipe, Stage
from pipe_seg.pipeline.runner import Request
from pipe_seg.pipeline.runs import Run

PERSON = "ablation"
Log = Callable[[str], None]


class Variant(Section):
    """One recipe of an ablation: a recipe that comes with the project, or stages of its own."""

    name: NAME
    what: str = ""
    over: str | None = Field(None, description="The variant it is compared with; by default the one before it.")
    recipe: str | None = Field(None, description="The name of a recipe.")
    stages: tuple[Stage, ...] = Field((), description="Stages, instead of a recipe.")
    settings: tuple[str, ...] = Field((), description="Overrides for every stage.")

    @model_validator(mode="after")
    def _one_recipe(self) -> "Variant":
        if (self.recipe is None) == (not self.stages):
            raise ValueError(f"{self.name}: either recipe or stages")
        if self.stages:
            Recipe(name=self.name, stages=self.stages)
        return self

    def as_recipe(self) -> Recipe:
        """Returns the recipe, under the variant's name."""
        found = recipe.load(self.recipe) if self.recipe else Recipe(name=self.name, stages=self.stages)
        return found.model_copy(update={"name": self.name})


class Plan(Section):
    """An ablation."""

    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((1, 2, 3), min_length=1)
    folds: int = Field(0, ge=0, le=20, description="Folds over all scenes with contours; 0 for the data's own split.")
    fold_seed: int = Field(1, ge=0)
    split: Literal["validation", "test"] = Field("validation", description="What is scored.")
    draws: int = Field(2000, ge=10, description="Draws of the bootstrap.")
    settings: tuple[str, ...] = Field((), description="Overrides for every stage of every variant.")
    variants: tuple[Variant, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names(self) -> "Plan":
        known: set[str] = set()
        for variant in self.variants:
            if variant.name in known:
                raise ValueError(f"two variants are called {variant.name}")
            if variant.over is not None and variant.over not in known:
                raise ValueError(f"{variant.name}: over names {variant.over}, which is not before it")
            known.add(variant.name)
        return self

    def under(self, variant: Variant) -> str | None:
        """Returns the name of the variant that ``variant`` is compared with; None for the first."""
        names = [other.name for other in self.variants]
        before = names.index(variant.name) - 1
        return variant.over or (names[before] if before >= 0 else None)


@dataclass(frozen=True)
class Training:
    """One variant on one fold with one seed."""

    variant: Variant
    fold: int
    seed: int


@dataclass(frozen=True)
class Result:
    """The scores of one training on the frames it did not see, and the threshold of its model."""

    training: Training
    frames: list[FrameScore]
    threshold: float


def load(source: str) -> Plan:
    """Returns a plan by its name, or from a YAML file.

    Raises:
        ConfigError: There is none, it cannot be read, or it is not a plan.
    """
    path = config.find_shipped("ablations", source)
    return recipe.validated(Plan, config.read_yaml(path)[0], path)


def trainings(plan: Plan) -> Iterator[Training]:
    """Yields all trainings, a whole seed at a time: an interrupted ablation has whole seeds to show."""
    for seed in plan.seeds:
        for fold in range(max(plan.folds, 1)):
            for variant in plan.variants:
                yield Training(variant, fold, seed)


class AblationRunner:
    """One ablation in one folder: ``folds/``, ``runs/`` and what the stages printed in ``logs/``."""

    def __init__(self, plan: Plan, out: Path, manual_dir: Path | None, log: Log) -> None:
        """Takes the plan, the folder to work in, the frames, and who receives lines for the person."""
        self._plan, self._out, self._manual_dir, self._log = plan, out, manual_dir, log
        self._commits: set[str] = set()

    def run(self) -> list[Result]:
        """Trains what is not trained yet; returns every result, in the order of the plan.

        Raises:
            ConfigError: A single scene is scored, so that no other scene can choose a threshold for it.
            ConflictError: The folds here are of other frames, or another division.
            StageFailedError: A training ended badly; the same ablation continues from there.
        """
        self._check_scenes()
        if self.chosen_here:
            chosen = ", ".join(self.chosen_here)
            self._log(f"note: scores are biased upwards: the scored frames also choose {chosen}")
        wanted = list(trainings(self._plan))
        results, spent = [], []
        for number, training in enumerate(wanted, 1):
            started = time.monotonic()
            results.append(self._result(training))
            spent.append(time.monotonic() - started)
            left = timedelta(seconds=round(float(np.mean(spent)) * (len(wanted) - number)))
            where = f"fold {training.fold + 1}/{self._plan.folds}, " if self._plan.folds else ""
            ious = [frame.counts(results[-1].threshold).iou for frame in results[-1].frames]
            iou = math.nan if all(map(math.isnan, ious)) else np.nanmean(ious)
            found = (
                f"{training.variant.name}, {where}seed {training.seed}: IoU {iou:.3f} at {results[-1].threshold:.3f}"
            )
            self._log(f"{number}/{len(wanted)}  {found}  ETA {left}")
        return results

    def boxes(self) -> dict[str, float]:
        """Returns the IoU of the filled boxes of each scored frame that has boxes."""
        found: dict[str, float] = {}
        for folder in self._folders:
            found |= models.filled_boxes(self._contours(folder), self._plan.split)
        return found

    @property
    def rendered(self) -> bool:
        """Whether frames are rendered."""
        return not self._plan.folds and datasets.uses_rendered("ps", self._manual_dir)

    @property
    def commits(self) -> list[str]:
        """The commits at which the results of ``run`` were trained."""
        return sorted(self._commits)

    @property
    def chosen_here(self) -> list[str]:
        """What the scored frames choose beside being scored; nothing on ``split: test``."""
        found = set()
        for variant in self._plan.variants if self._plan.split == "validation" else ():
            request = self._request(Training(variant, 0, 0), None)
            stages = [request.settings(stage) for stage in request.recipe.stages if stage.component == "trainer"]
            last = stages[-1]
            found |= {"best epoch" for stage in stages if stage.trainer.chooses}
            found |= {"minimum component size"} if last.export.min_component_fraction == "auto" else set()
            if last.export.min_component_fraction != 0 and last.evaluator.threshold == "auto":
                found.add("threshold at which small components are dropped")
        return sorted(found)

    def _check_scenes(self) -> None:
        if self._plan.folds or self._plan.split == "test":
            return
        path = self._contours(self._manual_dir).path
        if len({frame.group_id for frame in examples.frames(path, "validation")}) < 2:
            cure = "folds: 2 or more in the plan, or split: test"
            raise ConfigError(Problem(path, "validation shows one scene: none chooses its threshold", expected=cure))

    @cached_property
    def _folders(self) -> list[Path | None]:
        plan, folder = self._plan, self._out / "folds"
        if not plan.folds:
            return [self._manual_dir]
        source = self._manual_dir or datasets.MANUAL_DIR
        if not folder.is_dir():
            self._log(f"dividing the scenes of {source} into {plan.folds} folds …")
            frames.folds(
                source,
                group_by="auto",
                pattern=None,
                number=plan.folds,
                seed=plan.fold_seed,
                out=folder,
                on_progress=lambda done, total: None,
            )
        record = Artifact(folder).record
        division = {"folds": plan.folds, "seed": plan.fold_seed}
        if (record["section"], record["inputs"]) != (division, frames.fold_inputs(source)):
            what = "the folds here are of other frames, or divided otherwise"
            cure = f"another --out, or {folder} removed"
            raise ConflictError(Problem(folder, what, got=record["section"], expected=cure))
        return [folder / str(fold) for fold in range(plan.folds)]

    def _result(self, training: Training) -> Result:
        folder = self._folders[training.fold]
        runs_dir = self._out / "runs"
        output = self._out / "logs" / f"{training.variant.name}-{training.seed}-{training.fold}.log"
        output.parent.mkdir(parents=True, exist_ok=True)
        request = self._request(training, folder)
        run = runner.run(request, runs_dir=runs_dir, log=lambda text: None, reuse=runs_dir, output=output)
        self._commits |= _commits(run)
        return Result(training, self._frames(run, request.settings(request.last)), float(run.model.facts["threshold"]))

    def _request(self, training: Training, folder: Path | None) -> Request:
        overrides = (*self._plan.settings, *training.variant.settings, f"seed={training.seed}")
        return Request(training.variant.as_recipe(), None, overrides, True, folder, PERSON)

    def _contours(self, folder: Path | None) -> Dataset:
        settings = config.load(None, self._plan.settings, unlock=True)
        return datasets.training_data(settings, "ps", folder, lambda text: None).contours

    def _frames(self, run: Run, settings: Config) -> list[FrameScore]:
        """Returns the scores of the frames that were held out; a split beside validation is scored once."""
        evaluation = run.evaluation
        if self._plan.split != "validation":
            folder = run.path / f"evaluator_{self._plan.split}"
            if not folder.is_dir():
                contours = datasets.data_of(run).contours
                models.evaluate(settings, run.model, contours, out=folder, split=self._plan.split)
            return frame_scores.read(folder)
        return frame_scores.read(evaluation.path)


def _commits(run: Run) -> set[str]:
    entries = (run.info, *run.info.get("resumed", []))
    return {entry["commit"] for entry in entries if entry["commit"]}
