"""What TensorBoard shows: scalars, the same dozen frames each epoch, a PR curve, HParams, the graph."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.compat.proto import event_pb2
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.pr_curve import summary as pr_curve
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from pipe_seg import images
from pipe_seg.nn.scores import FrameScore

PANEL_WIDTH_PX = 240
CURVE_POINTS = 101

log = logging.getLogger(__name__)


class TensorBoardLogger:
    """One run's events. A failed write prints one warning and does not stop training."""

    def __init__(self, folder: Path | None) -> None:
        """Write under ``folder``; None writes nothing, for workers that are not the chief."""
        self._folder = folder
        self._writer = tf.summary.create_noop_writer()
        self._graph_due = folder is not None

    def start(self, epoch: int, settings: Mapping[str, Any], *, resumed: bool) -> None:
        """Open a file of events: after ``epoch`` epochs, with the settings for HParams at the very start."""
        if self._folder is None:
            return
        with self._tolerant():
            self._writer.close()
            _write_start(self._folder, epoch + 1 if resumed else 0)
            self._writer = tf.summary.create_file_writer(str(self._folder))
            with self._writer.as_default(step=0):
                if not resumed:
                    hparams.hparams_config(
                        hparams=[hparams.HParam(name) for name in settings],
                        metrics=[hparams.Metric("validation/iou"), hparams.Metric("validation/dice")],
                    )
                    hparams.hparams(dict(settings))
            self._writer.flush()

    def graph(self, steps: Any, batches: Any) -> None:
        """Write the graph of one training step, once."""
        if not self._graph_due:
            return
        self._graph_due = False
        concrete = steps.get_concrete_function(batches, tf.constant(1))
        with self._tolerant(), self._writer.as_default(step=0):
            tf.summary.graph(concrete.graph)

    def epoch(
        self, number: int, scalars: Mapping[str, float], frames: Sequence[FrameScore], panels: Sequence[np.ndarray]
    ) -> None:
        """Write one epoch: numbers by tag, the pooled PR curve, and frame | truth | prediction panels."""
        with self._tolerant(), self._writer.as_default(step=number):
            for tag, value in scalars.items():
                tf.summary.scalar(tag, value)
            for index, panel in enumerate(panels):
                tf.summary.image(f"validation/{index:02d} frame, truth, prediction", panel[None])
            tf.summary.experimental.write_raw_pb(_curve(frames).SerializeToString(), step=number)
            self._writer.flush()

    def close(self) -> None:
        """Finish the file."""
        with self._tolerant():
            self._writer.close()

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            log.warning("%s: no more events are written: %s", self._folder, str(error).splitlines()[0])
            self._folder, self._writer = None, tf.summary.create_noop_writer()


def _write_start(folder: Path, step: int) -> None:
    """Makes TensorBoard drop what was written from ``step`` on, which is written again.

    One of TensorBoard's readers takes the first such event of a run for its beginning, so the run begins with one.
    """
    writer = EventFileWriter(str(folder))
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    writer.add_event(event_pb2.Event(wall_time=time.time(), step=step, session_log=start))
    writer.close()


def panel(image_bytes: bytes, mask: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Returns frame | truth | prediction side by side, uint8 RGB, small enough for a page."""
    frame = images.decode(image_bytes)[..., ::-1]
    truth = np.repeat(mask * np.uint8(255), 3, -1)
    claim = np.repeat(np.round(probability * 255).astype(np.uint8)[..., None], 3, -1)
    return np.hstack([images.narrow(part, PANEL_WIDTH_PX) for part in (frame, truth, claim)])


def _curve(frames: Sequence[FrameScore]) -> Any:
    """Returns the PR curve of the pooled counts as TensorBoard's own summary."""
    stride = (len(frames[0].positives) - 1) // (CURVE_POINTS - 1)
    counts = [
        sum((frame.counts(k * stride / 1000) for frame in frames[1:]), frames[0].counts(k * stride / 1000))
        for k in range(CURVE_POINTS)
    ]
    tp, fp, fn, tn = (
        np.array([getattr(count, name) for count in counts], np.float64) for name in ("tp", "fp", "fn", "tn")
    )
    return pr_curve.raw_data_pb(
        name="validation/precision_recall",
        true_positive_counts=tp,
        false_positive_counts=fp,
        true_negative_counts=tn,
        false_negative_counts=fn,
        precision=tp / np.maximum(tp + fp, 1),
        recall=tp / np.maximum(tp + fn, 1),
        num_thresholds=CURVE_POINTS,
    )
