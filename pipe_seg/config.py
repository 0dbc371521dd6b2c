"""The configuration: one section a component, defaults only here, errors that name file and key."""

import difflib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pipe_seg.errors import ConfigError, Problem

TAGGED = ("optimizer", "criterion")
CLONE, INSTALLED = Path(__file__).resolve().parent.parent / "configs", Path(sys.prefix) / "share/pipe-seg/configs"
PRESETS = CLONE if CLONE.is_dir() else INSTALLED


def locked(default: Any, why: str, **constraints: Any) -> Any:
    """Declare a field marked *do not touch*: ``why`` is told to whoever tries."""
    return Field(default, json_schema_extra={"locked": why}, **constraints)


class Section(BaseModel):
    """A frozen part of the configuration; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class AdamW(Section):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    weight_decay: float = Field(0.01, ge=0)
    beta_1: float = Field(0.9, ge=0, lt=1)
    beta_2: float = Field(0.999, ge=0, lt=1)


class Adam(Section):
    """Adam."""

    name: Literal["adam"] = "adam"
    beta_1: float = Field(0.9, ge=0, lt=1)
    beta_2: float = Field(0.999, ge=0, lt=1)


class Sgd(Section):
    """Stochastic gradient descent with Nesterov momentum."""

    name: Literal["sgd"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(0.0, ge=0)


class Bce(Section):
    """Binary cross-entropy."""

    name: Literal["bce"] = "bce"


class WeightedBce(Section):
    """Cross-entropy with a weight for background and one for defect: the original experiment's loss."""

    name: Literal["weighted_bce"] = "weighted_bce"
    background_weight: float = Field(0.1, ge=0)
    defect_weight: float = Field(1.0, ge=0)


class Focal(Section):
    """Focal loss; ``alpha`` (defect's share) is off unless given."""

    name: Literal["focal"] = "focal"
    gamma: float = Field(2.0, ge=0)
    alpha: float | None = Field(None, ge=0, le=1)


class Overlap(Section):
    """Soft Dice or Jaccard; ``smooth`` is added above and below the fraction, in pixels."""

    name: Literal["dice", "jaccard"] = "dice"
    smooth: float = Field(1.0, ge=0)


class Tversky(Section):
    """Tversky index: false positives and false negatives weighed apart."""

    name: Literal["tversky"] = "tversky"
    fp_weight: float = Field(0.3, ge=0)
    fn_weight: float = Field(0.7, ge=0)
    smooth: float = Field(1.0, ge=0)


class FocalTversky(Section):
    """Tversky loss to the power ``gamma``."""

    name: Literal["focal_tversky"] = "focal_tversky"
    fp_weight: float = Field(0.3, ge=0)
    fn_weight: float = Field(0.7, ge=0)
    gamma: float = Field(0.75, gt=0)
    smooth: float = Field(1.0, ge=0)


class Lovasz(Section):
    """Lovász hinge, image by image."""

    name: Literal["lovasz"] = "lovasz"


class BceDice(Section):
    """Cross-entropy plus soft Dice."""

    name: Literal["bce_dice"] = "bce_dice"
    bce_weight: float = Field(1.0, ge=0)
    dice_weight: float = Field(1.0, ge=0)
    smooth: float = Field(1.0, ge=0)


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Optimizer = Annotated[AdamW | Adam | Sgd, Field(discriminator="name"), BeforeValidator(_by_name)]
Criterion = Annotated[
    Bce | WeightedBce | Focal | Overlap | Tversky | FocalTversky | Lovasz | BceDice,
    Field(discriminator="name"),
    BeforeValidator(_by_name),
]


class Recipe(Section):
    """What the experiment sets for one dataset."""

    epochs: int = Field(30, ge=1, le=100_000)
    learning_rate: float = Field(1e-3, gt=0, le=10)
    batch_size: int = Field(8, ge=1, le=4096)
    optimizer: Optimizer = AdamW()
    criterion: Criterion = BceDice()


class ExampleGenSection(Section):
    """Raw folders → TFDS."""

    data_dir: str | None = None


class TransformSection(Section):
    """Examples → batches."""

    image_height_px: int = locked(256, "the network, its batches and the exported graph share it", ge=16, le=4096)
    image_width_px: int = locked(320, "the network, its batches and the exported graph share it", ge=16, le=4096)
    augment: bool = True
    cache: bool = True


class ModelSection(Section):
    """The network."""

    encoder: Literal["plain", "residual"] = locked("plain", "weights of one encoder do not fit the other")
    width: int = locked(32, "weights of one width do not fit another", ge=1, le=512)
    depth: int = locked(4, "weights of one depth do not fit another", ge=1, le=7)
    norm: Literal["batch", "group"] = locked("batch", "weights of one normalisation do not fit the other")
    dropout: float = locked(0.1, "measured together with width and depth", ge=0, lt=1)


class TrainerSection(Section):
    """Examples → a trained model."""

    strategy: Literal["auto", "one", "mirrored"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    warmup_share: float = Field(0.05, ge=0, lt=1)
    final_rate_share: float = Field(0.01, ge=0, le=1)
    ema_momentum: float = Field(0.99, ge=0, lt=1)
    gradient_clip_norm: float = Field(1.0, gt=0)
    early_stopping_epochs: int = Field(15, ge=1)
    steps_per_call: int = Field(8, ge=1)


class EvaluatorSection(Section):
    """The exported model → scores."""

    threshold: float | Literal["auto"] = "auto"
    empty: Literal["skip", "one", "zero"] = locked(
        "skip", "scores with another rule for empty frames cannot be compared"
    )
    bootstrap_draws: int = Field(2000, ge=10)
    minimum_iou: float = Field(0.3, ge=0, le=1)
    minimum_blob_area_px: int = Field(64, ge=0)


class ExportSection(Section):
    """The model → a SavedModel."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"


class InfraValidatorSection(Section):
    """A fresh process loads the SavedModel."""

    frames: int = Field(4, ge=1)
    timeout_s: float = Field(180, gt=0)


class PusherSection(Section):
    """A blessed model → a model store."""

    store: str = "models"


class Config(Section):
    """Everything a run is decided by."""

    preset: str = "default"
    unlocked: tuple[str, ...] = ()
    seed: int = Field(42, ge=0, le=2**31 - 1)
    pbs: Recipe = Recipe()
    ps: Recipe = Recipe(learning_rate=3e-4)
    example_gen: ExampleGenSection = ExampleGenSection()
    transform: TransformSection = TransformSection()
    model: ModelSection = ModelSection()
    trainer: TrainerSection = TrainerSection()
    evaluator: EvaluatorSection = EvaluatorSection()
    export: ExportSection = ExportSection()
    infra_validator: InfraValidatorSection = InfraValidatorSection()
    pusher: PusherSection = PusherSection()

    def recipe(self, dataset: str) -> Recipe:
        """Give the part that belongs to ``pbs`` or ``ps``."""
        recipe: Recipe = getattr(self, dataset)
        return recipe

    def to_yaml(self) -> str:
        """Give the text that ``load`` reads back to an equal configuration."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load(source: str | Path | None = None, overrides: Sequence[str] = (), *, unlock: bool = False) -> Config:
    """Give the configuration: defaults < preset or file < ``section.key=value`` overrides.

    Args:
        source: a preset's name in ``configs/``, or a YAML file; none is the defaults.
        overrides: ``key=value`` texts; the value is YAML.
        unlock: let locked fields differ from the preset; those that do are listed in ``unlocked``.

    Raises:
        ConfigError: unreadable, unknown key, wrong value, or a locked field changed.
    """
    path = _resolve(source)
    values, lines = _read(path) if path else ({}, {})
    is_preset = path is not None and path.parent == PRESETS
    if is_preset and path:
        values["preset"] = path.stem
    for text in overrides:
        _override(values, text)
    config = _validate(values, path, lines)
    preset = "default" if is_preset and not overrides else config.preset
    reference = config if is_preset and not overrides else _preset(preset)
    changed = [key for key in locked_fields() if value_of(config, key) != value_of(reference, key)]
    refused = [] if unlock else [key for key in changed if key not in config.unlocked]
    if refused:
        raise ConfigError(*(_refusal(key, config, reference, path, lines) for key in refused))
    return config.model_copy(update={"unlocked": tuple(changed)})


def _preset(name: str) -> Config:
    if name == "default":
        return Config()
    path = _resolve(name)
    values, lines = _read(path) if path else ({}, {})
    return _validate({**values, "preset": name}, path, lines)


def _refusal(key: str, config: Config, reference: Config, path: Path | None, lines: Mapping[str, int]) -> Problem:
    why = locked_fields()[key]
    expected = f"{value_of(reference, key)} as in the preset, or --unlock"
    return Problem(path or "-s", f"{key} is locked: {why}", lines.get(key), value_of(config, key), expected)


def locked_fields() -> dict[str, str]:
    """Give every locked field's dotted key and the reason it is locked."""
    found = {}
    for name, section in Config.model_fields.items():
        fields = getattr(section.annotation, "model_fields", {})
        for key, field in fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and "locked" in extra:
                found[f"{name}.{key}"] = str(extra["locked"])
    return found


def value_of(config: Config, key: str) -> Any:
    """Give the value at a dotted key."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def presets() -> list[str]:
    """Give the names of the presets that come with the project."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def _resolve(source: str | Path | None) -> Path | None:
    if source is None or str(source) == "default":
        return None
    named = PRESETS / f"{source}.yaml"
    if str(source) in presets():
        return named
    path = Path(source)
    if path.is_file():
        return path
    expected = f"a YAML file or one of the presets: {', '.join(['default', *presets()])}"
    raise ConfigError(Problem(path, "no such configuration", expected=expected))


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise yaml.MarkedYAMLError(None, None, f"key {key_node.value!r} stands twice", key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    try:
        text = path.read_text("utf-8")
        node = yaml.compose(text, _Loader)
        values = yaml.load(text, _Loader)  # noqa: S506 - _Loader is a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(Problem(path, f"cannot be read: {error}")) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(Problem(path, f"not valid YAML: {error.problem}", line)) from error
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise ConfigError(Problem(path, "not a configuration", 1, type(values).__name__, "key: value lines"))
    return values, dict(_lines(node, ()))


def _lines(node: Any, prefix: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        path = (*prefix, str(key.value))
        yield ".".join(path), key.start_mark.line + 1
        yield from _lines(value, path)


def _override(values: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(Problem("-s", "not an override", got=text, expected="key=value, as pbs.epochs=20"))
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.get(parent)
        values[parent] = dict(_by_name(inner)) if isinstance(inner, dict | str) else {}
        values = values[parent]
    try:
        values[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(Problem("-s", f"{key}: not a YAML value", got=value)) from error


def _validate(values: dict[str, Any], path: Path | None, lines: Mapping[str, int]) -> Config:
    try:
        return Config.model_validate(_over(Config().model_dump(), values))
    except ValidationError as error:
        raise ConfigError(*(_problem(fault, path, lines) for fault in error.errors())) from error


def _over(below: Any, above: Any) -> Any:
    """Lay ``above`` over ``below``; another ``name`` in a tagged union starts afresh."""
    if isinstance(above, str) and isinstance(below, dict) and "name" in below:
        above = {"name": above}
    if not isinstance(above, dict) or not isinstance(below, dict):
        return above
    if above.get("name", below.get("name")) != below.get("name"):
        return above
    return {**below, **{key: _over(below.get(key), value) for key, value in above.items()}}


def _problem(fault: Any, path: Path | None, lines: Mapping[str, int]) -> Problem:
    given = [str(part) for part in fault["loc"]]
    parts = [part for before, part in zip(["", *given], given, strict=False) if before not in TAGGED]
    key = ".".join(parts)
    where = path if path and key in lines else "-s"
    if fault["type"] != "extra_forbidden":
        return Problem(where, f"{key}: {fault['msg'].lower()}", lines.get(key), fault["input"])
    known = _siblings(parts)
    close = difflib.get_close_matches(parts[-1], known, 1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
    return Problem(where, f"{key}: unknown key, {hint}", lines.get(key))


def _siblings(parts: Sequence[str]) -> list[str]:
    value: Any = Config()
    for part in parts[:-1]:
        value = getattr(value, part, None)
    return sorted(type(value).model_fields) if isinstance(value, BaseModel) else []
