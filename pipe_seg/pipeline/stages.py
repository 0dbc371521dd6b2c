"""One stage of a recipe at work, in a process of its own."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipe_seg import artifacts, disk, progress
from pipe_seg.artifact_store import ArtifactStore
from pipe_seg.artifacts import RECORD, TrainedModel
from pipe_seg.config import Config
from pipe_seg.data.training_data import TrainingData
from pipe_seg.errors import ConfigError, ConflictError, Problem
from pipe_seg.pipeline import datasets, frames, runs, training
from pipe_seg.pipeline.recipe import Stage
from pipe_seg.pipeline.runner import Request, folder_of, frames_of, request_of
from pipe_seg.pipeline.runs import Run

Log = Callable[[str], None]


def run_stage(run_: Run, number: int, *, manual_dir: Path | None, reuse: Path | None, log: Log) -> None:
    """Takes stage ``number`` of a run's recipe in this process; the stages before it are done.

    Raises:
        PipeSegError: What went wrong; the stage's folder keeps what was finished.
    """
    disk.end_with_parent()
    request = request_of(run_, manual_dir)
    stage = request.recipe.stages[number - 1]
    work = _Work(run_, request, number, stage, log, reuse)
    with disk.locked(run_.path / "stages", lambda: log("another process still ends a stage of this run: waiting")):
        {"cropper": work.crop, "refiner": work.refine, "trainer": work.train}[stage.component]()


@dataclass(frozen=True)
class _Work:
    """One stage at work, in a process of its own."""

    run: Run
    request: Request
    number: int
    stage: Stage
    log: Log
    reuse: Path | None

    @property
    def settings(self) -> Config:
        return self.request.settings(self.stage)

    @property
    def folder(self) -> Path:
        return folder_of(self.run, self.request.recipe, self.number)

    def folder_named(self, name: str) -> Path:
        """Returns the folder of the stage of this name."""
        recipe = self.request.recipe
        return folder_of(self.run, recipe, recipe.stages.index(recipe.stage(name)) + 1)

    @property
    def manual_dir(self) -> Path | None:
        """The folder of frames that this stage reads; None for rendered ones."""
        return frames_of(self.folder_named(self.stage.data)) if self.stage.data else self.request.manual_dir

    def crop(self) -> None:
        from pipe_seg.components import cropper

        section, root = self.settings.cropper, self._root()
        inputs = self._digests("ps", root)

        def make(out: Path, key: str) -> None:
            with progress.bar("cropping") as report:
                frames.crop(section, root=root, out=out, on_progress=report, key=key)

        self._make_frames(cropper.key_of(section, inputs), make)

    def refine(self) -> None:
        from pipe_seg.components import refiner

        section, root = self.settings.refiner, self._root()
        models = [Run(self.folder_named(name)).model for name in self.stage.models]
        inputs = self._digests("pbs", root) | self._digests("ps", root)
        inputs |= {f"model {number}": model.digest for number, model in enumerate(models)}

        def make(out: Path, key: str) -> None:
            with progress.bar("refining") as report:
                frames.refine(section, models=models, root=root, out=out, on_progress=report, key=key)

        self._make_frames(refiner.key_of(section, inputs), make)

    def _make_frames(self, key: str, make: Callable[[Path, str], None]) -> None:
        """Makes frames in the store unless this key exists, and points the stage's folder to them."""
        store = ArtifactStore(self.settings.example_gen.data_dir)
        target = store.path(self.stage.component, key)
        if not target.is_dir():
            with artifacts.first_wins(target):
                make(target, key)
        store.refer(target, self.run.path)
        shutil.rmtree(self.folder, ignore_errors=True)  # of an earlier attempt, whose frames are gone
        details = {"frames": str(target.absolute())}
        with artifacts.writing(self.folder, component=self.stage.component, key=key, details=details) as folder:
            for page in target.glob("*.html"):
                shutil.copyfile(page, folder / page.name)
        self._note(key)

    def train(self) -> None:
        from pipe_seg import devices
        from pipe_seg.components import trainer
        from pipe_seg.components.trainer.workers import Workers

        settings, name = self.settings, str(self.stage.dataset)
        init = Run(self.folder_named(self.stage.init)) if self.stage.init else None
        training.check_start(init)
        strategy = devices.strategy(settings.trainer.strategy, self.log)
        rendered = self.request.recipe.rendered
        data = datasets.training_data(settings, name, self.manual_dir, self.log, rendered=rendered)
        if not self.stage.data:
            for other, dataset in data.datasets.items():
                self._check_unchanged(other, dataset.record["inputs"])
        run_ = self._recorded(settings, data, init)
        key = trainer.key_of(settings, data, init.trained if init else None)
        found = None if run_.trained.path.is_dir() else _with_key(self.reuse, key)
        if found:
            with artifacts.publishing(run_.trained.path) as folder:
                shutil.copytree(found.path, folder, dirs_exist_ok=True)
        tensorboard = self.run.path / "tensorboard" / f"{self.number}_{self.stage.name}"
        training.complete(
            run_,
            settings,
            data,
            init,
            strategy=strategy,
            workers=Workers(strategy),
            log=self.log,
            tensorboard=tensorboard,
        )
        self._note(key)

    def _recorded(self, settings: Config, data: TrainingData, init: Run | None) -> Run:
        """Returns the stage as a run of its own, with its configuration and data written down."""
        facts = training.facts(data, init, self.manual_dir, self.request.person)
        datasets.refer(settings, data, self.run.path)
        run_ = Run(self.folder)
        if run_.path == self.run.path:
            with disk.environment(run_.path):
                disk.write_json(run_.path / "run.json", run_.info | facts)
        elif not (run_.path / "run.json").is_file():
            runs.record(run_.path, settings, facts)
        return run_

    def _root(self) -> Path:
        """Returns the folder of real frames that a cropper or refiner reads.

        Raises:
            ConfigError: The frames are rendered, in no folder.
        """
        root = self.manual_dir
        if root is None:
            what = f"the {self.stage.component} needs frames in a folder"
            raise ConfigError(
                Problem(self.request.recipe.name, what, expected="--manual-dir DIR, or --recipe original")
            )
        return root

    def _digests(self, name: str, root: Path) -> dict[str, str]:
        from pipe_seg.components import example_gen

        found = example_gen.digests(self.settings.example_gen, name=name, manual_dir=root, rendered=False)
        if not self.stage.data:
            self._check_unchanged(name, found)
        return found

    def _check_unchanged(self, name: str, inputs: Mapping[str, str]) -> None:
        """Raises if the user's frames are not those that the run began with.

        Raises:
            ConflictError: They are not.
        """
        then = self.run.info["source"]["datasets"].get(name, {}).get("inputs", inputs)
        if then != inputs:
            folder = self.request.manual_dir or datasets.MANUAL_DIR
            what = f"changed since {self.run.name} began: {datasets.changes(then, inputs)}"
            raise ConflictError(Problem(folder, what, expected="the frames as they were, or another training"))

    def _note(self, key: str) -> None:
        """Adds the stage and its key to ``run.json``."""
        with disk.environment(self.run.path):
            info = self.run.info
            others = [stage for stage in info["stages"] if stage["name"] != self.stage.name]
            entry = {"name": self.stage.name, "component": self.stage.component, "key": key}
            disk.write_json(self.run.path / "run.json", info | {"stages": [*others, entry]})


def _with_key(reuse: Path | None, key: str) -> TrainedModel | None:
    """Returns a trained model of this key in another run, or in one of its stages."""
    places = [*reuse.glob(f"*/trainer/{RECORD}"), *reuse.glob(f"*/stages/*/trainer/{RECORD}")] if reuse else []
    models = (TrainedModel(path.parent) for path in sorted(places))
    return next((model for model in models if model.key == key), None)
