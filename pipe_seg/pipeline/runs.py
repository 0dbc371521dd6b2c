"""Run folders: made, found, listed, compared."""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from pipe_seg import config, disk
from pipe_seg.artifacts import Evaluation, InfraBlessing, Model, TrainedModel
from pipe_seg.config import Config
from pipe_seg.errors import ConfigError, ConflictError, MachineError, PipeSegError, Problem

PERSON = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
PACKAGES = ("tensorflow", "keras", "tensorflow-datasets", "numpy", "opencv-python-headless")
CLONE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Run:
    """One training: a run's folder, or that of a stage of a recipe."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name; that of a stage follows its run's."""
        return "/".join(self.path.parts[-3:]) if self.path.parent.name == "stages" else self.path.name

    @property
    def checkpoints(self) -> Path:
        """The folder that ``--resume`` continues from."""
        return self.path / "checkpoints"

    @property
    def finished(self) -> bool:
        """Whether the last step was taken."""
        return self.infra.path.is_dir()

    @property
    def trained(self) -> TrainedModel:
        """The trainer's artifact."""
        return TrainedModel(self.path / "trainer")

    @property
    def model(self) -> Model:
        """The exported model."""
        return Model(self.path / "model")

    @property
    def evaluation(self) -> Evaluation:
        """Its scores and blessing."""
        return Evaluation(self.path / "evaluator")

    @property
    def infra(self) -> InfraBlessing:
        """Whether the model answers in a fresh process."""
        return InfraBlessing(self.path / "infra_validator")

    @property
    def config(self) -> Config:
        """The configuration it ran with."""
        return config.load(self.path / "config.yaml", unlock=True)

    @property
    def info(self) -> dict[str, Any]:
        """``run.json``: command, data, code, packages, device.

        Raises:
            MachineError: It cannot be read, or does not hold what a run records.
        """
        path = self.path / "run.json"
        try:
            found = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise MachineError(Problem(path, f"cannot be read: {error}", expected="a whole run")) from error
        if not isinstance(found, dict) or "dataset" not in found:
            raise MachineError(Problem(path, "is not the record of a run", expected="a whole run"))
        return found

    @property
    def rendered(self) -> bool:
        """Whether all frames that it began with were rendered."""
        info = self.info
        return all(dataset["rendered"] for dataset in info.get("source", info)["datasets"].values())

    @property
    def scores(self) -> dict[str, Any] | None:
        """``evaluator/scores.json``, or None before evaluation.

        Raises:
            MachineError: It cannot be read.
        """
        return self.evaluation.scores if self.evaluation.path.is_dir() else None

    @property
    def keys(self) -> set[str]:
        """The keys of the datasets and stages that it uses; none where they cannot be read."""
        try:
            info = self.info
            stages = {stage["key"] for stage in info.get("stages", []) if stage.get("key")}
            return {dataset["key"] for dataset in info.get("datasets", {}).values()} | stages
        except (PipeSegError, KeyError, TypeError, AttributeError):
            return set()


def new_folder(runs: Path, person: str, what: str) -> Path:
    """Makes and returns the folder of a new run, named by time, person and what is trained.

    Raises:
        ConfigError: ``person`` is not a name in Latin letters.
        MachineError: It cannot be written.
    """
    if not PERSON.fullmatch(person):
        raise ConfigError(Problem("--name", "not a name", got=person, expected="Latin letters, digits, - and _"))
    with disk.environment(runs):
        runs.mkdir(parents=True, exist_ok=True)
        return next(
            path for path in _candidates(runs, f"{datetime.now():%Y%m%d-%H%M%S}_{person}_{what}") if _make(path)
        )


def record(folder: Path, settings: Config, facts: Mapping[str, Any]) -> Run:
    """Writes ``config.yaml`` and ``run.json`` into a run's folder: the facts, the command and the machine.

    Raises:
        MachineError: They cannot be written.
    """
    with disk.environment(folder):
        folder.mkdir(parents=True, exist_ok=True)
        disk.write_text(folder / "config.yaml", settings.to_yaml())
        chosen = {"preset": settings.preset, "unlocked": list(settings.unlocked)}
        disk.write_json(folder / "run.json", {**facts, **chosen, "command": sys.argv, **machine()})
    return Run(folder)


def resumed(run: Run) -> None:
    """Adds to ``run.json`` that a run goes on, with the command, the code and the machine."""
    entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "command": sys.argv, **machine()}
    with disk.environment(run.path):
        disk.write_json(run.path / "run.json", run.info | {"resumed": [*run.info.get("resumed", []), entry]})


def machine() -> dict[str, Any]:
    """Returns the commit, the versions of the packages that compute, and the device."""
    from pipe_seg import devices

    return {
        **_commit(),
        "packages": {package: metadata.version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "device": devices.description(),
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "TensorFlow's default"),
    }


def _commit() -> dict[str, Any]:
    """Returns the commit of the project's clone and whether its code changed since; None for an install."""
    top = _git("rev-parse", "--show-toplevel")
    own = top is not None and Path(top) == CLONE and _git("ls-files", "pipe_seg/__init__.py")
    if not own:
        return {"commit": None, "uncommitted_changes": None}
    changed = _git("status", "--porcelain", "--", "pipe_seg", "tfds_builders", "cli.py")
    return {"commit": _git("rev-parse", "HEAD") or None, "uncommitted_changes": bool(changed)}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(CLONE), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def find_unfinished(reference: str, runs: Path) -> Run:
    """Returns the run that ``--resume`` names: a path, a name, or ``last`` (the newest unfinished).

    Raises:
        ConfigError: There is none, or it is finished.
    """
    if reference == "last":
        unfinished = [run for run in list_runs(runs) if run.keys and not run.finished]
        if unfinished:
            return unfinished[-1]
        raise ConfigError(Problem(runs, "no run here is unfinished", expected="--init RUN to begin from its weights"))
    run = find_run(reference, runs)
    if run.finished:
        cure = "--init RUN to begin another from its weights"
        raise ConfigError(Problem(run.path, "this run is finished", expected=cure))
    return run


def refuse_second(run: Run) -> None:
    """Raises because another process holds a run's folder.

    Raises:
        ConflictError: Always.
    """
    raise ConflictError(Problem(run.path, "another process trains this run", expected="wait for it, or another run"))


def newest_like(runs: Path, begun: Mapping[str, Any], settings: Config | None = None) -> Run | None:
    """Returns the newest run whose ``run.json`` holds all of ``begun``, with this configuration if given."""
    for run in reversed(list_runs(runs)):
        try:
            info = run.info
            same = settings is None or run.config == settings
        except PipeSegError:
            continue
        if same and all(info.get(key) == value for key, value in begun.items()):
            return run
    return None


def _candidates(runs: Path, stamp: str) -> Iterator[Path]:
    yield runs / stamp
    number = 2
    while True:
        yield runs / f"{stamp}-{number}"
        number += 1


def _make(path: Path) -> bool:
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True


def find_run(reference: str, runs: Path) -> Run:
    """Returns the run that is a path, a name in ``runs``, or ``last``: the newest that was trained.

    Raises:
        ConfigError: There is none.
    """
    if reference == "last":
        whole = [run for run in list_runs(runs) if run.trained.path.is_dir()]
        if whole:
            return whole[-1]
    for path in (Path(reference), runs / reference):
        if (path / "run.json").is_file():
            return Run(path)
    raise ConfigError(Problem(reference, "no such run", expected=f"a run's folder, a name in {runs}/, or last"))


def find_model(reference: str, runs: Path) -> Model:
    """Returns the model of a run, or the exported model or store version at a path.

    Raises:
        ConfigError: There is none.
    """
    path = Path(reference)
    for candidate in (path, path / "model"):
        if (candidate / "saved_model").is_dir() or (candidate / "saved_model.pb").is_file():
            return Model(candidate)
    model = find_run(reference, runs).model
    if not model.path.is_dir():
        raise ConfigError(Problem(model.path, "this run has no exported model", expected="a run that ended well"))
    return model


def run_of(model: Model) -> Run | None:
    """Returns the run that a model lies in, if any."""
    run = Run(model.path.parent)
    return run if model.path.name == "model" and (run.path / "run.json").is_file() else None


def list_runs(runs: Path) -> list[Run]:
    """Returns the runs in a folder, oldest first; damaged ones too."""
    return [Run(path.parent) for path in sorted(runs.glob("*/run.json"))]
