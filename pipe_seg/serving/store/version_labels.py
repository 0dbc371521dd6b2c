"""Which versions of a store are served under which label: its ``models.config``, as TF Serving reads it.

That file is all there is: labels, and the versions to load, move together. ``stable`` is what is in service,
``previous`` what was before it, ``candidate`` what was uploaded last. Entries of other models, and the ``base_path`` of
ours, stay as they are.
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
WHERE = re.compile(r"^(\d+):(\d+) : (.*)$", re.DOTALL)
Labels = MutableMapping[str, int]
T = TypeVar("T")


def read(place: StoreLocation) -> dict[str, int]:
    """Give the version of each label; {} where nothing was labelled.

    Raises:
        ConfigError: ``models.config`` is not what TF Serving would read.
    """
    return dict(_entry(_parsed(place)[0], place).version_labels)


def upload(place: StoreLocation, number: int) -> None:
    """Call a version the candidate."""
    _change(place, lambda labels: labels.update({CANDIDATE: number}))


def promote(place: StoreLocation, number: int | None = None, *, unblessed: bool = False) -> tuple[int, int | None]:
    """Call a version, the candidate if none is named, stable, after every byte of it was checked.

    Returns:
        The version that is stable now, and the one before it. Asked again for the same, nothing changes.

    Raises:
        ConfigError: there is no such version, or no candidate.
        RefusedError: it is not as it was published, or not blessed and ``unblessed`` does not say that this is known.
    """

    def alter(labels: Labels) -> tuple[int, int | None]:
        wanted, before = number or labels.get(CANDIDATE), labels.get(STABLE)
        if not wanted:
            cure = "models promote N"
            raise ConfigError(Problem(f"{place.name}/{LABELS}", "no version is labelled candidate", expected=cure))
        if before == wanted:
            return wanted, before
        blessed = store.verify(place, wanted).get("blessed") is True
        if not (blessed or unblessed):
            cure = "a better model, or --unblessed"
            raise RefusedError(Problem(place.named(wanted), "not blessed by the evaluator", expected=cure))
        if before:
            labels[PREVIOUS] = before
        labels[STABLE] = wanted
        if labels.get(CANDIDATE) == wanted:
            del labels[CANDIDATE]
        return wanted, before

    return _change(place, alter)


def rollback(place: StoreLocation) -> tuple[int, int]:
    """Call stable what was so before; done twice it is done once.

    Returns:
        The version that is stable now, and the one that was.

    Raises:
        ConfigError: there is none before it.
        RefusedError: it is not as it was published.
    """

    def alter(labels: Labels) -> tuple[int, int]:
        if PREVIOUS not in labels or STABLE not in labels:
            cure = "models promote N"
            raise ConfigError(Problem(f"{place.name}/{LABELS}", "nothing was stable before", expected=cure))
        now, back = labels[STABLE], labels[PREVIOUS]
        if now != back:
            store.verify(place, back)
            labels[STABLE] = back
        return back, now

    return _change(place, alter)


def prune(place: StoreLocation, keep: int) -> list[int]:
    """Remove all versions but the newest ``keep`` and those with a label; give what was removed.

    What a killed call left is removed by the next.
    """
    with place.held():
        place.sweep()
        gone = []
        for number in place.versions()[:-keep]:
            if number not in read(place).values():  # again each time: not every place can be held
                place.withdraw(number)
                gone.append(number)
    return gone


def _change(place: StoreLocation, alter: Callable[[Labels], T]) -> T:
    """Let ``alter`` change the labels; again from what they are then, if somebody else was quicker."""
    with place.held():
        while True:
            config, revision = _parsed(place)
            entry = _entry(config, place)
            before = dict(entry.version_labels)
            result = alter(entry.version_labels)
            if dict(entry.version_labels) == before:
                return result
            del entry.model_version_policy.specific.versions[:]
            entry.model_version_policy.specific.versions.extend(sorted(set(entry.version_labels.values())))
            if place.relabel(text_format.MessageToString(config), revision):
                return result


def _parsed(place: StoreLocation) -> tuple[ModelServerConfig, int]:
    config = ModelServerConfig()
    text, revision = place.labels()
    try:
        text_format.Parse(text or "", config)
    except text_format.ParseError as error:
        where = WHERE.match(str(error))
        line, what = (int(where[1]), where[3]) if where else (None, str(error))
        cure = "TF Serving's ModelServerConfig as text"
        raise ConfigError(Problem(f"{place.name}/{LABELS}", what, line, expected=cure)) from error
    return config, revision


def _entry(config: ModelServerConfig, place: StoreLocation) -> ModelConfig:
    """Give our entry of ``config``, made if it is not there."""
    for entry in config.model_config_list.config:
        if entry.name == MODEL_NAME:
            return entry
    return config.model_config_list.config.add(name=MODEL_NAME, base_path=place.base, model_platform="tensorflow")
