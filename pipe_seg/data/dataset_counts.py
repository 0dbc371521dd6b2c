"""Counts over frames that add up, independent of worker and order."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipe_seg.schema import CLASS_NAMES, Frame


@dataclass
class DatasetCounts:
    """Counts over some frames.

    ``counts``: integers only, which makes sums independent of order; ``left_out``: the problems of each unusable frame.
    """

    counts: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: Frame) -> "DatasetCounts":
        """Returns the counts of one frame."""
        mask = frame.segmentation_mask
        counts = Counter({"frames": 1, "boxes": len(frame.boxes), "without_defect": int(not mask.any())})
        counts["class_unknown"] = int(bool(mask.any()) and not frame.labels)
        counts["content"] = _content(frame)
        counts["refined_boxes"] = sum(box.refined for box in frame.boxes)
        counts["defect_area_ppm"] = int(np.count_nonzero(mask)) * 1_000_000 // mask.size
        counts.update(f"frames_of.{CLASS_NAMES[label]}" for label in frame.labels)
        counts.update(f"boxes_of.{CLASS_NAMES[box.label]}" for box in frame.boxes)
        if frame.agreement:
            name = CLASS_NAMES[frame.agreement.label]
            counts[f"compared.{name}"] = 1
            counts[f"fill_ppm.{name}"] = frame.agreement.fill_ppm
            counts[f"recall_ppm.{name}"] = frame.agreement.recall_ppm
            counts[f"iou_ppm.{name}"] = frame.agreement.iou_ppm
        return cls(+counts)

    @staticmethod
    def sum(parts: "Iterable[DatasetCounts]") -> "DatasetCounts":
        """Returns the sum of the parts; an empty one for no parts."""
        total = DatasetCounts()
        for part in parts:
            total.add(part)
        return total

    def add(self, other: "DatasetCounts") -> None:
        """Adds another one to this one."""
        self.counts.update(other.counts)
        self.left_out.update(other.left_out)

    @property
    def content(self) -> str:
        """Hex digest of everything the frames hold, independent of their order and grouping."""
        return f"{self.counts['content'] % 2**256:064x}"

    def noise(self) -> dict[str, dict[str, float]]:
        """Returns mean fill, recall and IoU, 0…1, of the boxes of each class that has contours and boxes."""
        means_of_class = {}
        for name in CLASS_NAMES:
            n = self.counts[f"compared.{name}"]
            if n:
                means = {key: self.counts[f"{key}_ppm.{name}"] / n / 1_000_000 for key in ("fill", "recall", "iou")}
                means_of_class[name] = {"frames": n, **{key: round(value, 3) for key, value in means.items()}}
        return means_of_class

    def to_json(self) -> dict[str, Any]:
        """Returns plain values in a fixed order."""
        return {"counts": dict(sorted(self.counts.items())), "left_out": dict(sorted(self.left_out.items()))}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "DatasetCounts":
        """Returns the counts that ``to_json`` wrote."""
        return cls(Counter(value["counts"]), value["left_out"])


def _content(frame: Frame) -> int:
    """Returns the sha256 of one frame as a number; the sum over frames is the digest of the set."""
    fields = [frame.file_name, frame.group_id, frame.mask_source, frame.labels, [repr(box) for box in frame.boxes]]
    total = hashlib.sha256(json.dumps(fields).encode())
    total.update(hashlib.sha256(frame.image).digest())
    total.update(f"{frame.segmentation_mask.shape}".encode())
    total.update(np.packbits(frame.segmentation_mask).tobytes())
    return int.from_bytes(total.digest(), "big")
