"""Counts over frames that add up, whichever worker counted them and in whatever order."""

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
    """What is to be told of some frames.

    ``counts``: whole numbers only, so sums do not depend on order; ``left_out``: what is wrong, by frame.
    """

    counts: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: Frame) -> "DatasetCounts":
        """Count one frame."""
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
    def sum(tallies: "Iterable[DatasetCounts]") -> "DatasetCounts":
        """Add tallies up; none give an empty one."""
        total = DatasetCounts()
        for tally in tallies:
            total.add(tally)
        return total

    def add(self, other: "DatasetCounts") -> None:
        """Add another to this one."""
        self.counts.update(other.counts)
        self.left_out.update(other.left_out)

    @property
    def content(self) -> str:
        """One digest, in hex, of all that the frames hold; their order and grouping do not matter."""
        return f"{self.counts['content'] % 2**256:064x}"

    def noise(self) -> dict[str, dict[str, float]]:
        """Give, for each class with contours and boxes, the mean fill, recall and IoU of its boxes, 0…1."""
        found = {}
        for name in CLASS_NAMES:
            n = self.counts[f"compared.{name}"]
            if n:
                means = {key: self.counts[f"{key}_ppm.{name}"] / n / 1_000_000 for key in ("fill", "recall", "iou")}
                found[name] = {"frames": n, **{key: round(value, 3) for key, value in means.items()}}
        return found

    def to_json(self) -> dict[str, Any]:
        """Give it as plain values, in a fixed order."""
        return {"counts": dict(sorted(self.counts.items())), "left_out": dict(sorted(self.left_out.items()))}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "DatasetCounts":
        """Take it back."""
        return cls(Counter(value["counts"]), value["left_out"])


def _content(frame: Frame) -> int:
    """Give the sha256 of one frame as a number; numbers of many frames add up to the digest of the set."""
    told = [frame.file_name, frame.group_id, frame.mask_source, frame.labels, [repr(box) for box in frame.boxes]]
    total = hashlib.sha256(json.dumps(told).encode())
    total.update(hashlib.sha256(frame.image).digest())
    total.update(f"{frame.segmentation_mask.shape}".encode())
    total.update(np.packbits(frame.segmentation_mask).tobytes())
    return int.from_bytes(total.digest(), "big")
