"""Train what a plan says, each training in a process of its own; what is done is not done again."""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipe_seg import artifacts, config, disk, pipeline
from pipe_seg.artifacts import Artifact, Dataset
from pipe_seg.config import Config
from pipe_seg.data import examples
from pipe_seg.data.training_data import TrainingData
from pipe_seg.errors import ConfigError, ConflictError, MachineError, Problem
from pipe_seg.nn.scores import FrameScore
from pipe_seg.pipeline.plan import Plan, Step, Training, trainings
from pipe_seg.pipeline.runs import Run
from pipe_seg.schema import FOLDERS

PROGRAM = (sys.executable, "-c", "from pipe_seg.cli import main; main()")
TOLD_LINES = 12
Say = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """What one training answers on the frames it was not shown, and the threshold chosen without them if any was."""

    training: Training
    frames: list[FrameScore]
    threshold: float


@dataclass(frozen=True)
class Place:
    """Frames as files, and where they are kept as TFDS."""

    folder: Path | None
    data_dir: Path


class AblationRunner:
    """One ladder in one folder: ``runs/``, ``data/`` and a file a finished step in ``steps/``."""

    def __init__(self, plan: Plan, out: Path, manual_dir: Path | None, say: Say) -> None:
        """Take the plan, where to work, the frames, and who is told."""
        self._plan, self._out, self._manual_dir, self._say = plan, out, manual_dir, say
        self._data: dict[tuple[Place, str], TrainingData] = {}
        self._commits: set[str] = set()

    def run(self) -> list[Result]:
        """Train all; give every result, in the order of the plan.

        Raises:
            ConfigError: one scene alone is scored, which no other can choose a threshold for.
            ConflictError: the folds here are of other frames, or another division.
            MachineError: a training ended badly; the same ladder goes on from there.
        """
        places = self._places
        self._check_scenes()
        if self.chosen_here:
            self._say(f"note: the frames that are scored also choose: {', '.join(self.chosen_here)}; that flatters")
        wanted = list(trainings(self._plan))
        results, spent = [], []
        for number, training in enumerate(wanted, 1):
            started = time.monotonic()
            results.append(self._training(training, places[training.fold]))
            spent.append(time.monotonic() - started)
            left = timedelta(seconds=round(float(np.mean(spent)) * (len(wanted) - number)))
            where = f"fold {training.fold + 1}/{self._plan.folds}, " if self._plan.folds else ""
            iou = np.nanmean([frame.counts(results[-1].threshold).iou for frame in results[-1].frames])
            told = f"{training.rung.name}, {where}seed {training.seed}: IoU {iou:.3f} at {results[-1].threshold:.3f}"
            self._say(f"{number}/{len(wanted)}  {told}  ETA {left}")
        return results

    def boxes(self) -> dict[str, float]:
        """Give the IoU of the filled boxes of each scored frame that has boxes."""
        found: dict[str, float] = {}
        for place in self._places:
            found |= pipeline.filled_boxes(self._training_data("ps", place).contours, self._plan.split)
        return found

    @property
    def hours(self) -> float:
        """How long all trainings of this folder took, whichever call ran them."""
        records = (json.loads(path.read_text("utf-8")) for path in (self._out / "steps").glob("*.json"))
        return float(sum(record["seconds"] for record in records)) / 3600

    @property
    def rendered(self) -> bool:
        """Whether frames are rendered."""
        return not self._plan.folds and pipeline.uses_rendered("ps", self._manual_dir)

    @property
    def commits(self) -> list[str]:
        """The commits at which what ``run`` gave was trained."""
        return sorted(self._commits)

    @property
    def chosen_here(self) -> list[str]:
        """What the scored frames choose beside being scored; nothing on ``split: test``."""
        found = set()
        for rung in self._plan.rungs if self._plan.split == "validation" else ():
            steps = [self._settings(0, self._places[0], step.preset, step.settings) for step in rung.steps]
            last = steps[-1]
            found |= {"best epoch" for step in steps if step.trainer.chooses}
            found |= {"minimum component size" for blob in [last.export.min_component_fraction] if blob == "auto"}
            if last.export.min_component_fraction != 0 and last.evaluator.threshold == "auto":
                found.add("threshold at which small blobs are taken back")
        return sorted(found)

    def _check_scenes(self) -> None:
        if self._plan.folds or self._plan.split == "test":
            return
        place = self._training_data("ps", self._places[0]).contours.path
        if len({frame.group_id for frame in examples.frames(place, "validation")}) < 2:
            cure = "folds: 2 or more in the plan, or split: test"
            raise ConfigError(Problem(place, "validation shows one scene: none chooses its threshold", expected=cure))

    @cached_property
    def _places(self) -> list[Place]:
        return [Place(folder, self._out / "data" / f"tfds-{fold}") for fold, folder in enumerate(self._folders())]

    def _folders(self) -> list[Path | None]:
        plan, place = self._plan, self._out / "data" / "folds"
        if not plan.folds:
            return [self._manual_dir]
        division = {"folds": plan.folds, "fold_seed": plan.fold_seed}
        inputs = {"source": str(self._source.absolute()), "sha256": _digest(self._source)}
        if not place.is_dir():
            self._say(f"dividing the scenes of {self._source} into {plan.folds} folds …")
            with artifacts.writing(place, component="ladder", section=division, inputs=inputs) as folder:
                pipeline.folds(
                    self._source,
                    group_by="auto",
                    pattern=None,
                    number=plan.folds,
                    seed=plan.fold_seed,
                    out=folder,
                    report=lambda done, total: None,
                )
        record = Artifact(place).record
        if (record["section"], record["inputs"].get("sha256")) != (division, inputs["sha256"]):
            what = "the folds here are of other frames, or divided otherwise"
            raise ConflictError(
                Problem(place, what, got=record["section"], expected=f"another --out, or {place} removed")
            )
        return [place / str(fold) for fold in range(plan.folds)]

    @property
    def _source(self) -> Path:
        return self._manual_dir or pipeline.MANUAL_DIR

    def _training(self, training: Training, place: Place) -> Result:
        run: Run | None = None
        key, cropped = "", False
        for step in training.rung.steps:
            if step.refine and run:
                place = self._refined(place, run, key)
            if cropped:  # what draws inside boxes is no start for what has to find them
                run, key = None, ""
            cropped = step.crop
            where = self._cropped(place) if step.crop else place
            settings = self._settings(training.seed, where, step.preset, step.settings)
            data = self._training_data(step.dataset, where)
            key = _key(settings, data, key)
            run = self._step(step, settings, key, where.folder, run)
            self._commits |= _commits(run)
        assert run is not None
        return Result(training, self._frames(key, run, data), float(run.model.facts["threshold"]))

    def _settings(self, seed: int, place: Place, preset: str | None = None, own: tuple[str, ...] = ()) -> Config:
        last = (f"seed={seed}", f"example_gen.data_dir={place.data_dir}")
        return config.load(preset, (*self._plan.settings, *own, *last), unlock=True)

    def _training_data(self, name: str, place: Place) -> TrainingData:
        if (place, name) not in self._data:
            self._data[place, name] = pipeline.training_data(self._settings(0, place), name, place.folder, self._say)
        return self._data[place, name]

    def _refined(self, place: Place, run: Run, key: str) -> Place:
        """Give the frames of ``place`` with the boxes that ``run`` refines at a fixed threshold."""
        return self._made(place, "pbs", f"refined-{key}", "refine", str(run.path), "--threshold", "0.5")

    def _cropped(self, place: Place) -> Place:
        """Give the boxes of the frames with contours of ``place``."""
        return self._made(place, "ps", "cropped", "crop")

    def _made(self, place: Place, learnt: str, name: str, *verb: str) -> Place:
        """Give what a verb of ``data`` makes of the frames of ``place``; done once for the same frames."""
        name = f"{name}-{str(self._training_data(learnt, place).digest)[:16]}"
        target = self._out / "data" / name
        if not target.is_dir():
            source = place.folder or pipeline.MANUAL_DIR
            told = target.with_suffix(".log")
            self._call(told, "data", *verb, "--manual-dir", str(source), "--out", str(target))
        return Place(target, self._out / "data" / f"tfds-{name}")

    def _step(self, step: Step, settings: Config, key: str, folder: Path | None, init: Run | None) -> Run:
        """Give the run of a step: the one that was trained before, or a new one."""
        record = self._out / "steps" / f"{key}.json"
        if record.is_file():
            return Run(Path(json.loads(record.read_text("utf-8"))["run"]))
        record.parent.mkdir(parents=True, exist_ok=True)
        chosen, log = record.with_suffix(".yaml"), record.with_suffix(".log")
        chosen.write_text(settings.to_yaml(), "utf-8")
        command = ["train", "--dataset", step.dataset, "--preset", str(chosen), "--json"]
        command += ["--runs", str(self._out / "runs" / key), "--resume", "auto"]
        command += ["--manual-dir", str(folder)] if folder else []
        command += ["--init", str(init.path)] if init else []
        started = time.monotonic()
        run = json.loads(self._call(log, *command).splitlines()[-1])["run"]
        disk.write_json(record, {"run": str(Path(run).absolute()), "seconds": time.monotonic() - started})
        return Run(Path(run))

    def _call(self, log: Path, *command: str) -> str:
        """Run a command of ours in a process of its own; give what it wrote on stdout."""
        with log.open("w", encoding="utf-8") as told:
            done = subprocess.run([*PROGRAM, *command], stdout=subprocess.PIPE, stderr=told, text=True, check=False)
        if not done.returncode:
            return done.stdout
        tail = log.read_text("utf-8", "replace").splitlines()[-TOLD_LINES:]
        cure = "the cause put right and the same command again, which goes on from here"
        raise MachineError(Problem(log, f"it ended with {done.returncode}", expected=cure), *tail)

    def _frames(self, key: str, run: Run, data: TrainingData) -> list[FrameScore]:
        """Give the scores of the frames that were held out; asked for once, then read.

        Two folds may learn the same from boxes alone; what they hold out differs.
        """
        held = _content(data.contours, self._plan.split)[:16]
        path = self._out / "steps" / f"{key}-{held}.npz"
        if not path.is_file():
            _write(path, pipeline.held_out(run.model, data.contours, self._plan.split))
        return _read(path)


def _key(settings: Config, data: TrainingData, before: str) -> str:
    """Give a name that two steps share only if they learn the same thing.

    Frames that only watch do not count where they choose nothing.
    """
    learnt = data.name.split("+")
    watched = settings.trainer.chooses
    chosen = settings.model_dump(mode="json", exclude={"example_gen": {"data_dir"}})
    told: dict[str, Any] = {"settings": chosen, "before": before}
    for name, dataset in data.datasets.items():
        splits = (["train"] if name in learnt else []) + (["validation"] if watched and name == "ps" else [])
        told[name] = [_content(dataset, split) for split in splits]
    rates = data.contours.card.get("splits", {}).get("train", {}).get("box_against_contour")
    routed = settings.supervision.boxes == "routed" and settings.supervision.measure_fill
    told["fill"] = rates if "pbs" in learnt and routed else None
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _digest(root: Path) -> str:
    """Give one sha256 over the names and bytes of both data sets of a folder."""
    files = {name: disk.digest_tree(root / name) for name in FOLDERS.values() if (root / name).is_dir()}
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _commits(run: Run) -> set[str]:
    entries = (run.info, *run.info.get("resumed", []))
    return {entry["commit"] for entry in entries if entry["commit"]}


def _content(dataset: Dataset, split: str) -> str:
    return str(dataset.card.get("content_digest", {}).get(split, dataset.digest))


def _write(path: Path, frames: list[FrameScore]) -> None:
    labels = np.array([",".join(map(str, frame.labels)) for frame in frames])
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(
        partial,
        file_name=np.array([frame.file_name for frame in frames]),
        group_id=np.array([frame.group_id for frame in frames]),
        labels=labels,
        positives=np.stack([frame.positives for frame in frames]),
        negatives=np.stack([frame.negatives for frame in frames]),
    )
    partial.replace(path)


def _read(path: Path) -> list[FrameScore]:
    with np.load(path) as held:
        columns = [held[name] for name in ("file_name", "group_id", "labels", "positives", "negatives")]
    return [
        FrameScore(str(name), str(group), tuple(int(label) for label in str(labels).split(",") if label), *counts)
        for name, group, labels, *counts in zip(*columns, strict=True)
    ]
