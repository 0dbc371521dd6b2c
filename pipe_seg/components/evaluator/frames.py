"""One frame judged: counts, outline scores, calibration, and the picture for the report."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from pipe_seg import images
from pipe_seg.data.examples import boxes
from pipe_seg.inference.saved_model import LoadedModel
from pipe_seg.inference.scoring import box_counts, score_frame
from pipe_seg.nn import scores
from pipe_seg.nn.scores import Counts, FrameScore
from pipe_seg.schema import MASK_SOURCES

BOUNDARY_SHARE_OF_DIAGONAL = 0.005
NEAR_DILATION = 3
ORIGIN_SIZE = (704, 512)
PICTURE_WIDTH_PX = 360
TRUTH_COLOUR, CLAIM_COLOUR = (0, 200, 0), (0, 0, 255)


@dataclass(frozen=True)
class FrameResult:
    """All numbers of one frame at the chosen threshold; NaN where a number is not defined."""

    score: FrameScore
    counts: Counts
    at_half: Counts
    box_counts: Counts | None
    boundary_iou: float
    nsd_2px: float
    nsd_5px: float
    calibration: tuple[np.ndarray, np.ndarray]
    false_alarm: bool
    origin_iou: float
    mask_source: str
    picture: bytes

    @property
    def file_name(self) -> str:
        """The frame's name."""
        return self.score.file_name

    @property
    def group_id(self) -> str:
        """The frame's scene."""
        return self.score.group_id

    @property
    def labels(self) -> tuple[int, ...]:
        """Class ids in the truth."""
        return self.score.labels


def judge(loaded: LoadedModel, example: dict[str, Any], threshold: float, component_area_px: int) -> FrameResult:
    """Scores the model's prediction for one TFDS example against its mask."""
    probability = np.asarray(loaded.probability(example["image"]))
    mask = np.asarray(example["segmentation_mask"])[..., 0]
    prediction = (probability >= np.float32(threshold)).astype(np.uint8)
    score = score_frame(probability, example)
    depth = max(1, round(BOUNDARY_SHARE_OF_DIAGONAL * float(np.hypot(*mask.shape))))
    return FrameResult(
        score=score,
        counts=score.counts(threshold),
        at_half=score.counts(0.5),
        box_counts=box_counts(boxes(example), mask),
        boundary_iou=scores.boundary_iou(mask, prediction, depth),
        nsd_2px=scores.surface_dice(mask, prediction, 2),
        nsd_5px=scores.surface_dice(mask, prediction, 5),
        calibration=_near(probability, mask),
        false_alarm=_largest_component_px(prediction) >= max(component_area_px, 1),
        origin_iou=_origin_iou(probability, mask, threshold),
        mask_source=MASK_SOURCES[int(example["mask_source"])],
        picture=_picture(example["image"], mask, prediction),
    )


def _near(probability: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns probabilities and truth around the defect: its bounding box, three times as large.

    The rest of the frame is easy background, which makes any calibration figure look too good.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return probability[:0].ravel(), mask[:0].ravel()
    spans = []
    for found, size in ((rows, mask.shape[0]), (columns, mask.shape[1])):
        middle, half = (found[0] + found[-1] + 1) / 2, NEAR_DILATION * (found[-1] + 1 - found[0]) / 2
        spans.append(slice(max(int(middle - half), 0), min(int(np.ceil(middle + half)), size)))
    return probability[tuple(spans)].ravel(), mask[tuple(spans)].ravel()


def _largest_component_px(prediction: np.ndarray) -> int:
    areas = cv2.connectedComponentsWithStats(prediction, connectivity=8)[2][1:, cv2.CC_STAT_AREA]
    return int(areas.max(initial=0))


def _origin_iou(probability: np.ndarray, mask: np.ndarray, threshold: float) -> float:
    """Returns IoU as the original experiment counted it: at 704 x 512, nearest masks, 1 for empty frames."""
    small = cv2.resize(mask, ORIGIN_SIZE, interpolation=cv2.INTER_NEAREST) > 0
    prediction = cv2.resize(probability, ORIGIN_SIZE, interpolation=cv2.INTER_LINEAR) > threshold
    epsilon = 1e-6
    return float(((small & prediction).sum() + epsilon) / ((small | prediction).sum() + epsilon))


def _picture(image_bytes: bytes, mask: np.ndarray, prediction: np.ndarray) -> bytes:
    """Returns a JPEG of the frame with the truth outlined in green and the prediction in red."""
    image = images.decode(image_bytes)
    images.outline(image, mask, TRUTH_COLOUR)
    images.outline(image, prediction, CLAIM_COLOUR)
    return images.encode(images.narrow(image, PICTURE_WIDTH_PX), ".jpg", quality=80)
