"""Version labels of a store, in TF Serving's `models.config`.

The file holds the labels and the versions to load, which change together. `stable` is the version in service,
`previous` the one before it, `candidate` the last upload. Entries of other models and an existing `base_path` are kept.
"""

import re
from collections.abc import Callable, MutableMapping
from typing import TypeVar

from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

from pipe_seg.errors import ConfigError, Problem, RefusedError
from pipe_seg.schema import MODEL_NAME
from pipe_seg.serving import store
from pipe_seg.serving.store.location import LABELS, StoreLocation

STABLE, CANDIDATE, PREVIOUS = "stable", "candidate", "previous"
ERROR_POSITION = re.compile(r"^(\d+):(\d+) : (.*)$", re.DOTALL)
Labels = MutableMapping[str, int]
T = TypeVar("T")


def read(location: StoreLocation) -> dict[str, int]:
    """Returns the version of each label; {} if there are no labels.

    Raises:
        ConfigError: TF Serving could not parse `models.config`.
    """
    return dict(_entry(_parse(location)[0], location).version_labels)


def upload(location: StoreLocation, number: int) -> None:
    """Labels a version `candidate`."""
    _change(location, lambda labels: labels.update({CANDIDATE: number}))


def promote(location: StoreLocation, number: int | None = None, *, unblessed: bool = False) -> tuple[int, int | None]:
    """Labels a version `stable` after verifying every byte of it; idempotent.

    Args:
        location: The store.
        number: Version number; the candidate if None.
        unblessed: Whether to accept a version that is not blessed (approved for serving by the evaluator).

    Returns:
        The stable version, and the one before it.

    Raises:
        ConfigError: There is no such version, or no candidate.
        RefusedError: A file differs from the manifest, or the version is not blessed.
    """

    def change(labels: Labels) -> tuple[int, int | None]:
        target, before = number or labels.get(CANDIDATE), labels.get(STABLE)
        if not target:
            cure = f"models promote VERSION --store {location.name}"
            raise ConfigError(Problem(f"{location.name}/{LABELS}", "no version is labelled candidate", expected=cure))
        if before == target:
            return target, before
        blessed = store.verify(location, target).get("blessed") is True
        if not (blessed or unblessed):
            cure = "a better model, or --unblessed"
            raise RefusedError(Problem(location.named(target), "not blessed by the evaluator", expected=cure))
        if before:
            labels[PREVIOUS] = before
        labels[STABLE] = target
        if labels.get(CANDIDATE) == target:
            del labels[CANDIDATE]
        return target, before

    return _change(location, change)


def rollback(location: StoreLocation) -> tuple[int, int]:
    """Labels the previous version `stable`; idempotent.

    Returns:
        The version that is stable now, and the one that was before the call.

    Raises:
        ConfigError: There is no previous version.
        RefusedError: A file of it differs from the manifest.
    """

    def change(labels: Labels) -> tuple[int, int]:
        if PREVIOUS not in labels or STABLE not in labels:
            cure = f"models promote VERSION --store {location.name}"
            raise ConfigError(Problem(f"{location.name}/{LABELS}", "no previous stable version", expected=cure))
        now, back = labels[STABLE], labels[PREVIOUS]
        if now != back:
            store.verify(location, back)
            labels[STABLE] = back
        return back, now

    return _change(location, change)


def prune(location: StoreLocation, keep: int) -> list[int]:
    """Removes all versions except the newest `keep` and labelled ones; returns the removed numbers.

    The next call removes the remains of an interrupted one.
    """
    with location.locked():
        location.sweep()
        removed = []
        for number in location.versions()[:-keep]:
            if number not in read(location).values():  # read each time, as not every store has locks
                location.delete(number)
                removed.append(number)
    return removed


def _change(location: StoreLocation, change: Callable[[Labels], T]) -> T:
    """Applies `change` to the labels; retries with the current labels if another writer was first."""
    with location.locked():
        while True:
            config, revision = _parse(location)
            entry = _entry(config, location)
            before = dict(entry.version_labels)
            result = change(entry.version_labels)
            if dict(entry.version_labels) == before:
                return result
            del entry.model_version_policy.specific.versions[:]
            entry.model_version_policy.specific.versions.extend(sorted(set(entry.version_labels.values())))
            if location.write_labels(text_format.MessageToString(config), revision):
                return result


def _parse(location: StoreLocation) -> tuple[ModelServerConfig, int]:
    config = ModelServerConfig()
    text, revision = location.read_labels()
    try:
        text_format.Parse(text or "", config)
    except text_format.ParseError as error:
        position = ERROR_POSITION.match(str(error))
        line, what = (int(position[1]), position[3]) if position else (None, str(error))
        cure = "TF Serving's ModelServerConfig as text"
        raise ConfigError(Problem(f"{location.name}/{LABELS}", what, line, expected=cure)) from error
    return config, revision


def _entry(config: ModelServerConfig, location: StoreLocation) -> ModelConfig:
    """Returns the entry of `pipe_seg` in `config`, which is added if it is missing."""
    for entry in config.model_config_list.config:
        if entry.name == MODEL_NAME:
            return entry
    return config.model_config_list.config.add(name=MODEL_NAME, base_path=location.base, model_platform="tensorflow")
