"""One training: from datasets to a model that may be served, step by step, in one folder."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipe_seg import disk
from pipe_seg.artifacts import Dataset
from pipe_seg.config import Config
from pipe_seg.data.training_data import TrainingData, image_kind
from pipe_seg.errors import ConfigError, MachineError, Problem
from pipe_seg.pipeline import datasets, models, runs
from pipe_seg.pipeline.runs import Run

if TYPE_CHECKING:
    from pipe_seg.components.trainer.workers import Workers

Log = Callable[[str], None]


def train(
    settings: Config,
    name: str,
    *,
    manual_dir: Path | None,
    runs_dir: Path,
    person: str,
    init: Run | None,
    log: Log,
    resume: Run | Literal["auto"] | None = None,
) -> Run:
    """Trains on ``name``, exports, evaluates against contours, and checks the model in a fresh process.

    ``resume`` continues a run from its newest checkpoint; ``auto`` the newest unfinished one of the same configuration
    and data, if there is one. What a run has finished is not done again. Of several workers, only the chief exports and
    scores.

    Raises:
        PipeSegError: What went wrong; the run's folder keeps what was finished.
    """
    from pipe_seg import devices
    from pipe_seg.components.trainer.workers import Workers

    check_start(init)
    strategy = devices.strategy(settings.trainer.strategy, log)  # before TensorFlow is used for anything else
    workers = Workers(strategy)
    if isinstance(resume, Run):
        data = datasets.source_of(resume, manual_dir)
    else:
        data = datasets.training_data(settings, name, manual_dir, log)
    with ExitStack() as held, workers.together():
        run = None
        if workers.chief:
            begun = _begun(settings, data, init, runs_dir, resume)
            run = begun or _new(settings, data, init, runs_dir, person, manual_dir)
            held.enter_context(disk.locked(run.path, partial(runs.refuse_second, run)))
            if begun:
                runs.resumed(run)
            log(f"run {run.path}")
        run = _shared(run, data, workers)
        complete(run, settings, data, init, strategy=strategy, workers=workers, log=log)
    return run


def check_start(init: Run | None) -> None:
    """Raises unless a run's weights can start another training.

    Raises:
        ConfigError: It has none.
    """
    if init and not init.trained.weights.is_file():
        cure = "a run that was trained to its end, or --resume RUN to train it there"
        raise ConfigError(Problem(init.path, "this run has no weights", expected=cure))


def facts(data: TrainingData, init: Run | None, manual_dir: Path | None, person: str) -> dict[str, Any]:
    """Returns what a training records of its data and its start."""
    start = {"init": str(init.path.absolute()) if init else None, "init_key": init.trained.key if init else None}
    return {"name": person, **datasets.recorded(data, manual_dir), **start}


def complete(
    run: Run,
    settings: Config,
    data: TrainingData,
    init: Run | None,
    *,
    strategy: Any,
    workers: "Workers",
    log: Log,
    tensorboard: Path | None = None,
) -> None:
    """Takes the steps of a training that have not been taken yet.

    Raises:
        PipeSegError: What went wrong; the run's folder keeps what was finished.
    """
    from pipe_seg.components import trainer, transform

    _note_doubts(data, init, log)
    name = data.name
    batch_size = trainer.global_batch_size(settings, name, strategy, log)
    trainer.run(
        settings,
        examples=transform.run(settings, data=data, split="train", batch_size=batch_size),
        data=data,
        out=run.trained.path,
        checkpoints=run.checkpoints,
        tensorboard=tensorboard or run.path / "tensorboard",
        strategy=strategy,
        init=init.trained if init else None,
    )
    if not workers.chief:
        log(f"worker {workers.index} is done; the chief exports and scores")
        return
    log("exporting and scoring the exported model …")
    finish(settings, run, data.contours)


def finish(settings: Config, run: Run, contours: Dataset) -> None:
    """Takes the steps after training that have not been taken yet."""
    from pipe_seg.components import export, infra_validator

    if not run.model.path.is_dir():
        export.run(settings, trained=run.trained, tuning=contours, out=run.model.path)
    if not run.evaluation.path.is_dir():
        models.evaluate(settings, run.model, contours, out=run.evaluation.path)
    if not run.infra.path.is_dir():
        infra_validator.run(settings.infra_validator, model=run.model, dataset=contours, out=run.infra.path)


def _note_doubts(data: TrainingData, init: Run | None, log: Log) -> None:
    """Logs what a person should know of the data and the start before hours of training."""
    from pipe_seg.data import lineage

    if init and image_kind(init.model) != image_kind(data.contours):
        log(f"note: {init.path} learnt from {image_kind(init.model)}, and these are {image_kind(data.contours)}")
    before = {init.path: init.trained.path} if init else {}
    for path, number in lineage.learnt_before(data, before):
        log(f"note: {path} learnt from {number} of these validation frames: scores on them will not be blessed")
    if data.mixes_bare_boxes:
        log(
            "note: no box here is refined; mixed like this, boxes add nothing to contours; expected `data refine` first"
        )


def _begun(
    settings: Config, data: TrainingData, init: Run | None, runs_dir: Path, resume: Run | Literal["auto"] | None
) -> Run | None:
    """Returns the run to continue; None to begin one."""
    if isinstance(resume, Run) or resume is None:
        return resume
    begun = {"dataset": data.full_name, "data_key": data.key, "init_key": init.trained.key if init else None}
    found = runs.newest_like(runs_dir, begun, settings)
    return found if found and not found.finished else None


def _new(
    settings: Config, data: TrainingData, init: Run | None, runs_dir: Path, person: str, manual_dir: Path | None
) -> Run:
    folder = runs.new_folder(runs_dir, person, data.name)
    run = runs.record(folder, settings, facts(data, init, manual_dir, person))
    datasets.refer(settings, data, run.path)
    return run


def _shared(run: Run | None, data: TrainingData, workers: "Workers") -> Run:
    """Returns the chief's run on every worker; each must see its folder and hold the same data."""
    chiefs = Path(workers.text(str(run.path.absolute()) if run else ""))
    if not chiefs.is_dir() or workers.text(data.key) != data.key:
        cure = "one --runs folder and one dataset that all workers share"
        raise MachineError(Problem(chiefs, "not the chief's run, or not the chief's data", expected=cure))
    return run or Run(chiefs)


def parts_that_fit(settings: Config, name: str, log: Log) -> int:
    """Returns the number of parts in which a batch has to be computed to fit into memory."""
    from pipe_seg.components.trainer import batch_size_finder

    return batch_size_finder.parts(settings, name, log)
