"""A SavedModel loaded back, to be asked frame by frame."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from pipe_seg.errors import MachineError, Problem
from pipe_seg.schema import SIGNATURE_ARRAYS, SIGNATURE_BYTES


class LoadedModel:
    """The two signatures of an exported model."""

    def __init__(self, folder: Path) -> None:
        """Load the SavedModel in ``folder``.

        Raises:
            MachineError: it is not there, or not whole.
        """
        if not (folder / "saved_model.pb").is_file():
            raise MachineError(Problem(folder, "no SavedModel here", expected="a folder with saved_model.pb"))
        try:
            self._module = tf.saved_model.load(str(folder))
        except (OSError, ValueError, KeyError, IndexError, tf.errors.OpError) as error:
            cure = "a whole copy of an exported model"
            raise MachineError(Problem(folder, f"SavedModel cannot be loaded: {error}", expected=cure)) from error

    def probability(self, image_bytes: Any) -> Any:
        """Give one encoded frame's probabilities, (height, width) float32, at its own size."""
        return self._module.predictor.probability(image_bytes).numpy()

    def predict_bytes(self, image_bytes: list[bytes]) -> dict[str, Any]:
        """Ask the signature ``predict_bytes``: ``mask_png_bytes``, ``probability``, ``defect_area_fraction``."""
        answer = self._module.signatures[SIGNATURE_BYTES](image_bytes=tf.constant(image_bytes))
        return {name: value.numpy() for name, value in answer.items()}

    def predict_arrays(self, image: Any) -> Any:
        """Ask ``serving_default``: (batch, height, width, 3) → probabilities (batch, height, width, 1)."""
        return self.ask(tf.constant(image, tf.float32)).numpy()

    def ask(self, image: Any) -> Any:
        """Give tensors for tensors, as ``predict_arrays``; also inside a graph."""
        return self._module.signatures[SIGNATURE_ARRAYS](image=image)["probabilities"]
