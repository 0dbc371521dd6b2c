"""A run's folder: made, found, listed, compared."""

import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from pipe_seg import config, disk
from pipe_seg.artifacts import Evaluation, InfraBlessing, Model, TrainedModel
from pipe_seg.config import Config
from pipe_seg.data.training_data import TrainingData
from pipe_seg.errors import ConfigError, PipeSegError, Problem

PERSON = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
PACKAGES = ("tensorflow", "keras", "tensorflow-datasets", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Run:
    """One run's folder."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """The folder of what ``--resume`` goes on from."""
        return self.path / "checkpoints"

    @property
    def finished(self) -> bool:
        """Whether the last step was taken."""
        return self.infra.path.is_dir()

    @property
    def trained(self) -> TrainedModel:
        """What the trainer left."""
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
        """Whether it answers in a fresh process."""
        return InfraBlessing(self.path / "infra_validator")

    @property
    def config(self) -> Config:
        """The configuration it ran with."""
        return config.load(self.path / "config.yaml", unlock=True)

    @property
    def info(self) -> dict[str, Any]:
        """``run.json``: command, dataset, code, packages, device."""
        return dict(json.loads((self.path / "run.json").read_text("utf-8")))

    @property
    def scores(self) -> dict[str, Any] | None:
        """``evaluator/scores.json``, or None before evaluation."""
        return self.evaluation.scores if self.evaluation.path.is_dir() else None


def start(
    settings: Config,
    *,
    runs: Path,
    person: str,
    init: Run | None,
    data: TrainingData,
    manual_dir: Path | None,
) -> Run:
    """Make the run's folder with ``config.yaml`` and ``run.json``."""
    if not PERSON.fullmatch(person):
        raise ConfigError(Problem("--name", "not a name", got=person, expected="Latin letters, digits, - and _"))
    stamp = f"{datetime.now():%Y%m%d-%H%M%S}_{person}_{data.name}"
    with disk.environment(runs):
        runs.mkdir(parents=True, exist_ok=True)
        path = next(path for path in _candidates(runs, stamp) if _make(path))
        (path / "config.yaml").write_text(settings.to_yaml(), "utf-8")
        disk.write_json(
            path / "run.json",
            {
                "command": sys.argv,
                "name": person,
                "dataset": data.full_name,
                "manual_dir": str(manual_dir.absolute()) if manual_dir else None,
                "data_digest": data.digest,
                "data": data.splits,
                "init": str(init.path.absolute()) if init else None,
                "preset": settings.preset,
                "unlocked": list(settings.unlocked),
                **machine(),
            },
        )
    return Run(path)


def resumed(run: Run) -> None:
    """Write down that a run goes on, with the command, the code and the machine."""
    entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "command": sys.argv, **machine()}
    with disk.environment(run.path):
        disk.write_json(run.path / "run.json", run.info | {"resumed": [*run.info.get("resumed", []), entry]})


def machine() -> dict[str, Any]:
    """Give the commit, the versions of what computes, and the device."""
    from pipe_seg import devices

    return {
        "commit": _commit(),
        "packages": {package: metadata.version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "device": devices.description(),
    }


def find_unfinished(reference: str, runs: Path) -> Run:
    """Give the run that ``--resume`` names: a path, a name in ``runs``, or ``last``: the newest that is not finished.

    Raises:
        ConfigError: there is none, or it is finished.
    """
    if reference == "last":
        unfinished = [run for run in list_runs(runs) if not run.finished]
        if unfinished:
            return unfinished[-1]
        raise ConfigError(Problem(runs, "no run here is unfinished", expected="--init RUN to begin from its weights"))
    run = find_run(reference, runs)
    if run.finished:
        cure = "--init RUN to begin another from its weights"
        raise ConfigError(Problem(run.path, "this run is finished", expected=cure))
    return run


def same_unfinished(settings: Config, runs: Path, data: TrainingData, init: Run | None) -> Run | None:
    """Give the newest unfinished run with this very configuration, data and start."""
    begun = {
        "dataset": data.full_name,
        "data_digest": data.digest,
        "init": str(init.path.absolute()) if init else None,
    }
    for run in reversed(list_runs(runs)):
        try:
            same = run.config == settings and config.differences(begun, {key: run.info[key] for key in begun}) == {}
        except (OSError, ValueError, KeyError, PipeSegError):
            continue
        if same and not run.finished:
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


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def find_run(reference: str, runs: Path) -> Run:
    """Give the run that is a path, a name in ``runs``, or ``last``: the newest that was trained.

    Raises:
        ConfigError: there is none.
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
    """Give the model of a run, or the exported model or store version at a path.

    Raises:
        ConfigError: there is none.
    """
    path = Path(reference)
    for candidate in (path, path / "model"):
        if (candidate / "saved_model").is_dir() or (candidate / "saved_model.pb").is_file():
            return Model(candidate)
    model = find_run(reference, runs).model
    if not model.path.is_dir():
        raise ConfigError(Problem(model.path, "this run has no exported model", expected="a run that ended well"))
    return model


def manual_dir_of(model: Model) -> Path | None:
    """Give the folder of frames that the run of ``model`` was given; None where it was not."""
    try:
        found = Run(model.path.parent).info["manual_dir"]
    except (OSError, ValueError, KeyError):
        return None
    return Path(found) if found else None


def list_runs(runs: Path) -> list[Run]:
    """Give the runs in a folder, oldest first."""
    return [Run(path.parent) for path in sorted(runs.glob("*/run.json"))]


def compare(first: Run, second: Run) -> dict[str, dict[str, tuple[Any, Any]]]:
    """Give what differs between two runs, by part (config, run, data, training, scores) and dotted key."""
    parts = [_parts(run) for run in (first, second)]
    return {part: config.differences(parts[0][part], parts[1][part]) for part in parts[0]}


def _parts(run: Run) -> dict[str, dict[str, Any]]:
    info = run.info
    data = {key: info.pop(key) for key in ("dataset", "manual_dir", "data_digest")}
    trained = run.trained.record["details"] if run.trained.path.is_dir() else {}
    return {
        "config": yaml.safe_load((run.path / "config.yaml").read_text("utf-8")),
        "run": {**info, "command": " ".join(info["command"])},
        "data": {**data, **info.pop("data", {})},
        "training": {key: value for key, value in trained.items() if key != "data_digest"},
        "scores": _headline(run),
    }


def _headline(run: Run) -> dict[str, Any]:
    scores = run.scores or {}
    return {key: value["value"] for key, value in scores.get("headline", {}).items()} | {
        "cropped": scores.get("cropped", False)
    }


def previous_best(runs: Path, but: Run) -> tuple[Run, float] | None:
    """Give the run with the highest ``iou`` on the very frames that ``but`` was scored on."""
    own = but.scores or {}
    scored = []
    for run in list_runs(runs):
        try:
            scores = run.scores
        except (OSError, ValueError, PipeSegError):
            continue
        same = scores and all(scores.get(key) == own.get(key) for key in ("data_digest", "split", "empty"))
        if run.path != but.path and scores and same and scores["headline"]["iou"]["value"]:
            scored.append((run, float(scores["headline"]["iou"]["value"])))
    return max(scored, key=lambda pair: pair[1], default=None)
