"""Warm-up requests: TF Serving replays them before a version becomes available."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from pipe_seg import images
from pipe_seg.errors import Problem, RefusedError
from pipe_seg.schema import MODEL_NAME, SIGNATURE_ARRAYS, SIGNATURE_BYTES

PATH = Path("assets.extra") / "tf_serving_warmup_requests"


def write(saved_model: Path) -> None:
    """Writes one grey frame for each signature into the file `PATH`."""
    frame = images.grey_frame()
    jpeg = images.encode(frame, ".jpg")
    requests = [
        (SIGNATURE_ARRAYS, "image", tf.make_tensor_proto(frame[None].astype(np.float32))),
        (SIGNATURE_BYTES, "image_bytes", tf.make_tensor_proto([jpeg])),
    ]
    path = saved_model / PATH
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, name, tensor in requests:
            spec = model_pb2.ModelSpec(name=MODEL_NAME, signature_name=signature)
            request = predict_pb2.PredictRequest(model_spec=spec, inputs={name: tensor})
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


def read(saved_model: Path) -> Iterator[tuple[str, Any]]:
    """Yields the signature and the input, an array or a list of encoded frames, of each request.

    Raises:
        RefusedError: The file is missing.
    """
    path = saved_model / PATH
    if not path.is_file():
        raise RefusedError(Problem(path, "missing", expected="warm-up requests, which `export` writes"))
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        signature = request.model_spec.signature_name
        (tensor,) = request.inputs.values()
        array = tf.make_ndarray(tensor)
        yield signature, array.tolist() if signature == SIGNATURE_BYTES else array
