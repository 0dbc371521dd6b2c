"""The exported graph: frames of any size in, masks out, with all pre- and post-processing inside."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pipe_seg.data import preprocessing
from pipe_seg.inference.postprocessing import Answers, InferenceOptions


class Predictor(tf.Module):
    """A folded network with decoding, letterbox, resizing back, threshold and PNG encoding around it.

    Training validates with the object that is later exported, so both have the same scores. The attribute `network`
    is the network alone, in float32, for other runtimes.

    Args:
        network: Maps frames `(batch, height, width, 3)` float32 0…255 to logits `(batch, height, width, 1)`.
        inference: Input size, flip averaging, threshold and minimum component size.
        portable: The network in float32, if `network` computes in a lower precision.
    """

    def __init__(self, network: Answers, inference: InferenceOptions, portable: Answers | None = None) -> None:
        super().__init__(name="predictor")
        self._inference, self._network = inference, inference.wrap(network)
        self._size = inference.size
        self._threshold = inference.threshold
        signature = [tf.TensorSpec((None, *inference.size, 3), tf.float32, "image")]
        self.network = tf.function(portable or network, input_signature=signature)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32, "image")])
    def predict_arrays(self, image: Any) -> dict[str, Any]:
        """Returns `probabilities` `(…, 1)` for RGB `(batch, height, width, 3)` 0…255: `serving_default`."""
        shape = tf.shape(image)
        sizes = tf.repeat(shape[None, 1:3], shape[0], 0)
        logits = self._logits(preprocessing.letterbox(image, self._size), sizes)
        return {"probabilities": tf.sigmoid(preprocessing.restore(logits, shape[1], shape[2]))}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "image_bytes")])
    def predict_bytes(self, image_bytes: Any) -> dict[str, Any]:
        """Returns a PNG mask (0/255), peak probability and defect area per encoded frame: `predict_bytes`."""
        letterboxed, sizes = tf.map_fn(
            self._decode,
            image_bytes,
            fn_output_signature=(
                tf.TensorSpec((*self._size, 3), tf.uint8),
                tf.TensorSpec((2,), tf.int32),
            ),
        )
        logits = self._logits(letterboxed, sizes)
        png, peak, area = tf.map_fn(
            self._encode,
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
        """Returns the probabilities of one encoded frame, `(height, width)` float32, at the frame's size."""
        image = preprocessing.decode(image_bytes)
        size = tf.shape(image)[:2]
        logits = self._logits(preprocessing.letterbox(image, self._size)[None], size[None])
        restored = preprocessing.restore(logits, size[0], size[1])
        return tf.sigmoid(restored[0, ..., 0])

    def _logits(self, letterboxed: Any, sizes: Any) -> Any:
        """Returns the logits for letterboxed frames whose original sizes, `(batch, 2)` px, are `sizes`."""
        logits = self._network(tf.cast(letterboxed, tf.float32))
        inside = preprocessing.valid_area(sizes[:, 0], sizes[:, 1], self._size)
        return self._inference.remove_small_components(logits, inside)

    def _decode(self, image_bytes: Any) -> tuple[Any, Any]:
        image = preprocessing.decode(image_bytes)
        return preprocessing.letterbox(image, self._size), tf.shape(image)[:2]

    def _encode(self, logits_and_size: Sequence[Any]) -> tuple[Any, Any, Any]:
        logits, size = logits_and_size
        probability = tf.sigmoid(preprocessing.restore(logits[None], size[0], size[1])[0])
        positive = probability >= self._threshold
        png = tf.io.encode_png(tf.cast(positive, tf.uint8) * 255, compression=3)
        return png, tf.reduce_max(probability), tf.reduce_mean(tf.cast(positive, tf.float32))
