"""One training, resumable: epochs, validation after each, checkpoints between, the best kept."""

import signal
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from pipe_seg.components.trainer.checkpoints import Checkpoints
from pipe_seg.components.trainer.interrupt import Interrupted, watching
from pipe_seg.components.trainer.loop import Loop, Progress
from pipe_seg.components.trainer.reporter import reporting
from pipe_seg.components.trainer.state import State
from pipe_seg.components.trainer.tensorboard import TensorBoardLogger
from pipe_seg.components.trainer.validation import Validated, Validation
from pipe_seg.components.trainer.workers import Workers
from pipe_seg.config import Config
from pipe_seg.data.batches import TransformedExamples
from pipe_seg.errors import DivergedError, MachineError, Problem, invocation

CALL_S = 1.0
ROLLED_BACK_RATE = 0.1


class NotFiniteError(Exception):
    """Too many steps in a row, or the weights themselves, were not finite."""


class Session:
    """Runs a training to its end, or to what ended it early.

    ``state`` and ``best`` (the weights of the best epoch) record how far it came.
    """

    def __init__(
        self,
        config: Config,
        name: str,
        *,
        loop: Loop,
        examples: TransformedExamples,
        validation: Validation,
        checkpoints: Checkpoints,
        board: TensorBoardLogger,
        workers: Workers,
    ) -> None:
        """Begin where the newest whole checkpoint stands."""
        self._section = config.trainer
        self._recipe = config.dataset(name)
        self._settings = _settings(config, name)
        self._loop = loop
        self._examples = examples
        self._validation = validation
        self._checkpoints = checkpoints
        self._board = board
        self._workers = workers
        self._stopped = False
        self._step_s = CALL_S
        self._saved_at = time.monotonic()
        restored = checkpoints.restore()
        self._resumed = restored is not None
        self.state, self.best = restored or (State(), [])
        place = np.array([self.state.epoch, self.state.step], np.float64)
        if (workers.sum(place) != place * workers.number).any():
            cure = "one folder of runs that all workers share"
            raise MachineError(Problem(checkpoints.folder, "other workers found another checkpoint", expected=cure))

    def run(self) -> Interrupted | DivergedError | None:
        """Trains; returns what ended it early, if anything did."""
        with watching() as watch, reporting(self._recipe.epochs, self._examples.steps) as reporter:
            self._watch, self._reporter = watch, reporter
            try:
                self._begin()
                while not self._over():
                    self._epoch_or_back()
            except (Interrupted, DivergedError) as ended:
                return ended
            finally:
                self._board.close()
        return None

    def _begin(self) -> None:
        if not self._resumed:
            self._save()
        self._take_up(resumed=self._resumed)
        self._board.graph(self._loop.steps, self._batches)

    def _take_up(self, *, resumed: bool) -> None:
        """Let the batches, the bar and the log stand where ``state`` does."""
        if self._workers.chief:
            self._checkpoints.set_damaged_aside()
        state = self.state
        epoch, step = divmod(state.epoch * self._examples.steps + state.step, self._examples.steps)
        self._batches = self._loop.batches(self._examples, epoch, step)
        self._reporter.begin(state.epoch, state.step)
        self._board.start(state.epoch, self._settings, resumed=resumed)

    def _over(self) -> bool:
        waited = self.state.epoch - self.state.best_epoch if self._section.chooses else 0
        return self._stopped or self.state.epoch >= self._recipe.epochs or waited >= self._section.early_stopping_epochs

    def _epoch_or_back(self) -> None:
        try:
            self._epoch()
        except NotFiniteError as found:
            self._roll_back(found)

    def _epoch(self) -> None:
        while self.state.step < self._examples.steps and not self._stopped:
            self._call()
        self._validate()

    def _call(self) -> None:
        left = self._examples.steps - self.state.step
        number = max(1, min(self._section.steps_per_call, left, int(CALL_S / self._step_s)))
        started = time.monotonic()
        rows = self._loop.steps(self._batches, tf.constant(number)).numpy()
        seconds = (time.monotonic() - started) / number
        self._note(rows)
        images = self._loop.batch_size * number
        self._reporter.step(number, images, self.state.progress.scores())
        self._agree(seconds)

    def _note(self, rows: np.ndarray) -> None:
        state = self.state
        for *sums, skipped in rows:
            state.step += 1
            if not skipped:
                state.in_a_row = 0
                state.progress = state.progress.add(self._loop.batch_size, np.asarray(sums))
                continue
            state.skipped += 1
            state.in_a_row += 1
            told = self._skipped(state.step - 1)
            if state.in_a_row >= self._section.skipped_steps:
                raise NotFiniteError(told)
            self._reporter.warn(f"{told}; the step was skipped")

    def _skipped(self, step: int) -> str:
        names = ", ".join(self._examples.file_names(self.state.epoch, step))
        where = f"epoch {self.state.epoch + 1}, step {step + 1}"
        return f"{where}: loss, gradient or rate is not finite in the batch of {names}"

    def _agree(self, seconds: float) -> None:
        """Shares every process's signal, the step time and whether the chief finds a checkpoint due.

        Raises:
            Interrupted: training ends here; a checkpoint stands.
        """
        number = self._watch.signal_number
        waited = time.monotonic() - self._saved_at >= self._section.checkpoint_every_s
        due = self._workers.chief and waited and self.state.in_a_row == 0
        told = np.array([seconds, due, number == signal.SIGINT, number == signal.SIGTERM], np.float64)
        seconds, due, interrupted, terminated = self._workers.sum(told)
        self._step_s = max(seconds / self._workers.number, 1e-6)
        if self._workers.number > 1 and (interrupted or terminated):
            self._leave(signal.SIGTERM if terminated else signal.SIGINT)
        self._listen()
        if due:
            self._save()

    def _listen(self) -> None:
        """Acts on this process's signal where it is the only process."""
        if self._workers.number > 1 or self._stopped:
            return
        choice = self._watch.choose(self._reporter.paused)
        if choice == "leave":
            self._leave(self._watch.signal_number)
        self._stopped = choice == "stop"

    def _leave(self, number: int) -> None:
        self._save()
        if self._workers.chief:
            folder = self._checkpoints.folder.parent
            run = folder.parents[1] if folder.parent.name == "stages" else folder
            self._reporter.note(f"saved; to continue: {invocation('train', '--resume', run)}")
        raise Interrupted(128 + number)

    def _save(self) -> None:
        """Let the chief publish a checkpoint.

        Raises:
            NotFiniteError: there are weights that are not finite.
        """
        if not self._checkpoints.finite:
            raise NotFiniteError(f"epoch {self.state.epoch + 1}, step {self.state.step}: a weight is not finite")
        if self._workers.chief:
            self._checkpoints.save(self.state, self.best)
        self._saved_at = time.monotonic()

    def _roll_back(self, found: NotFiniteError) -> None:
        """Go back to the last checkpoint with a lower rate; once.

        Raises:
            DivergedError: this has been done before.
        """
        restored = None if self.state.rolled_back else self._checkpoints.restore()
        if restored is None:
            cure = f"lower the learning rate ({self._recipe.learning_rate}) or use -s trainer.precision=float32"
            raise DivergedError(f"{found}; {cure}")
        skipped = self.state.skipped
        self.state, self.best = restored
        self.state.rolled_back, self.state.skipped = True, skipped
        scale = self._loop.rate.scale
        scale.assign(scale * ROLLED_BACK_RATE)
        where = f"epoch {self.state.epoch + 1}, step {self.state.step}"
        self._reporter.warn(f"{found}; back to {where} with {ROLLED_BACK_RATE:g} of the learning rate")
        self._take_up(resumed=True)

    def _validate(self) -> None:
        validated = self._validation.run(self._listen)
        state, number = self.state, self.state.epoch + 1
        train, scores = state.progress.scores(), validated.scores
        chooses = self._section.chooses and validated.has_defect
        if self._section.chooses and not validated.has_defect and number == 1:
            self._reporter.warn("no validation frame has a defect: no epoch can be chosen, so the last one is kept")
        iou = -1.0 if scores["iou"] is None else scores["iou"]
        better = iou > state.best_iou or not chooses
        best = better and not validated.not_finite
        if validated.not_finite:
            names = ", ".join(validated.not_finite)
            self._reporter.warn(f"epoch {number}: the network's answer is not finite on {names}; it cannot be the best")
        if best:
            state.best_iou, state.best_epoch, self.best = iou, number, self._loop.average.get_weights()
        self._log(number, train, validated, best=best and chooses)
        state.epoch, state.step, state.progress = number, 0, Progress()

    def _log(self, number: int, train: dict[str, float], validated: Validated, *, best: bool) -> None:
        scores = validated.scores
        scalars = {f"train/{key}": value for key, value in train.items()}
        scalars |= {f"validation/{key}": value for key, value in scores.items() if value is not None}
        scalars |= {"train/learning_rate": self._loop.learning_rate, "train/skipped_steps": self.state.skipped}
        self.state.history.append({"epoch": number, **scalars})
        scalars["train/images_per_second"] = self._reporter.rate
        self._board.epoch(number, scalars, validated.frames, validated.panels)
        self._reporter.epoch(number, train, scores, best=best)


def _settings(config: Config, name: str) -> Mapping[str, Any]:
    """Returns the six values of the experiment, flat, for HParams."""
    recipe = config.dataset(name)
    return {
        "dataset": name,
        "seed": config.seed,
        "epochs": recipe.epochs,
        "learning_rate": recipe.learning_rate,
        "batch_size": recipe.batch_size,
        "optimizer": recipe.optimizer.name,
        "criterion": recipe.criterion.name,
    }
