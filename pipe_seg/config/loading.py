"""From presets, files and ``key=value`` overrides to one configuration; errors name file, line and key."""

import difflib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from pipe_seg.config.choices import by_name
from pipe_seg.config.sections import Config
from pipe_seg.errors import ConfigError, Problem

CLONE, INSTALLED = Path(__file__).resolve().parents[2] / "configs", Path(sys.prefix) / "share/pipe-seg/configs"
PRESETS = CLONE if CLONE.is_dir() else INSTALLED
LADDER = "ladder"  # plans of the verb `ladder`, which lie beside the presets
TAGGED = ("optimizer", "criterion")


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
    return sorted(path.stem for path in PRESETS.glob("*.yaml") if not path.stem.startswith(LADDER))


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
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(None, None, "key is not a word", key_node.start_mark)
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
    except yaml.YAMLError as error:
        raise ConfigError(Problem(path, f"not valid YAML: {error}".splitlines()[0])) from error
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


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Give what two nested mappings do not share, by dotted key; None for what one of them lacks."""
    a, b = flat(first), flat(second)
    return {key: (a.get(key), b.get(key)) for key in sorted({*a, *b}) if a.get(key) != b.get(key)}


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give the innermost values of nested mappings by dotted key."""
    found: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{prefix}{key}"
        found |= flat(inner, f"{name}.") if isinstance(inner, Mapping) else {name: inner}
    return found
