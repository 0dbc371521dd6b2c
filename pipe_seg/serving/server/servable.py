"""One version of the model, loaded from a store: checked first, warmed up before anybody may ask it."""

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

CLAIMED = 128


@dataclass(frozen=True)
class Answer:
    """What ``predict_bytes`` gives for one frame."""

    mask_png_bytes: bytes
    probability: float
    defect_area_fraction: float


class Servable:
    """A version that answers."""

    def __init__(self, number: int, saved_model: Path, facts: dict[str, Any], engine: engines.Engine) -> None:
        """Look into a SavedModel of which every byte was checked, load it, ask it what its own warm-up requests ask.

        Raises:
            RefusedError: it may not be loaded, or does not answer as it should.
            MachineError: it cannot be loaded.
        """
        self.signatures = graph_allowlist.check(saved_model)
        self.number, self.threshold = number, float(facts["threshold"])
        self._model, self.engine = engines.load_best(saved_model, facts, engine)
        try:
            seen = set()
            for signature, tensor in warmup.read(saved_model):
                self._asked(signature, tensor)
                seen.add(signature)
            if seen != {SIGNATURE_ARRAYS, SIGNATURE_BYTES}:
                raise bad("not a request for each signature")
        except Refusal as error:
            raise RefusedError(Problem(saved_model / warmup.PATH, f"is not answered: {error.message}")) from error

    def _asked(self, signature: str, tensor: Any) -> None:
        """Ask as a client would.

        Raises:
            Refusal: it does not answer.
        """
        if signature == SIGNATURE_ARRAYS:
            self.arrays(tensor)
            return
        for answer in self.frames(tensor):
            if isinstance(answer, Refusal):
                raise answer
        self.levels(tensor[0])

    def frames(self, encoded: Sequence[bytes]) -> list[Answer | Refusal]:
        """Answer ``predict_bytes``; a frame that cannot be decoded spoils no other."""
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
        """Answer ``serving_default``: (batch, height, width, 3) float32 → probabilities (batch, height, width, 1)."""
        found = np.asarray(self._model.predict_arrays(image))
        if not np.isfinite(found).all():
            raise _not_finite()
        return found

    def levels(self, encoded: bytes) -> bytes:
        """Give a PNG of the frame's size in which ``CLAIMED`` and more is what the model claims.

        Probabilities 0 … threshold are spread over 0 … 127, threshold … 1 over 128 … 255.
        """
        try:
            found = np.asarray(self._model.probability(encoded))
        except tf.errors.OpError as error:
            raise _undecodable(error) from error
        if not np.isfinite(found).all():
            raise _not_finite()
        return images.encode(levels(found, self.threshold), ".png")


def levels(probability: np.ndarray, threshold: float) -> np.ndarray:
    """Give ``probability`` as uint8, as ``Servable.levels`` says."""
    below = np.floor(probability / threshold * CLAIMED).clip(0, CLAIMED - 1)
    above = CLAIMED + np.floor((probability - threshold) / (1 - threshold) * CLAIMED).clip(0, CLAIMED - 1)
    return np.where(probability >= np.float32(threshold), above, below).astype(np.uint8)


def open_version(place: StoreLocation, number: int, engine: engines.Engine) -> Servable:
    """Check every byte of a version, look into its graph, then load it and warm it up.

    Raises:
        ConfigError: there is no such version.
        RefusedError: it is not as it was published, may not be loaded, or does not answer as it should.
        MachineError: it cannot be read or loaded.
    """
    with _private(place, number) as folder:
        facts = store.check(folder, place.named(number)).get("model")
        if not isinstance(facts, dict) or "threshold" not in facts:
            raise RefusedError(Problem(place.named(number), "the manifest does not say how the model is asked"))
        return Servable(number, folder, current_names(facts), engine)


@contextmanager
def _private(place: StoreLocation, number: int) -> Iterator[Path]:
    """Give a folder with a version that nobody else writes to: what is checked is what is loaded."""
    with place.fetched(str(number)) as folder, tempfile.TemporaryDirectory() as scratch:
        if place.near:
            folder = Path(shutil.copytree(folder, Path(scratch) / folder.name, symlinks=True))
        yield folder


def _undecodable(error: Exception) -> Refusal:
    if isinstance(error, tf.errors.InvalidArgumentError):
        return bad("a frame cannot be decoded: not a whole JPEG, PNG or BMP")
    raise error


def _not_finite() -> Refusal:
    return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "the model's answer is not finite")
