"""Which versions of a store are served under which label: ``STORE/models.config``, as TF Serving reads it.

That file is all there is: labels, and the versions to load, move together by one rename of it. ``stable`` is what is in
service, ``previous`` what was before it, ``candidate`` what was uploaded last. Entries of other models, and the
``base_path`` of ours, stay as they are.
"""

import re
import shutil
import uuid
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

from pipe_seg import disk
from pipe_seg.errors import ConfigError, Problem, RefusedError
from pipe_seg.schema import MODEL_NAME
from pipe_seg.serving import store

FILE = "models.config"
STABLE, CANDIDATE, PREVIOUS = "stable", "candidate", "previous"
WITHDRAWN = ".withdrawn-"
PLACE = re.compile(r"^(\d+):(\d+) : (.*)$", re.DOTALL)


def read(folder: Path) -> dict[str, int]:
    """Give the version of each label in the store ``folder``; {} where nothing was labelled.

    Raises:
        ConfigError: ``models.config`` is not what TF Serving would read.
    """
    return dict(_entry(_load(folder), folder).version_labels)


def upload(folder: Path, version: int) -> None:
    """Call ``version`` the candidate."""
    with disk.locked(folder):
        config = _load(folder)
        _entry(config, folder).version_labels[CANDIDATE] = version
        _write(folder, config)


def promote(folder: Path, version: int | None = None, *, unblessed: bool = False) -> tuple[int, int | None]:
    """Call ``version``, or the candidate, stable, after every byte of it was checked.

    Returns:
        The version that is stable now, and the one before it. Asked again for the same, nothing changes.

    Raises:
        ConfigError: there is no such version, or no candidate.
        RefusedError: it is not as it was published, or not blessed and ``unblessed`` does not say that this is known.
    """
    with disk.locked(folder):
        config = _load(folder)
        labels = _entry(config, folder).version_labels
        before, wanted = dict(labels), version or labels.get(CANDIDATE, 0)
        if not wanted:
            raise ConfigError(Problem(folder / FILE, "no version is labelled candidate", expected="models promote N"))
        if before.get(STABLE) == wanted:
            return wanted, before.get(PREVIOUS)
        found = store.version(folder, wanted)
        store.check(found)
        if not (store.manifest(found).get("blessed") or unblessed):
            raise RefusedError(
                Problem(found, "not blessed by the evaluator", expected="a better model, or --unblessed")
            )
        labels[STABLE] = wanted
        if STABLE in before:
            labels[PREVIOUS] = before[STABLE]
        if before.get(CANDIDATE) == wanted:
            del labels[CANDIDATE]
        _write(folder, config)
        return wanted, before.get(STABLE)


def rollback(folder: Path) -> tuple[int, int]:
    """Call stable what was so before; done twice it is done once.

    Returns:
        The version that is stable now, and the one that was.

    Raises:
        ConfigError: there is none before it.
        RefusedError: it is not as it was published.
    """
    with disk.locked(folder):
        config = _load(folder)
        labels = _entry(config, folder).version_labels
        if PREVIOUS not in labels:
            raise ConfigError(Problem(folder / FILE, "nothing was stable before", expected="models promote N"))
        now, back = labels[STABLE], labels[PREVIOUS]
        if now != back:
            store.check(store.version(folder, back))
            labels[STABLE] = back
            _write(folder, config)
        return back, now


def prune(folder: Path, keep: int) -> list[int]:
    """Remove all versions but the newest ``keep`` and those with a label; give what was removed.

    A version goes by one rename; what a killed call left is removed by the next.
    """
    base = folder / MODEL_NAME
    with disk.environment(folder), disk.locked(folder):
        held = set(read(folder).values())
        numbers = store.versions(base)
        gone = [number for number in numbers[: max(len(numbers) - keep, 0)] if number not in held]
        for number in gone:
            (base / str(number)).rename(base / f"{WITHDRAWN}{number}-{uuid.uuid4().hex}")
        if base.is_dir():
            disk.sync(base)
        for path in base.glob(f"{WITHDRAWN}*"):
            shutil.rmtree(path)
    return gone


def _load(folder: Path) -> ModelServerConfig:
    path, config = folder / FILE, ModelServerConfig()
    try:
        text_format.Parse(path.read_text("utf-8"), config)
    except FileNotFoundError:
        pass
    except text_format.ParseError as error:
        place = PLACE.match(str(error))
        line, what = (int(place[1]), place[3]) if place else (None, str(error))
        raise ConfigError(Problem(path, what, line, expected="TF Serving's ModelServerConfig as text")) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(Problem(path, f"cannot be read: {error}")) from error
    return config


def _entry(config: ModelServerConfig, folder: Path) -> ModelConfig:
    """Give our entry of ``config``, made if it is not there."""
    for entry in config.model_config_list.config:
        if entry.name == MODEL_NAME:
            return entry
    return config.model_config_list.config.add(
        name=MODEL_NAME, base_path=str((folder / MODEL_NAME).absolute()), model_platform="tensorflow"
    )


def _write(folder: Path, config: ModelServerConfig) -> None:
    """Write ``config`` with every labelled version to be loaded, and no other."""
    entry = _entry(config, folder)
    del entry.model_version_policy.specific.versions[:]
    entry.model_version_policy.specific.versions.extend(sorted(set(entry.version_labels.values())))
    with disk.environment(folder):
        disk.write_text(folder / FILE, text_format.MessageToString(config))
        disk.sync(folder)
