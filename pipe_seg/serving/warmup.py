"""Requests that TF Serving replays before a version counts as available."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from pipe_seg import images
from pipe_seg.schema import MODEL_NAME, SIGNATURE_ARRAYS, SIGNATURE_BYTES


def write(saved_model: Path) -> None:
    """Write one grey frame for each signature into ``assets.extra/tf_serving_warmup_requests``."""
    frame = images.grey_frame()
    jpeg = images.encode(frame, ".jpg")
    requests = [
        (SIGNATURE_ARRAYS, "image", tf.make_tensor_proto(frame[None].astype(np.float32))),
        (SIGNATURE_BYTES, "image_bytes", tf.make_tensor_proto([jpeg])),
    ]
    folder = saved_model / "assets.extra"
    folder.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as writer:
        for signature, name, tensor in requests:
            spec = model_pb2.ModelSpec(name=MODEL_NAME, signature_name=signature)
            request = predict_pb2.PredictRequest(model_spec=spec, inputs={name: tensor})
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
