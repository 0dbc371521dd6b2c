"""The order of the components: from a folder of frames to a model that may be served."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipe_seg import disk
from pipe_seg.artifacts import Dataset, Evaluation, Model, PushedModel
from pipe_seg.config import Config
from pipe_seg.data.training_data import TrainingData, look
from pipe_seg.errors import ConfigError, ConflictError, InputDataError, MachineError, Problem
from pipe_seg.pipeline import runs as run_folder
from pipe_seg.pipeline.runs import Run
from pipe_seg.progress import Report
from pipe_seg.schema import FOLDERS

if TYPE_CHECKING:
    from pipe_seg.annotations.splits import SplitFile
    from pipe_seg.components.example_validator import Anomaly
    from pipe_seg.components.trainer.workers import Workers
    from pipe_seg.data.statistics import Statistics
    from pipe_seg.nn.scores import FrameScore

MANUAL_DIR = Path("datasets")
Say = Callable[[str], None]


def examples(settings: Config, name: str, manual_dir: Path | None, say: Say) -> Dataset:
    """Build the dataset ``name``: from the user's folder, or rendered where there is none.

    A folder that was asked for by ``manual_dir`` must be there; the default one may be missing.
    """
    from pipe_seg.components import example_gen

    rendered = uses_rendered(name, manual_dir)
    if rendered:
        say(f"{name}: no frames in {MANUAL_DIR}/, so the embedded rendered sample is used; its scores prove nothing")
    return example_gen.run(settings.example_gen, name=name, manual_dir=manual_dir or MANUAL_DIR, rendered=rendered)


def uses_rendered(name: str, manual_dir: Path | None) -> bool:
    """Say whether ``examples`` would render ``name``, or the first of two; imports no TensorFlow."""
    return manual_dir is None and not (MANUAL_DIR / FOLDERS[name.split("+")[0]]).is_dir()


def train(
    settings: Config,
    name: str,
    *,
    manual_dir: Path | None,
    runs: Path,
    person: str,
    init: Run | None,
    say: Say,
    resume: Run | Literal["auto"] | None = None,
) -> Run:
    """Train on ``name``, export, evaluate against contours, and check in a fresh process.

    ``resume`` goes on with a run, from its newest checkpoint; ``auto`` with the newest unfinished one of the
    same configuration and data, if there is one. What a run has finished is not done again. Of several
    workers, only the chief exports and scores.

    Raises:
        PipeSegError: what went wrong, the run's folder keeping what was finished.
    """
    from pipe_seg import devices
    from pipe_seg.components import trainer
    from pipe_seg.components.trainer.workers import Workers
    from pipe_seg.data import lineage

    if init and not init.trained.weights.is_file():
        cure = "a run that was trained to its end, or --resume RUN to train it there"
        raise ConfigError(Problem(init.path, "this run has no weights", expected=cure))
    strategy = devices.strategy(settings.trainer.strategy, say)  # before TensorFlow is used for anything else
    workers = Workers(strategy)
    data = training_data(settings, name, manual_dir, say)
    if init and look(init.model) != look(data.contours):
        say(f"note: {init.path} learnt from {look(init.model)}, and these are {look(data.contours)}")
    before = {init.path: init.trained.path} if init else {}
    for path, number in lineage.learnt_before(data, before):
        say(f"note: {path} learnt from {number} of these validation frames: scores on them will not be blessed")
    if data.mixes_bare_boxes:
        say("note: no box here is refined; mixed so, they add nothing to contours; expected `data refine` first")
    digests = {dataset: dataset.digest for dataset in data.datasets.values()}
    with ExitStack() as held, workers.together():
        run = None
        if workers.chief:
            again = run_folder.same_unfinished(settings, runs, data, init) if resume == "auto" else resume
            run = again or run_folder.start(
                settings, runs=runs, person=person, init=init, data=data, manual_dir=manual_dir
            )
            held.enter_context(disk.locked(run.path, partial(_refuse_second, run)))
            if again:
                run_folder.resumed(run)
            say(f"run {run.path}")
        run = _shared(run, data, workers)
        batch_size = trainer.global_batch_size(settings, name, strategy, say)
        _fit(settings, run=run, data=data, batch_size=batch_size, strategy=strategy, init=init)
        if not workers.chief:
            say(f"worker {workers.index} is done; the chief exports and scores")
            return run
        say("exporting and scoring the exported model …")
        check_same(digests)
        _finish(settings, run, data.contours)
    return run


def _shared(run: Run | None, data: TrainingData, workers: "Workers") -> Run:
    """Give the chief's run to every worker, each of which has to see its folder and to hold the same data."""
    told = Path(workers.text(str(run.path.absolute()) if run else ""))
    if not told.is_dir() or workers.text(str(data.digest)) != str(data.digest):
        cure = "one --runs folder and one dataset that all workers share"
        raise MachineError(Problem(told, "not the chief's run, or not the chief's data", expected=cure))
    return run or Run(told)


def parts_that_fit(settings: Config, name: str, say: Say) -> int:
    """Give in how many parts a batch has to be computed to fit into memory."""
    from pipe_seg.components.trainer import batch_size_finder

    return batch_size_finder.parts(settings, name, say)


def _refuse_second(run: Run) -> None:
    raise ConflictError(Problem(run.path, "another process trains this run", expected="wait for it, or another run"))


def _fit(settings: Config, *, run: Run, data: TrainingData, batch_size: int, strategy: Any, init: Run | None) -> None:
    from pipe_seg.components import trainer, transform

    trainer.run(
        settings,
        examples=transform.run(settings, data=data, split="train", batch_size=batch_size),
        data=data,
        out=run.trained.path,
        checkpoints=run.checkpoints,
        board=run.path / "tensorboard",
        strategy=strategy,
        init=init.trained if init else None,
    )


def _finish(settings: Config, run: Run, truth: Dataset) -> None:
    """Take the steps after training that have not been taken yet."""
    from pipe_seg.components import export, infra_validator

    if not run.model.path.is_dir():
        export.run(settings, trained=run.trained, tuning=truth, out=run.model.path)
    if not run.evaluation.path.is_dir():
        evaluate(settings, run.model, truth, out=run.evaluation.path)
    if not run.infra.path.is_dir():
        infra_validator.run(settings.infra_validator, model=run.model, dataset=truth, out=run.infra.path)


def check_same(datasets: Mapping[Dataset, str | None]) -> None:
    """Make sure that datasets are still those that training began with.

    Raises:
        ConflictError: one was built again from other files meanwhile.
    """
    for dataset, digest in datasets.items():
        if dataset.digest != digest:
            what = "was built again from other files while this run trained"
            raise ConflictError(Problem(dataset.path, what, expected="another TFDS_DATA_DIR for another folder"))


def check(root: Path, *, group_by: str, pattern: str | None, report: Report) -> "tuple[Statistics, list[Anomaly]]":
    """Read every frame of a folder once; give what is in it and what is wrong with it."""
    from pipe_seg.components import example_validator, statistics_gen

    statistics = statistics_gen.run(root, group_by=group_by, pattern=pattern, report=report)
    return statistics, example_validator.run(statistics)


def split(
    root: Path,
    *,
    group_by: str,
    pattern: str | None,
    fractions: Mapping[str, float],
    seed: int,
    legacy: bool,
    replace: bool,
    report: Report,
) -> "tuple[Statistics, dict[str, SplitFile]]":
    """Group the frames of a folder into scenes and freeze which scene is in which split."""
    from pipe_seg.components import split_gen, statistics_gen

    roots = {dataset.name: dataset.layout.root for dataset in statistics_gen.discover(root)}
    _refuse_crops(roots)
    statistics = statistics_gen.run(root, group_by=group_by, pattern=pattern, frozen=False, report=report)
    files = split_gen.run(
        statistics, roots, fractions=fractions, seed=seed, group_by=group_by, legacy=legacy, replace=replace
    )
    return statistics, files


def folds(
    root: Path, *, group_by: str, pattern: str | None, number: int, seed: int, out: Path, report: Report
) -> list[Path]:
    """Group the frames of a folder into scenes and make folders that hold each scene with contours out once."""
    from pipe_seg.components import fold_gen, statistics_gen

    roots = {dataset.name: dataset.layout.root for dataset in statistics_gen.discover(root)}
    _refuse_crops(roots)
    statistics = statistics_gen.run(root, group_by=group_by, pattern=pattern, frozen=False, report=report)
    return fold_gen.run(statistics, roots, number=number, seed=seed, out=out)


def _refuse_crops(roots: Mapping[str, Path]) -> None:
    """Let boxes cut out of frames keep the scenes that their frames have."""
    from pipe_seg.data import data_card

    for root in roots.values():
        made = data_card.made(root)["cropped"]
        if made:
            what = "boxes cut out of frames, whose scenes their names do not tell"
            raise ConfigError(Problem(root, what, expected=f"`data split` of {made['source']}, then `data crop` again"))


def held_out(model: Model, dataset: Dataset, split: str) -> "list[FrameScore]":
    """Ask an exported model for every frame of a split; give what each adds to a score."""
    from pipe_seg.data import examples as data
    from pipe_seg.inference.saved_model import LoadedModel
    from pipe_seg.inference.scoring import score_frames

    return score_frames(LoadedModel(model.saved_model).probability, data.load(dataset.path, split).as_numpy_iterator())


def filled_boxes(dataset: Dataset, split: str) -> dict[str, float]:
    """Give the IoU of each frame's own boxes, filled in, with its contour; frames without boxes are left out."""
    from pipe_seg.data import examples as data
    from pipe_seg.inference.scoring import box_counts

    counted = {f.file_name: box_counts(f.boxes, f.segmentation_mask) for f in data.frames(dataset.path, split)}
    return {name: counts.iou for name, counts in counted.items() if counts}


def preview(
    settings: Config, source: str, *, manual_dir: Path | None, per_class: int, out: Path, say: Say
) -> list[str]:
    """Write a contact sheet of a built dataset (``pbs``, ``ps``) or of a folder; give the frames' names."""
    from pipe_seg.components import preview as component
    from pipe_seg.components import statistics_gen
    from pipe_seg.data import examples as data

    if source in FOLDERS:
        frames = data.frames(examples(settings, source, manual_dir, say).path, "train")
    else:
        (dataset, *others) = statistics_gen.discover(Path(source))
        layout = others[-1].layout if others else dataset.layout
        frames = (waiting.read() for waiting in layout.frames("train"))
    return component.run(settings.transform, frames=frames, per_class=per_class, seed=settings.seed, out=out)


def training_data(settings: Config, name: str, manual_dir: Path | None, say: Say) -> TrainingData:
    """Build what ``name`` learns from, and PS where it can be had: boxes are not the truth that scores are of.

    ``pbs+ps`` has to have both from one place, rendered or not.
    """
    wanted = name.split("+")
    rendered = uses_rendered(wanted[0], manual_dir)
    folder = (manual_dir or MANUAL_DIR) / FOLDERS["ps"]
    if "ps" not in wanted and (rendered or folder.is_dir()):
        wanted.append("ps")
    if any(uses_rendered(other, manual_dir) != rendered for other in wanted):
        both = " and ".join(FOLDERS.values())
        raise InputDataError(Problem(MANUAL_DIR, "one of two data sets", expected=f"both {both}, or neither"))
    if "ps" not in wanted:
        say(f"{folder} is not there: scores are against filled boxes, not contours")
    return TrainingData(name, {other: examples(settings, other, manual_dir, say) for other in wanted})


def evaluate(settings: Config, model: Model, dataset: Dataset, *, out: Path, split: str = "validation") -> Evaluation:
    """Score an exported model on one split."""
    from pipe_seg.components import evaluator

    return evaluator.run(settings.evaluator, model=model, dataset=dataset, split=split, seed=settings.seed, out=out)


def push(settings: Config, run: Run, *, store: str | None, unblessed: bool) -> PushedModel:
    """Publish the run's model as the next version in a store."""
    from pipe_seg.components import pusher

    section = settings.pusher if store is None else settings.pusher.model_copy(update={"store": store})
    return pusher.run(
        section,
        model=run.model,
        evaluation=run.evaluation,
        infra=run.infra,
        validator=settings.infra_validator,
        unblessed=unblessed,
    )
