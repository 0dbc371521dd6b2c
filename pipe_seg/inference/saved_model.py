"""A SavedModel loaded back, to be asked frame by frame, by TensorFlow or by another runtime."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipe_seg.errors import MachineError, Problem
from pipe_seg.inference.postprocessing import Answers, InferenceOptions
from pipe_seg.inference.signatures import Predictor
from pipe_seg.schema import SIGNATURE_ARRAYS, SIGNATURE_BYTES

Other = Callable[[Any], Answers]


class LoadedModel:
    """The two signatures of an exported model."""

    def __init__(self, folder: Path, other: Other | None = None, inference: InferenceOptions | None = None) -> None:
        """Load the SavedModel in ``folder``.

        ``other`` gives another runtime's network for the graph of ours, which is then asked as ``inference`` says.

        Raises:
            MachineError: it is not there, or not whole.
        """
        if not (folder / "saved_model.pb").is_file():
            raise MachineError(Problem(folder, "no SavedModel here", expected="a folder with saved_model.pb"))
        try:
            module = tf.saved_model.load(str(folder))
        except (OSError, ValueError, KeyError, IndexError, tf.errors.OpError) as error:
            cure = "a whole copy of an exported model"
            raise MachineError(Problem(folder, f"SavedModel cannot be loaded: {error}", expected=cure)) from error
        self._predictor = module.predictor
        if other and inference:
            self._predictor = Predictor(other(module.predictor.network), inference)
            self._bytes, self._arrays = self._predictor.predict_bytes, self._predictor.predict_arrays
        else:
            self._module = module  # holds what its functions need
            self._bytes, self._arrays = (module.signatures[name] for name in (SIGNATURE_BYTES, SIGNATURE_ARRAYS))

    def probability(self, image_bytes: Any) -> Any:
        """Give one encoded frame's probabilities, (height, width) float32, at its own size."""
        return self._predictor.probability(image_bytes).numpy()

    def predict_bytes(self, image_bytes: list[bytes]) -> dict[str, Any]:
        """Ask the signature ``predict_bytes``: ``mask_png_bytes``, ``probability``, ``defect_area_fraction``."""
        answer = self._bytes(image_bytes=tf.constant(image_bytes))
        return {name: value.numpy() for name, value in answer.items()}

    def predict_arrays(self, image: Any) -> Any:
        """Ask ``serving_default``: (batch, height, width, 3) → probabilities (batch, height, width, 1)."""
        return self.ask(tf.constant(image, tf.float32)).numpy()

    def ask(self, image: Any) -> Any:
        """Give tensors for tensors, as ``predict_arrays``; also inside a graph."""
        return self._arrays(image=image)["probabilities"]
