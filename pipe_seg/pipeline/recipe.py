"""Recipes: named stages, read from YAML."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from pipe_seg import config
from pipe_seg.config import Config, Section
from pipe_seg.errors import ConfigError, Problem

NAME = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]*$", max_length=40)]

Plan = TypeVar("Plan", bound=Section)


class Stage(Section):
    """One step of a recipe."""

    name: NAME
    component: Literal["cropper", "refiner", "trainer"]
    description: str = ""
    dataset: Literal["pbs", "ps", "pbs+ps"] | None = Field(None, description="What a trainer learns from.")
    preset: str | None = Field(None, description="A preset; by default that of the command line.")
    settings: tuple[str, ...] = Field((), description="Overrides of the preset, as section.key=value.")
    data: str | None = Field(None, description="The cropper or refiner whose frames are used; by default the user's.")
    init: str | None = Field(None, description="The trainer whose weights this one starts from.")
    models: tuple[str, ...] = Field((), description="The trainers whose models a refiner uses.")

    @model_validator(mode="after")
    def _fits(self) -> "Stage":
        if (self.component == "trainer") != (self.dataset is not None):
            raise ValueError(f"{self.name}: a trainer has a dataset, other components have none")
        if (self.component == "refiner") != bool(self.models):
            raise ValueError(f"{self.name}: a refiner has models, other components have none")
        if self.init and self.component != "trainer":
            raise ValueError(f"{self.name}: only a trainer starts from weights")
        return self


class Recipe(Section):
    """Stages in their order; the last one is a trainer, whose model is the recipe's result."""

    name: NAME
    description: str = ""
    rendered: bool = Field(False, description="Use the embedded rendered sample whatever frames there are.")
    stages: tuple[Stage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _connected(self) -> "Recipe":
        known: dict[str, Stage] = {}
        for stage in self.stages:
            if stage.name in known:
                raise ValueError(f"two stages are called {stage.name}")
            trainers = {name for name, other in known.items() if other.component == "trainer"}
            wanted: dict[str, set[str]] = {"init": {stage.init} if stage.init else set(), "models": set(stage.models)}
            for key, names in wanted.items():
                if names - trainers:
                    raise ValueError(
                        f"{stage.name}: {key} names {', '.join(map(str, names - trainers))}, no earlier trainer"
                    )
            if stage.data and stage.data not in known.keys() - trainers:
                raise ValueError(f"{stage.name}: data names {stage.data}, no earlier cropper or refiner")
            known[stage.name] = stage
        if self.stages[-1].component != "trainer" or self._crops(self.stages[-1]):
            raise ValueError("the last stage has to be a trainer that learns from whole frames")
        return self

    def _crops(self, stage: Stage) -> bool:
        return any(other.name == stage.data and other.component == "cropper" for other in self.stages)

    def stage(self, name: str) -> Stage:
        """Returns the stage of this name."""
        return next(stage for stage in self.stages if stage.name == name)

    def settings(self, stage: Stage, preset: str | None, overrides: tuple[str, ...], *, unlock: bool = False) -> Config:
        """Returns a stage's configuration: its preset (default ``preset``), its settings, then overrides.

        Raises:
            ConfigError: An override is wrong or changes a locked field.
        """
        return config.load(stage.preset or preset, (*stage.settings, *overrides), unlock=unlock)


def names() -> list[str]:
    """Returns the names of the recipes that come with the project."""
    return config.shipped("recipes")


def load(source: str) -> Recipe:
    """Returns a recipe by its name, or from a YAML file.

    Raises:
        ConfigError: There is none, it cannot be read, or it is not a recipe.
    """
    path = config.find_shipped("recipes", source)
    content, _ = config.read_yaml(path)
    return validated(Recipe, {"name": path.stem, **content}, path)


def validated(kind: type[Plan], content: Mapping[str, Any], path: Path) -> Plan:
    """Returns the recipe or plan that a mapping describes; errors name ``path``.

    Raises:
        ConfigError: It is none.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        faults = ((".".join(str(part) for part in fault["loc"]), fault["msg"]) for fault in error.errors())
        raise ConfigError(*(Problem(path, f"{key}: {what}".removeprefix(": ")) for key, what in faults)) from error
