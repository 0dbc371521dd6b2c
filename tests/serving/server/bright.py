"""Models that predict pixels above a grey level as positive, so that a mask identifies its version."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from pipe_seg.components import export
from pipe_seg.inference.postprocessing import InferenceOptions
from pipe_seg.inference.signatures import Predictor
from pipe_seg.serving import store
from pipe_seg.serving.store import version_labels
from pipe_seg.serving.store.location import StoreLocation

SIZE = (64, 80)
FACTS: dict[str, Any] = {
    "threshold": 0.5,
    "min_component_fraction": 0.0,
    "flip": False,
    "precision": "float32",
    "size_px": list(SIZE),
}


def save(folder: Path, level: float, extra: Any = None) -> Path:
    """Writes a SavedModel that predicts grey levels of `level` and above as positive."""

    def network(frames: Any) -> Any:
        logits = (tf.reduce_mean(frames, -1, keepdims=True) - level + 0.5) / 8
        return extra(logits) if extra else logits

    export.save(Predictor(network, InferenceOptions(SIZE)), folder)
    return folder


def publish(location: StoreLocation, saved_model: Path, *, promote: bool = True) -> int:
    """Publishes and promotes a version, without the pusher's check in a new process."""
    manifest = {"blessed": True, "rendered": True, "model": FACTS, "scores": {"iou": 0.5, "dice": 0.6}, "run": "bright"}
    number = store.publish(location, saved_model, manifest, lambda staged: None)
    version_labels.upload(location, number)
    if promote:
        version_labels.promote(location, number)
    return number


def frame(level: int, height: int = 48, width: int = 60, suffix: str = ".png") -> bytes:
    """Returns an encoded frame, the left half of grey level `level`, the right half black."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2] = level
    return cv2.imencode(suffix, image)[1].tobytes()
