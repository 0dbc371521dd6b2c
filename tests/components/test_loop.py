"""Single steps of the training loop."""

import numpy as np

from pipe_seg.components.trainer.loop import Progress
from pipe_seg.components.trainer.reporter import _summary


def test_no_iou_is_summary_of_boxes_that_only_bound() -> None:
    bounds = Progress().add(4, np.array([2.0, 0, 0, 0, 0]))
    assert bounds.scores() == {"loss": 0.5}
    assert _summary(bounds.scores()) == "loss 0.5000  iou –"
    contours = bounds.add(4, np.array([2.0, 3.0, 4.0, 30, 60]))
    assert contours.scores() == {"loss": 0.5, "iou": 0.75, "iou_pooled": 0.5}
    assert _summary(Progress().scores()) == "no finite step"
