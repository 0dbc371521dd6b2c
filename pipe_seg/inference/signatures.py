"""The exported graph: frames of any size in, masks out; all pre- and post-processing inside."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pipe_seg.data import preprocessing
from pipe_seg.inference.postprocessing import Answers, InferenceOptions


class Predictor(tf.Module):
    """A folded network with decoding, letterbox, resize back, threshold and PNG around it.

    Training validates with the same object that is later exported, so both give the same numbers. ``network`` is the
    bare network as a graph of its own, in float32, for other runtimes to take over.

    Args:
        network: frames (batch, height, width, 3) float32 0…255 → logits (batch, height, width, 1).
        inference: how it is asked, and from which probability a pixel is claimed.
        portable: the same network in float32, where ``network`` computes in less.
    """

    def __init__(self, network: Answers, inference: InferenceOptions, portable: Answers | None = None) -> None:
        """Wrap ``network``."""
        super().__init__(name="predictor")
        self._inference, self._network = inference, inference.around(network)
        self._size = inference.size
        self._threshold = inference.threshold
        signature = [tf.TensorSpec((None, *inference.size, 3), tf.float32, "image")]
        self.network = tf.function(portable or network, input_signature=signature)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32, "image")])
    def predict_arrays(self, image: Any) -> dict[str, Any]:
        """Answer ``serving_default``: (batch, height, width, 3) 0…255 RGB → ``probabilities`` (…, 1)."""
        shape = tf.shape(image)
        sizes = tf.repeat(shape[None, 1:3], shape[0], 0)
        logits = self._logits(preprocessing.letterbox(image, self._size), sizes)
        return {"probabilities": tf.sigmoid(preprocessing.restore(logits, shape[1], shape[2]))}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "image_bytes")])
    def predict_bytes(self, image_bytes: Any) -> dict[str, Any]:
        """Answer ``predict_bytes``: encoded frames of any size → PNG masks (0/255) and two numbers each."""
        fitted, sizes = tf.map_fn(
            self._fit,
            image_bytes,
            fn_output_signature=(
                tf.TensorSpec((*self._size, 3), tf.uint8),
                tf.TensorSpec((2,), tf.int32),
            ),
        )
        logits = self._logits(fitted, sizes)
        png, peak, area = tf.map_fn(
            self._answer,
            (logits, sizes),
            fn_output_signature=(
                tf.TensorSpec((), tf.string),
                tf.TensorSpec((), tf.float32),
                tf.TensorSpec((), tf.float32),
            ),
        )
        return {"mask_png_bytes": png, "probability": peak, "defect_area_fraction": area}

    @tf.function(input_signature=[tf.TensorSpec((), tf.string, "image_bytes")])
    def probability(self, image_bytes: Any) -> Any:
        """Give one encoded frame's probabilities at its own size, (height, width) float32."""
        image = preprocessing.decode(image_bytes)
        size = tf.shape(image)[:2]
        logits = self._logits(preprocessing.letterbox(image, self._size)[None], size[None])
        restored = preprocessing.restore(logits, size[0], size[1])
        return tf.sigmoid(restored[0, ..., 0])

    def _logits(self, fitted: Any, sizes: Any) -> Any:
        """Give the logits for letterboxed frames that had ``sizes``, (batch, 2) px, before."""
        logits = self._network(tf.cast(fitted, tf.float32))
        inside = preprocessing.valid_area(sizes[:, 0], sizes[:, 1], self._size)
        return self._inference.remove_small_components(logits, inside)

    def _fit(self, image_bytes: Any) -> tuple[Any, Any]:
        image = preprocessing.decode(image_bytes)
        return preprocessing.letterbox(image, self._size), tf.shape(image)[:2]

    def _answer(self, logits_and_size: Sequence[Any]) -> tuple[Any, Any, Any]:
        logits, size = logits_and_size
        probability = tf.sigmoid(preprocessing.restore(logits[None], size[0], size[1])[0])
        claimed = probability >= self._threshold
        png = tf.io.encode_png(tf.cast(claimed, tf.uint8) * 255, compression=3)
        return png, tf.reduce_max(probability), tf.reduce_mean(tf.cast(claimed, tf.float32))
