"""What TensorBoard shows: scalars, the same dozen frames each epoch, a PR curve, HParams, the graph."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.pr_curve import summary as pr_curve

from pipe_seg import images
from pipe_seg.nn.scores import FrameScore

PANEL_WIDTH_PX = 240
CURVE_POINTS = 101


class Board:
    """One run's event file."""

    def __init__(self, folder: Path) -> None:
        """Open the file under ``folder``."""
        self._writer = tf.summary.create_file_writer(str(folder))

    def start(self, settings: Mapping[str, Any], graph: Any) -> None:
        """Write the settings for HParams and the graph of one training step."""
        with self._writer.as_default(step=0):
            hparams.hparams_config(
                hparams=[hparams.HParam(name) for name in settings],
                metrics=[hparams.Metric("validation/iou"), hparams.Metric("validation/dice")],
            )
            hparams.hparams(dict(settings))
            tf.summary.graph(graph)
        self._writer.flush()

    def epoch(
        self, number: int, scalars: Mapping[str, float], frames: Sequence[FrameScore], panels: Sequence[np.ndarray]
    ) -> None:
        """Write one epoch: numbers by tag, the pooled PR curve, and frame | truth | prediction panels."""
        with self._writer.as_default(step=number):
            for tag, value in scalars.items():
                tf.summary.scalar(tag, value)
            for index, panel in enumerate(panels):
                tf.summary.image(f"validation/{index:02d} frame, truth, prediction", panel[None])
            tf.summary.experimental.write_raw_pb(_curve(frames).SerializeToString(), step=number)
        self._writer.flush()

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


def panel(image_bytes: bytes, mask: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Give frame | truth | prediction side by side, uint8 RGB, small enough for a page."""
    frame = images.decode(image_bytes)[..., ::-1]
    truth = np.repeat(mask * np.uint8(255), 3, -1)
    claim = np.repeat(np.round(probability * 255).astype(np.uint8)[..., None], 3, -1)
    return np.hstack([images.narrow(part, PANEL_WIDTH_PX) for part in (frame, truth, claim)])


def _curve(frames: Sequence[FrameScore]) -> Any:
    """Give the PR curve of the pooled counts as TensorBoard's own summary."""
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
