"""Builds one configuration of presets, files and overrides; errors name file, line and key."""

import copy
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from pipe_seg.config.choices import by_name
from pipe_seg.config.sections import Config
from pipe_seg.errors import ConfigError, Problem

PACKAGE = Path(__file__).resolve().parent
PRESETS = PACKAGE / "presets"
TAGGED = ("optimizer", "criterion")
RENAMED = {
    "supervision.ring_fill": "supervision.fill_threshold",
    "export.minimum_blob": "export.min_component_fraction",
    "evaluator.minimum_blob_area_px": "evaluator.min_component_area_px",
}
REMOVED = {  # with the value at which the key did nothing
    "transform.camera": 0,
    "supervision.ignore_paint": False,
    "supervision.consistency_weight": 0,
    "supervision.affinity_weight": 0,
    "model.frozen_statistics": False,
    "trainer.objective": "segment",
    "trainer.plateau_epochs": 5,
    "trainer.plateau_factor": 0.5,
    "trainer.deep_supervision": 0,
    "trainer.encoder_frozen_share": 0,
    "trainer.teachers": [],
    "trainer.taught_share": 0.5,
    "export.tile_scale": 1,
}


@dataclass(frozen=True)
class _Given:
    """Values on top of a base preset, and where each was given: a file's line, or the command line."""

    values: dict[str, Any]
    path: Path | None = None
    lines: Mapping[str, int] = field(default_factory=dict)
    overridden: frozenset[str] = frozenset()

    def problem(self, key: str, what: str, got: object = None, expected: str = "") -> Problem:
        """Returns a problem with a key, at the place where its value was given."""
        by_hand = any(
            f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.") for other in self.overridden
        )
        if by_hand or self.path is None or key not in self.lines:
            return Problem("-s", f"{key}{what}", got=got, expected=expected)
        return Problem(self.path, f"{key}{what}", self.lines[key], got, expected)


def load(source: str | Path | None = None, overrides: Sequence[str] = (), *, unlock: bool = False) -> Config:
    """Returns the configuration: defaults < base preset < preset or file < ``key=value`` overrides.

    A file names its base with ``preset: NAME``; without that it builds on the defaults.

    Args:
        source: A preset's name, or a YAML file; None for the defaults.
        overrides: ``key=value`` texts; the value is YAML.
        unlock: Let locked fields differ from the preset; those that do are listed in ``unlocked``.

    Raises:
        ConfigError: Unreadable, an unknown, renamed or removed key, a wrong value, or a locked field changed.
    """
    path = _resolve(source)
    given = _Given(*_read(path)) if path else _Given({})
    is_preset = path is not None and path.parent == PRESETS
    base = _base(given)
    for text in overrides:
        _override(given.values, text)
    given = replace(given, overridden=frozenset(text.partition("=")[0] for text in overrides))
    config = _validate(base, given)
    if is_preset and path:
        config = config.model_copy(update={"preset": path.stem})
    reference = _validate(base, _Given(*_read(path))) if is_preset and path else base
    changed = [key for key in locked_fields() if value_of(config, key) != value_of(reference, key)]
    refused = [] if unlock else [key for key in changed if key not in config.unlocked]
    if refused:
        raise ConfigError(*(_refusal(key, config, reference, given) for key in refused))
    return config.model_copy(update={"unlocked": tuple(changed)})


def _base(given: _Given) -> Config:
    """Returns the preset that a file builds on.

    Raises:
        ConfigError: There is no such preset.
    """
    name = given.values.get("preset", "default")
    if name == "default":
        return Config()
    if name not in presets():
        raise ConfigError(given.problem("preset", ": no such preset", name, ", ".join(["default", *presets()])))
    return load(name)


def _refusal(key: str, config: Config, reference: Config, given: _Given) -> Problem:
    expected = f"{value_of(reference, key)} as in the preset, or --unlock"
    return given.problem(key, f" is locked: {locked_fields()[key]}", value_of(config, key), expected)


def locked_fields() -> dict[str, str]:
    """Returns every locked field's dotted key and the reason it is locked."""
    found = {}
    for name, section in Config.model_fields.items():
        fields = getattr(section.annotation, "model_fields", {})
        for key, info in fields.items():
            extra = info.json_schema_extra
            if isinstance(extra, dict) and "locked" in extra:
                found[f"{name}.{key}"] = str(extra["locked"])
    return found


def value_of(config: Config, key: str) -> Any:
    """Returns the value at a dotted key."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def presets() -> list[str]:
    """Returns the names of the presets that come with the project."""
    return shipped("presets")


def shipped(kind: str) -> list[str]:
    """Returns the names of the ``presets``, ``recipes`` or ``ablations`` that come with the project."""
    return sorted(path.stem for path in (PACKAGE / kind).glob("*.yaml"))


def find_shipped(kind: str, source: str | Path) -> Path:
    """Returns the YAML file of a shipped name, or the file at a path.

    Raises:
        ConfigError: There is neither.
    """
    path = PACKAGE / kind / f"{source}.yaml" if str(source) in shipped(kind) else Path(source)
    if path.is_file():
        return path
    what, names = "configuration" if kind == "presets" else kind.removesuffix("s"), shipped(kind)
    listed = f"the presets: {', '.join(['default', *names])}" if kind == "presets" else ", ".join(names)
    raise ConfigError(Problem(source, f"no such {what}", expected=f"a YAML file or one of {listed}"))


def _resolve(source: str | Path | None) -> Path | None:
    return None if source is None or str(source) == "default" else find_shipped("presets", source)


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(None, None, "key is not a word", key_node.start_mark)
            if key_node.value in seen:
                raise yaml.MarkedYAMLError(None, None, f"key {key_node.value!r} stands twice", key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Returns the content of a YAML file with a mapping at its top, and the line of each dotted key.

    Raises:
        ConfigError: It cannot be read, or is no such file.
    """
    try:
        text = path.read_text("utf-8")
        node = yaml.compose(text, _Loader)
        values = yaml.load(text, _Loader)  # noqa: S506 - _Loader is a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(Problem(path, f"cannot be read: {error}")) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(Problem(path, f"not valid YAML: {error.problem}", line)) from error
    except yaml.YAMLError as error:
        raise ConfigError(Problem(path, f"not valid YAML: {error}".splitlines()[0])) from error
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise ConfigError(Problem(path, "not a configuration", 1, type(values).__name__, "key: value lines"))
    return values, dict(_lines(node, ()))


def _read(path: Path) -> tuple[dict[str, Any], Path, dict[str, int]]:
    values, lines = read_yaml(path)
    return values, path, lines


def _lines(node: Any, prefix: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        path = (*prefix, str(key.value))
        yield ".".join(path), key.start_mark.line + 1
        yield from _lines(value, path)


def _override(values: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key or key == "unlocked":
        raise ConfigError(Problem("-s", "not an override", got=text, expected="key=value, as pbs.epochs=20"))
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.get(parent)
        values[parent] = dict(by_name(inner)) if isinstance(inner, dict | str) else {}
        values = values[parent]
    try:
        values[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(Problem("-s", f"{key}: not a YAML value", got=value)) from error


def _validate(base: Config, given: _Given) -> Config:
    values = _current(given)
    try:
        return Config.model_validate(_over(base.model_dump(), values))
    except ValidationError as error:
        raise ConfigError(*(_problem(fault, given) for fault in error.errors())) from error


def _current(given: _Given) -> dict[str, Any]:
    """Returns the values without keys that are gone and were off.

    Raises:
        ConfigError: A key that was renamed, or one that is gone and was not off.
    """
    values = copy.deepcopy(given.values)
    problems = []
    for key in (*RENAMED, *REMOVED):
        section, _, name = key.partition(".")
        inner = values.get(section)
        if not isinstance(inner, dict) or name not in inner:
            continue
        if key in RENAMED:
            problems.append(given.problem(key, f" was renamed to {RENAMED[key]}"))
        elif inner[name] != REMOVED[key]:
            cure = "no such key; docs/results.md says what it measured, and at which commit it can be found"
            problems.append(given.problem(key, " was removed", inner[name], cure))
        else:
            del inner[name]
    if problems:
        raise ConfigError(*problems)
    return values


def _over(below: Any, above: Any) -> Any:
    """Lay ``above`` over ``below``; another ``name`` in a tagged union starts afresh."""
    if isinstance(above, str) and isinstance(below, dict) and "name" in below:
        above = {"name": above}
    if not isinstance(above, dict) or not isinstance(below, dict):
        return above
    if above.get("name", below.get("name")) != below.get("name"):
        return above
    return {**below, **{key: _over(below.get(key), value) for key, value in above.items()}}


def _problem(fault: Any, given: _Given) -> Problem:
    names = [str(part) for part in fault["loc"]]
    parts = [part for before, part in zip(["", *names], names, strict=False) if before not in TAGGED]
    key = ".".join(parts)
    if fault["type"] != "extra_forbidden":
        return given.problem(key, f": {fault['msg'].lower()}", fault["input"])
    known = _siblings(parts)
    close = difflib.get_close_matches(parts[-1], known, 1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
    return given.problem(key, f": unknown key, {hint}")


def _siblings(parts: Sequence[str]) -> list[str]:
    value: Any = Config()
    for part in parts[:-1]:
        value = getattr(value, part, None)
    return sorted(type(value).model_fields) if isinstance(value, BaseModel) else []


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Returns what two nested mappings do not share, by dotted key; None for what one of them lacks."""
    a, b = flat(first), flat(second)
    return {key: (a.get(key), b.get(key)) for key in sorted({*a, *b}) if a.get(key) != b.get(key)}


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the innermost values of nested mappings by dotted key."""
    found: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{prefix}{key}"
        found |= flat(inner, f"{name}.") if isinstance(inner, Mapping) else {name: inner}
    return found
