"""Runs a recipe in one run folder: each stage in a separate process, finished stages not again.

``stages/<n>_<name>/`` holds what a stage makes; the last stage's model stands in the run folder itself, where that of a
single training stands. A stage is done when its artifact exists, so the same command continues after any interruption.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pipe_seg
from pipe_seg import disk
from pipe_seg.artifacts import RECORD, Artifact
from pipe_seg.config import Config
from pipe_seg.data.training_data import TrainingData
from pipe_seg.errors import PROGRAM_VARIABLE, MachineError, PipeSegError, program
from pipe_seg.pipeline import datasets, runs
from pipe_seg.pipeline.recipe import Recipe, Stage
from pipe_seg.pipeline.runs import Run
from pipe_seg.schema import JOINT

Log = Callable[[str], None]
PROGRAM = (sys.executable, "-m", pipe_seg.__name__)
STAGE_VERB = "run-stage"
SHOWN_LINES = 12


class StageFailedError(PipeSegError):
    """A stage's process ended badly; it has printed why."""

    def __init__(self, exit_code: int, output: Path | None) -> None:
        """Takes over the process's exit code, and the end of what it printed where that went into a file."""
        tail = output.read_text("utf-8", "replace").splitlines()[-SHOWN_LINES:] if output else []
        super().__init__(*tail)
        self.exit_code = exit_code or 1


@dataclass(frozen=True)
class Request:
    """What a person wants trained.

    Attributes:
        recipe: The recipe.
        preset: For stages that name none.
        overrides: ``section.key=value`` for every stage.
        unlock: Whether locked fields may change.
        manual_dir: The folder of frames; None for the default.
        person: Who trains.
    """

    recipe: Recipe
    preset: str | None
    overrides: tuple[str, ...]
    unlock: bool
    manual_dir: Path | None
    person: str

    def settings(self, stage: Stage) -> Config:
        """Returns a stage's configuration."""
        return self.recipe.settings(stage, self.preset, self.overrides, unlock=self.unlock)

    @property
    def last(self) -> Stage:
        """The stage whose model is the result."""
        return self.recipe.stages[-1]

    def to_json(self) -> dict[str, Any]:
        """Returns what a run records of it; equal records and equal data give equal results."""
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "preset": self.preset,
            "overrides": list(self.overrides),
            "unlock": self.unlock,
        }


def run(
    request: Request,
    *,
    runs_dir: Path,
    log: Log,
    resume: Run | None = None,
    reuse: Path | None = None,
    output: Path | None = None,
) -> Run:
    """Runs a recipe; returns its run, finished.

    Args:
        request: What to train; with ``resume``, what ``request_of`` returns.
        runs_dir: Where runs are kept. A run of the same request on the same data continues, or is returned if finished.
        log: Receives lines for the person.
        resume: The run to continue.
        reuse: A folder of runs whose trained models count as this run's where their keys are the same.
        output: A file for what the stages print, instead of the terminal.

    Raises:
        StageFailedError: A stage ended badly, or was interrupted.
        PipeSegError: What is wrong with the request or the data.
    """
    for stage in request.recipe.stages:
        request.settings(stage)  # a wrong setting of any stage is an error before the first one runs
    data = datasets.source_of(resume, request.manual_dir) if resume else _source(request, log)
    begun = resume or runs.newest_like(runs_dir, {"request": request.to_json(), "source_key": data.key})
    if begun and begun.finished:
        log(f"{begun.path} is this very training, finished; -s seed=N makes another")
        return begun
    made = begun or _new(request, data, runs_dir)
    with disk.locked(made.path, partial(runs.refuse_second, made)):
        log(f"run {made.path}")
        if begun:
            runs.resumed(made)
        for number, stage in enumerate(request.recipe.stages, 1):
            _do(made, request, number, stage, log, reuse, output)
    return made


def request_of(run_: Run, manual_dir: Path | None) -> Request:
    """Returns the request that a run was made for, with another folder of the same frames if one is given."""
    info, then = run_.info, run_.info["request"]
    folder = None if run_.rendered else manual_dir or Path(info["source"]["manual_dir"])
    recipe = Recipe.model_validate(then["recipe"])
    return Request(recipe, then["preset"], tuple(then["overrides"]), then["unlock"], folder, info["name"])


def _source(request: Request, log: Log) -> TrainingData:
    """Returns the user's frames as the recipe reads them: all that stages learn from, and the contours."""
    wanted = {name for stage in request.recipe.stages for name in (stage.dataset or "").split("+") if name}
    name = JOINT if len(wanted) > 1 else next(iter(wanted))
    settings = request.settings(request.last)
    return datasets.training_data(settings, name, request.manual_dir, log, rendered=request.recipe.rendered)


def _new(request: Request, data: TrainingData, runs_dir: Path) -> Run:
    settings, source = request.settings(request.last), datasets.recorded(data, request.manual_dir)
    folder = runs.new_folder(runs_dir, request.person, request.recipe.name)
    facts = {**source, "name": request.person, "init": None, "recipe": request.recipe.name, "stages": []}
    made = runs.record(
        folder, settings, {**facts, "request": request.to_json(), "source": source, "source_key": data.key}
    )
    datasets.refer(settings, data, made.path)
    return made


def folder_of(run_: Run, recipe: Recipe, number: int) -> Path:
    """Returns the folder of stage ``number``, from 1; the last stage's is the run's own."""
    stage = recipe.stages[number - 1]
    return run_.path if number == len(recipe.stages) else run_.path / "stages" / f"{number}_{stage.name}"


def _do(
    run_: Run, request: Request, number: int, stage: Stage, log: Log, reuse: Path | None, output: Path | None
) -> None:
    """Takes one stage in a process of its own, unless it is done."""
    total = len(request.recipe.stages)
    if is_done(run_, request, number):
        return
    log(f"stage {number}/{total}  {stage.name}: {stage.description or stage.component}")
    command = [*PROGRAM, STAGE_VERB, str(run_.path), str(number)]
    command += ["--manual-dir", str(request.manual_dir)] if request.manual_dir else []
    command += ["--reuse", str(reuse)] if reuse else []
    with output.open("ab") if output else nullcontext() as file:
        environment = os.environ | {PROGRAM_VARIABLE: program()}
        code = _wait(subprocess.Popen(command, stderr=file, env=environment))
    if code or not is_done(run_, request, number):
        raise StageFailedError(code if code >= 0 else 128 - code, output)


def _wait(process: "subprocess.Popen[bytes]") -> int:
    """Waits for a stage's process; a terminal's Ctrl-C reaches it by itself, SIGTERM is passed on."""
    with _handling(signal.SIGINT, lambda: None), _handling(signal.SIGTERM, process.terminate):
        return process.wait()


@contextmanager
def _handling(number: signal.Signals, action: Callable[[], None]) -> Iterator[None]:
    before = signal.signal(number, lambda *_: action())
    try:
        yield
    finally:
        signal.signal(number, before)


def is_done(run_: Run, request: Request, number: int) -> bool:
    """Returns whether a stage has made all that it makes, and that is still there."""
    folder, stage = folder_of(run_, request.recipe, number), request.recipe.stages[number - 1]
    return Run(folder).finished if stage.component == "trainer" else frames_of(folder) is not None


def frames_of(folder: Path) -> Path | None:
    """Returns the frames that a cropper's or refiner's stage made; None if unfinished or deleted."""
    try:
        path = Path(Artifact(folder).record["details"]["frames"])
    except (MachineError, KeyError, TypeError):
        return None
    return path if (path / RECORD).is_file() else None
