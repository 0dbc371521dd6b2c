"""Folders that are either whole or absent, and the record of what made them."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pipe_seg
from pipe_seg import disk
from pipe_seg.errors import ConflictError, MachineError, Problem

RECORD = "artifact.json"
DATA_CARD = "data_card.json"
RENAMED_FACTS = {"minimum_blob": "min_component_fraction"}


@dataclass(frozen=True)
class Artifact:
    """A finished step: the folder at ``path`` exists, so it is complete."""

    path: Path

    @property
    def record(self) -> dict[str, Any]:
        """What ``writing`` recorded: component, section, inputs, code version, time, details.

        Raises:
            MachineError: It cannot be read.
        """
        path = self.path / RECORD
        try:
            return dict(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise MachineError(Problem(path, f"cannot be read: {error}", expected="a whole artifact")) from error

    @property
    def key(self) -> str | None:
        """The key that it was made under; None for what was made without one."""
        try:
            return self.record.get("key")
        except MachineError:
            return None


class Dataset(Artifact):
    """A prepared TFDS dataset: the folder with ``dataset_info.json``."""

    @property
    def name(self) -> str:
        """``ps/default``: the TFDS builder and its configuration."""
        return str(self.card.get("name") or "/".join(self.path.parts[-3:-1]))

    @property
    def rendered(self) -> bool:
        """Whether its frames were rendered."""
        return bool(self.card.get("rendered"))

    @property
    def card(self) -> dict[str, Any]:
        """The data card; empty where there is none."""
        try:
            return dict(json.loads((self.path / DATA_CARD).read_text("utf-8")))
        except (OSError, ValueError):
            return {}

    @property
    def crop_margin(self) -> float | None:
        """What `data crop` left around each box, as a share of it; None where these are whole frames."""
        return (self.card.get("cropped") or {}).get("crop_margin")


class Model(Artifact):
    """An exported model: a step's folder, a version in a store, or the bare SavedModel."""

    @property
    def saved_model(self) -> Path:
        """The SavedModel's folder."""
        return self.path if (self.path / "saved_model.pb").is_file() else self.path / "saved_model"

    @property
    def extras(self) -> Path:
        """Where a SavedModel keeps what TensorFlow does not read: warm-up requests, the frames that it knows."""
        return self.saved_model / "assets.extra"

    @property
    def facts(self) -> dict[str, Any]:
        """Threshold, how it was chosen, precision and size, as written when it was exported or published.

        Raises:
            MachineError: nothing was written, or it cannot be read.
        """
        for name, key in ((RECORD, "details"), ("manifest.json", "model")):
            try:
                return current_names(json.loads((self.path / name).read_text("utf-8"))[key])
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError) as error:
                raise MachineError(Problem(self.path / name, f"cannot be read: {error}")) from error
        raise MachineError(Problem(self.path, "not an exported model", expected="RUN/model or STORE/pipe_seg/N"))

    @property
    def digest(self) -> str:
        """One sha256 over the names and bytes of the SavedModel."""
        listing = json.dumps(disk.digest_tree(self.saved_model), sort_keys=True)
        return hashlib.sha256(listing.encode()).hexdigest()

    @property
    def crop_margin(self) -> float | None:
        """What `data crop` left around the boxes it learnt from; None for whole frames, or where nobody knows."""
        try:
            return self.facts.get("crop_margin")
        except MachineError:
            return None

    @property
    def chosen(self) -> set[str]:
        """What validation frames chose (epoch, threshold, minimum component size); empty if not recorded."""
        try:
            return set(self.facts.get("chosen", ()))
        except MachineError:
            return set()

    @property
    def threshold(self) -> float:
        """The probability from which a pixel is predicted positive, part of the graph."""
        return float(self.facts["threshold"])


class TrainedModel(Artifact):
    """What the trainer leaves: the best epoch's averaged weights and the log of every epoch."""

    @property
    def weights(self) -> Path:
        """The Keras weights file."""
        return self.path / "weights.weights.h5"

    @property
    def history(self) -> Path:
        """JSON: a list with one object of scalars an epoch."""
        return self.path / "history.json"


class Evaluation(Artifact):
    """Scores and the evaluator's blessing: whether the model may be served."""

    @property
    def scores(self) -> dict[str, Any]:
        """What ``scores.json`` holds.

        Raises:
            MachineError: It cannot be read.
        """
        path = self.path / "scores.json"
        try:
            found = dict(json.loads(path.read_text("utf-8")))
            found["headline"]["iou"]["value"]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise MachineError(Problem(path, f"cannot be read: {error}", expected="a whole evaluation")) from error
        return found

    @property
    def blessed(self) -> bool:
        """Whether the scores pass the bar that was set; what is not written down is not blessed."""
        return _blessed(self)


class InfraBlessing(Artifact):
    """A fresh process loaded the model and answered real frames."""

    @property
    def blessed(self) -> bool:
        """Whether it answered, and answered right; what is not written down is not blessed."""
        return _blessed(self)


def current_names(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a model's artifact or manifest records, with keys of earlier versions renamed."""
    return {RENAMED_FACTS.get(key, key): value for key, value in facts.items()}


@dataclass(frozen=True)
class PushedModel:
    """A version in a model store, which need not be on this machine."""

    uri: str


def _blessed(artifact: Artifact) -> bool:
    try:
        return artifact.record["details"]["blessed"] is True
    except (MachineError, KeyError, TypeError):
        return False


def key_of(component: str, version: int | str, section: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    """Returns the sha256, in hex, that two steps share only if they make the same thing.

    Args:
        component: The component's name.
        version: The component's ``VERSION``, raised by hand when what it makes changes.
        section: Its part of the configuration, less what does not change the result.
        inputs: The keys, or digests of bytes, of all that it reads.
    """
    record = {"component": component, "version": str(version), "section": dict(section), "inputs": dict(inputs)}
    return hashlib.sha256(json.dumps(record, sort_keys=True, allow_nan=False).encode()).hexdigest()


@contextmanager
def writing(
    target: Path,
    *,
    component: str,
    section: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    details: dict[str, Any] | None = None,
    key: str | None = None,
) -> Iterator[Path]:
    """Yields a folder to fill and publishes it as ``publishing`` does, with a record of what made it.

    ``details`` may be filled inside the block; it is written last.

    Raises:
        ConflictError: ``target`` exists already.
        MachineError: It cannot be written.
    """
    with publishing(target) as partial:
        yield partial
        record = {
            "component": component,
            "code_version": pipe_seg.__version__,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "section": dict(section or {}),
            "inputs": dict(inputs or {}),
            "details": details or {},
        }
        disk.write_json(partial / RECORD, record | ({"key": key} if key else {}))


@contextmanager
def publishing(target: Path) -> Iterator[Path]:
    """Yields a folder to fill; when the block ends well it is synced and renamed to ``target``.

    On any error the folder is removed and ``target`` never appears. Of two processes that publish the same target,
    the first wins and neither touches the other's work.

    Raises:
        ConflictError: ``target`` exists already.
        MachineError: It cannot be written.
    """
    if target.exists() or target.is_symlink():
        raise _exists(target)
    with disk.environment(target), disk.scratch(target) as partial:
        yield partial
        disk.sync_tree(partial)
        if not disk.rename_new(partial, target):
            raise _exists(target)
        disk.sync(target.parent)


@contextmanager
def first_wins(target: Path) -> Iterator[None]:
    """Lets a block publish ``target``; if another process publishes it first, its artifact counts.

    Nobody waits: an artifact under its key is the same whoever makes it.

    Raises:
        ConflictError: The block raised it, and ``target`` does not exist.
    """
    try:
        yield
    except ConflictError:
        if not target.is_dir():
            raise


def _exists(target: Path) -> ConflictError:
    return ConflictError(Problem(target, "exists already", expected="a new name, or remove it first"))
