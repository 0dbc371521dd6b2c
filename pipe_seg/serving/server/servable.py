"""One version of the model: verified, loaded and warmed up before it takes requests."""

import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipe_seg import images
from pipe_seg.artifacts import current_names
from pipe_seg.errors import Problem, RefusedError
from pipe_seg.inference import engines, warmup
from pipe_seg.schema import SIGNATURE_ARRAYS, SIGNATURE_BYTES
from pipe_seg.serving import store
from pipe_seg.serving.server import graph_allowlist
from pipe_seg.serving.server.refusals import Refusal, bad
from pipe_seg.serving.store.location import StoreLocation

MID_LEVEL = 128  # levels at and above it are predicted positive


@dataclass(frozen=True)
class Answer:
    """The outputs of `predict_bytes` for one frame."""

    mask_png_bytes: bytes
    probability: float
    defect_area_fraction: float


class Servable:
    """A loaded and warmed-up version.

    Args:
        number: Version number.
        saved_model: Folder of a SavedModel whose files were compared with their manifest.
        facts: What the manifest records about the model.
        engine: The configured runtime.

    Raises:
        RefusedError: The graph is not allowed, or a warm-up request fails.
        MachineError: The model cannot be loaded.
    """

    def __init__(self, number: int, saved_model: Path, facts: dict[str, Any], engine: engines.Engine) -> None:
        self.signatures = graph_allowlist.check(saved_model)
        self.number, self.threshold = number, float(facts["threshold"])
        self._model, self.engine = engines.load_with_fallback(saved_model, facts, engine)
        try:
            seen = set()
            for signature, tensor in warmup.read(saved_model):
                self._warm_up(signature, tensor)
                seen.add(signature)
            if seen != {SIGNATURE_ARRAYS, SIGNATURE_BYTES}:
                raise bad("a signature has no warm-up request")
        except Refusal as error:
            raise RefusedError(Problem(saved_model / warmup.PATH, f"warm-up failed: {error.message}")) from error

    def _warm_up(self, signature: str, tensor: Any) -> None:
        """Runs one warm-up request; a failure raises a Refusal."""
        if signature == SIGNATURE_ARRAYS:
            self.arrays(tensor)
            return
        for answer in self.frames(tensor):
            if isinstance(answer, Refusal):
                raise answer
        self.levels(tensor[0])

    def frames(self, encoded: Sequence[bytes]) -> list[Answer | Refusal]:
        """Returns the outputs of `predict_bytes`; a frame that cannot be decoded does not affect the others."""
        try:
            answer = self._model.predict_bytes(list(encoded))
        except tf.errors.OpError as error:
            if len(encoded) > 1:
                return [answer for frame in encoded for answer in self.frames([frame])]
            return [_undecodable(error)]
        columns = (answer["mask_png_bytes"], answer["probability"], answer["defect_area_fraction"])
        rows = [Answer(bytes(mask), float(peak), float(area)) for mask, peak, area in zip(*columns, strict=True)]
        return [row if math.isfinite(row.probability) else _not_finite() for row in rows]

    def arrays(self, image: np.ndarray) -> np.ndarray:
        """Returns probabilities `(batch, height, width, 1)` for `(batch, height, width, 3)` float32 0…255."""
        probabilities = np.asarray(self._model.predict_arrays(image))
        if not np.isfinite(probabilities).all():
            raise _not_finite()
        return probabilities

    def levels(self, encoded: bytes) -> bytes:
        """Returns a grey PNG of the frame's size with the probability `levels`."""
        try:
            probability = np.asarray(self._model.probability(encoded))
        except tf.errors.OpError as error:
            raise _undecodable(error) from error
        if not np.isfinite(probability).all():
            raise _not_finite()
        return images.encode(levels(probability, self.threshold), ".png")


def levels(probability: np.ndarray, threshold: float) -> np.ndarray:
    """Returns probabilities as uint8: 0 … threshold becomes 0 … 127, threshold … 1 becomes 128 … 255."""
    below = np.floor(probability / threshold * MID_LEVEL).clip(0, MID_LEVEL - 1)
    above = MID_LEVEL + np.floor((probability - threshold) / (1 - threshold) * MID_LEVEL).clip(0, MID_LEVEL - 1)
    return np.where(probability >= np.float32(threshold), above, below).astype(np.uint8)


def open_version(location: StoreLocation, number: int, engine: engines.Engine) -> Servable:
    """Verifies every byte of a version, checks its graph, loads it and warms it up.

    Raises:
        ConfigError: There is no such version.
        RefusedError: A file differs from the manifest, the graph is not allowed, or a warm-up request fails.
        MachineError: The version cannot be read or loaded.
    """
    with _private_copy(location, number) as folder:
        facts = store.check(folder, location.named(number)).get("model")
        if not isinstance(facts, dict) or "threshold" not in facts:
            raise RefusedError(Problem(location.named(number), "the manifest does not record the model's threshold"))
        return Servable(number, folder, current_names(facts), engine)


@contextmanager
def _private_copy(location: StoreLocation, number: int) -> Iterator[Path]:
    """Yields a private copy of a version, which no other process can change between check and load."""
    with location.fetched(str(number)) as folder, tempfile.TemporaryDirectory() as scratch:
        if location.is_local:
            folder = Path(shutil.copytree(folder, Path(scratch) / folder.name, symlinks=True))
        yield folder


def _undecodable(error: Exception) -> Refusal:
    if isinstance(error, tf.errors.InvalidArgumentError):
        return bad("a frame cannot be decoded; expected a complete JPEG, PNG or BMP")
    raise error


def _not_finite() -> Refusal:
    return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "the model's output is not finite")
