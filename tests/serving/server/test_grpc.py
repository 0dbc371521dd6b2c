"""gRPC, with a client that uses TF Serving's stubs."""

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.serving.server import bright
from tests.serving.server.process import Server


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as open_channel:
        yield open_channel


def request(
    signature: str = "predict_bytes", name: str = "image_bytes", value: object = None
) -> predict_pb2.PredictRequest:
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "pipe_seg"
    message.model_spec.signature_name = signature
    message.inputs[name].CopyFrom(tf.make_tensor_proto([bright.frame(100)] if value is None else value))
    return message


def test_a_tensor_with_fewer_values_than_its_shape_is_refused(channel: grpc.Channel) -> None:
    message = request("serving_default", "image", np.zeros((1, 1, 1, 3), np.float32))
    for dim in message.inputs["image"].tensor_shape.dim[:3]:
        dim.size = 4000
    with pytest.raises(grpc.RpcError) as caught:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(message, timeout=60)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "number of values differs" in caught.value.details()


def test_refusals_are_counted_by_their_code(channel: grpc.Channel, server: Server) -> None:
    import httpx

    message = request()
    message.model_spec.name = "other"
    with pytest.raises(grpc.RpcError):
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(message, timeout=60)
    assert 'code="NOT_FOUND",protocol="grpc"' in httpx.get(f"{server.url}/metrics").text


def test_both_signatures_predict(channel: grpc.Channel) -> None:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    answer = stub.Predict(request(), timeout=60)
    assert answer.model_spec.version.value == 1
    assert set(answer.outputs) == {"mask_png_bytes", "probability", "defect_area_fraction"}
    assert tf.make_ndarray(answer.outputs["defect_area_fraction"])[0] == pytest.approx(0.5, abs=0.03)
    assert tf.make_ndarray(answer.outputs["mask_png_bytes"])[0].startswith(b"\x89PNG")
    image = np.full((1, 7, 9, 3), 100, np.float32)
    answer = stub.Predict(request("serving_default", "image", image), timeout=60)
    assert tf.make_ndarray(answer.outputs["probabilities"]).shape == (1, 7, 9, 1)


def test_versions_labels_and_filters(channel: grpc.Channel) -> None:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    message = request()
    message.model_spec.version_label = "candidate"
    message.output_filter.append("probability")
    answer = stub.Predict(message, timeout=60)
    assert answer.model_spec.version.value == 2
    assert list(answer.outputs) == ["probability"]


def test_states_and_signatures(channel: grpc.Channel) -> None:
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = "pipe_seg"
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(message, timeout=60)
    assert [(row.version, row.state) for row in status.model_version_status] == [(2, 30), (1, 30)]  # 30: AVAILABLE
    wanted = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    wanted.model_spec.name = "pipe_seg"
    answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata(wanted, timeout=60)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) == {"predict_bytes", "serving_default"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda message: setattr(message.model_spec, "name", "other"), grpc.StatusCode.NOT_FOUND),
        (lambda message: setattr(message.model_spec.version, "value", 9), grpc.StatusCode.NOT_FOUND),
        (lambda message: setattr(message.model_spec, "version_label", "x"), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda message: setattr(message.model_spec, "signature_name", "x"), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda message: message.inputs.clear(), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda message: message.output_filter.append("x"), grpc.StatusCode.INVALID_ARGUMENT),
        (
            lambda message: message.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([b"no image"])),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (
            lambda message: message.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([1.0])),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ],
)
def test_each_bad_request_has_its_code(channel: grpc.Channel, change: object, code: grpc.StatusCode) -> None:
    message = request()
    change(message)  # type: ignore[operator]
    with pytest.raises(grpc.RpcError) as caught:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(message, timeout=60)
    assert caught.value.code() == code
