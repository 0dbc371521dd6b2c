"""Predicts frames in a child process: `python -m pipe_seg.inference.probe SAVED_MODEL FRAME…`.

It prints its findings as one JSON line. The parent process can accept or reject the model without loading it.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipe_seg import images

TOLERANCE = 1e-4


def ask(saved_model: Path, frames: Sequence[Path], timeout_s: float) -> dict[str, Any]:
    """Returns `{"frames", "faults", "milliseconds"}` of a new process; a crash or timeout is a fault."""
    command = [sys.executable, "-m", __name__, str(saved_model), *map(str, frames)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return {"frames": 0, "faults": [f"no result within {timeout_s:.0f} s"]}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"frames": 0, "faults": [f"the process exited with code {done.returncode}: {last}"]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(saved_model: str, *frames: str) -> None:
    """Loads the model, predicts every frame with both signatures, and prints the faults as JSON."""
    from pipe_seg.inference.saved_model import LoadedModel

    model = LoadedModel(Path(saved_model))
    faults = []
    for path in frames:
        faults += [f"{Path(path).name}: {fault}" for fault in _faults(model, Path(path).read_bytes())]
    latencies = [_milliseconds(model, Path(path).read_bytes()) for path in frames]
    median = round(statistics.median(latencies), 1) if latencies else None
    print(json.dumps({"frames": len(frames), "faults": faults, "milliseconds": median}))


def _milliseconds(model: Any, image_bytes: bytes) -> float:
    started = time.perf_counter()
    model.predict_bytes([image_bytes])
    return (time.perf_counter() - started) * 1000


def _faults(model: Any, image_bytes: bytes) -> list[str]:
    image = images.decode(image_bytes)
    probability = model.probability(image_bytes)
    answer = model.predict_bytes([image_bytes])
    mask = images.decode(answer["mask_png_bytes"][0], images.AS_STORED)
    arrays = model.predict_arrays(image[None, ..., ::-1].astype(np.float32))
    faults = []
    if not np.isfinite(probability).all() or probability.min() < 0 or probability.max() > 1:
        faults.append("probabilities outside 0…1")
    if mask.shape != image.shape[:2] or not set(np.unique(mask)) <= {0, 255}:
        faults.append("predict_bytes does not return a 0/255 mask of the frame's size")
    elif abs(float((mask > 0).mean()) - float(answer["defect_area_fraction"][0])) > TOLERANCE:
        faults.append("defect_area_fraction differs from the mask")
    if arrays.shape != (1, *image.shape[:2], 1) or not np.isfinite(arrays).all():
        faults.append("serving_default does not return finite probabilities of the frame's size")
    return faults


if __name__ == "__main__":
    main(*sys.argv[1:])
