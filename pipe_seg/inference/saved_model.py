"""Loads an exported SavedModel for prediction in Python, with TensorFlow or another runtime."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipe_seg.errors import MachineError, Problem
from pipe_seg.inference.postprocessing import Answers, InferenceOptions
from pipe_seg.inference.signatures import Predictor
from pipe_seg.schema import SIGNATURE_ARRAYS, SIGNATURE_BYTES

CompileNetwork = Callable[[Any], Answers]


class LoadedModel:
    """The two signatures of an exported model.

    Args:
        folder: Folder of the SavedModel.
        compile_network: Compiles the network for another runtime. TensorFlow runs it if None.
        inference: Options for the compiled network.

    Raises:
        MachineError: The SavedModel is missing or incomplete.
    """

    def __init__(
        self, folder: Path, compile_network: CompileNetwork | None = None, inference: InferenceOptions | None = None
    ) -> None:
        if not (folder / "saved_model.pb").is_file():
            raise MachineError(Problem(folder, "no SavedModel here", expected="a folder with saved_model.pb"))
        try:
            module = tf.saved_model.load(str(folder))
        except (OSError, ValueError, KeyError, IndexError, tf.errors.OpError) as error:
            cure = "a complete copy of an exported model"
            raise MachineError(Problem(folder, f"SavedModel cannot be loaded: {error}", expected=cure)) from error
        self._predictor = module.predictor
        if compile_network and inference:
            self._predictor = Predictor(compile_network(module.predictor.network), inference)
            self._bytes, self._arrays = self._predictor.predict_bytes, self._predictor.predict_arrays
        else:
            self._module = module  # keeps the variables of the signatures alive
            self._bytes, self._arrays = (module.signatures[name] for name in (SIGNATURE_BYTES, SIGNATURE_ARRAYS))

    def probability(self, image_bytes: Any) -> Any:
        """Returns the probabilities of one encoded frame, `(height, width)` float32, at the frame's size."""
        return self._predictor.probability(image_bytes).numpy()

    def predict_bytes(self, image_bytes: list[bytes]) -> dict[str, Any]:
        """Returns `mask_png_bytes`, `probability` and `defect_area_fraction` of encoded frames."""
        answer = self._bytes(image_bytes=tf.constant(image_bytes))
        return {name: value.numpy() for name, value in answer.items()}

    def predict_arrays(self, image: Any) -> Any:
        """Returns probabilities `(batch, height, width, 1)` for RGB frames `(batch, height, width, 3)` 0…255."""
        return self._arrays(image=tf.constant(image, tf.float32))["probabilities"].numpy()
