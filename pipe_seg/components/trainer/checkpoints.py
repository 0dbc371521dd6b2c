"""Checkpoints that can be trusted: published whole, verified when read, never silently from scratch."""

import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipe_seg import artifacts, disk
from pipe_seg.components.trainer.state import State
from pipe_seg.config import differences
from pipe_seg.errors import ConfigError, MachineError, Problem, RefusedError

MANIFEST = "manifest.json"
STATE = "state.json"
BEST = "best.npz"
VARIABLES = "variables"
ASIDE = ".damaged-"

log = logging.getLogger(__name__)


class Checkpoints:
    """The last checkpoints of one training, each a folder: variables, state, best weights, manifest.

    The manifest holds the sha256 of every other file. A folder whose name does not begin with a point is
    whole, unless the disk has changed it since, which reading it finds out.
    """

    def __init__(self, folder: Path, kept: int, variables: dict[str, list[Any]], about: Mapping[str, Any]) -> None:
        """Keep the last ``kept`` checkpoints of ``variables`` in ``folder``.

        ``about`` is what a training has to share with the one that goes on: configuration, data, devices.
        """
        self.folder = folder
        self._kept = kept
        self._about = json.loads(json.dumps(about))
        self._variables = [variable for group in variables.values() for variable in group]
        self._checkpoint = tf.train.Checkpoint(**variables)
        self._damaged: list[Path] = []

    @property
    def found(self) -> list[Path]:
        """The checkpoints on disk, newest first."""
        return sorted((path for path in self.folder.glob("epoch-*") if path.is_dir()), reverse=True)

    @property
    def finite(self) -> bool:
        """Whether every number in the variables is finite."""
        floating = [variable for variable in self._variables if variable.dtype.is_floating]
        return bool(_finite([tf.convert_to_tensor(variable) for variable in floating]))

    def save(self, state: State, best: list[np.ndarray]) -> None:
        """Publish a checkpoint and remove those that are too old; one of this very position is kept as it is.

        Raises:
            MachineError: it cannot be written; those before it are untouched.
        """
        target = self.folder / state.name
        if target.is_dir():
            return
        try:
            with artifacts.publishing(target) as folder:
                self._checkpoint.write(str(folder / VARIABLES))
                np.savez(folder / BEST, *best)
                disk.write_json(folder / STATE, {"about": self._about, "state": state.to_json()})
                disk.write_json(folder / MANIFEST, disk.digest_tree(folder))
        except tf.errors.OpError as error:
            cure = "free space; then --resume goes on from the checkpoint before"
            raise MachineError(Problem(target, f"cannot be written: {_first_line(error)}", expected=cure)) from error
        for old in self.found[self._kept :]:
            _remove(old)
        for left_over in self.folder.glob(".*"):
            shutil.rmtree(left_over, ignore_errors=True)

    def restore(self) -> tuple[State, list[np.ndarray]] | None:
        """Fill the variables from the newest checkpoint that is whole; None where there never was one.

        A damaged one is reported.

        Raises:
            RefusedError: there are checkpoints, and not one of them is whole.
            ConfigError: the one that is whole is of another configuration, dataset or machine: every difference.
            MachineError: it is whole and cannot be read.
        """
        faults: dict[Path, str] = {}
        for path in self.found:
            fault = damage(path)
            if fault is None:
                for name, told in faults.items():
                    log.warning("checkpoint %s is damaged: %s; going on from %s", name, told, path.name)
                self._damaged = list(faults)
                return self._read(path)
            faults[path] = fault
        if faults:
            raise RefusedError(*(Problem(path, f"damaged: {fault}") for path, fault in faults.items()))
        return None

    def set_damaged_aside(self) -> None:
        """Rename what ``restore`` passed over; the next ``save`` removes it."""
        for path in self._damaged:
            os.rename(path, path.with_name(ASIDE + path.name))
        self._damaged = []

    def _read(self, path: Path) -> tuple[State, list[np.ndarray]]:
        try:
            told = json.loads((path / STATE).read_text("utf-8"))
            state = State.from_json(told["state"])
            self._compare(path, told["about"])
            with np.load(path / BEST) as file:
                best = [file[f"arr_{index}"] for index in range(len(file.files))]
            self._checkpoint.read(str(path / VARIABLES)).assert_existing_objects_matched().assert_consumed()
        except (OSError, ValueError, KeyError, TypeError, AssertionError, tf.errors.OpError) as error:
            cure = "the version of pipe-seg that wrote it"
            raise MachineError(Problem(path, f"does not fit: {_first_line(error)}", expected=cure)) from error
        return state, best

    def _compare(self, path: Path, about: Mapping[str, Any]) -> None:
        different = differences(about, self._about)
        if different:
            raise ConfigError(
                *(
                    Problem(path, f"{key.removeprefix('config.')} differs", got=now, expected=f"{then}, as it began")
                    for key, (then, now) in different.items()
                )
            )


def damage(path: Path) -> str | None:
    """Returns what is wrong with a checkpoint; None when every file is the one that was written."""
    try:
        told = json.loads((path / MANIFEST).read_text("utf-8"))
        there = disk.digest_tree(path)
    except (OSError, ValueError) as error:
        return f"{MANIFEST}: {_first_line(error)}"
    del there[MANIFEST]
    if not isinstance(told, dict) or STATE not in told:
        return f"{MANIFEST}: not a manifest"
    for name in sorted({*told, *there}):
        if name not in there:
            return f"{name}, which {MANIFEST} names, is missing"
        if told.get(name) != there[name]:
            return f"{name} is not what {MANIFEST} says"
    return None


@tf.function(reduce_retracing=True)
def _finite(values: list[Any]) -> Any:
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in values])


def _remove(path: Path) -> None:
    """Take away the name first: what still has it is whole."""
    hidden = path.with_name(f".{path.name}.old")
    os.rename(path, hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
