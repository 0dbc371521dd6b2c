"""TF Serving's gRPC services, PredictionService and ModelService, for one model."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from pipe_seg.schema import MODEL_NAME, SIGNATURE_ARRAYS
from pipe_seg.serving.server import request_guard, tf_serving_json
from pipe_seg.serving.server.batching import Batcher
from pipe_seg.serving.server.prometheus import Metrics
from pipe_seg.serving.server.refusals import Refusal, bad, missing
from pipe_seg.serving.server.servable import Answer, Servable
from pipe_seg.serving.server.tf_serving_json import RequestLimits
from pipe_seg.serving.server.versions import Versions

CODES = {
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
    HTTPStatus.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.TOO_MANY_REQUESTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
}
MAX_CALLS = 256
DT_FLOAT, DT_STRING = tf.float32.as_datatype_enum, tf.string.as_datatype_enum
STATES = get_model_status_pb2.ModelVersionStatus.State


class Services(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    """Both services; TF Serving's other methods return UNIMPLEMENTED. `token` is None if none is needed."""

    def __init__(
        self, versions: Versions, batcher: Batcher, metrics: Metrics, limits: RequestLimits, token: str | None
    ) -> None:
        self._versions, self._batcher, self._metrics = versions, batcher, metrics
        self._limits, self._token = limits, token

    async def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Returns the outputs of either signature."""
        signature = request.model_spec.signature_name or SIGNATURE_ARRAYS
        known = signature if signature in tf_serving_json.INPUT else "unknown"
        return await self._respond(context, known, lambda: self._predict(request, signature))

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Returns the signatures of a version."""
        return await self._respond(context, "metadata", lambda: self._metadata(request))

    async def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Returns the states of all versions, or of one."""
        return await self._respond(context, "status", lambda: self._status(request.model_spec))

    async def _respond(self, context: Any, kind: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Returns the result of `work` for an authorized client, and counts the outcome."""
        started, code = time.perf_counter(), grpc.StatusCode.INTERNAL
        try:
            self._authorize(context)
            answer = await work()
            code = grpc.StatusCode.OK
            return answer
        except Refusal as refusal:
            code = CODES.get(HTTPStatus(refusal.status), grpc.StatusCode.INTERNAL)
            await context.abort(code, refusal.message)
        except Exception:
            logging.exception("a gRPC request failed")
            await context.abort(code, "internal server error; see the server log")
        finally:
            self._metrics.requests.labels("grpc", kind, code.name).inc()
            self._metrics.seconds.labels("grpc").observe(time.perf_counter() - started)

    async def _predict(self, request: Any, signature: str) -> Any:
        servable = self._servable(request.model_spec)
        if signature not in tf_serving_json.INPUT or list(request.inputs) != [tf_serving_json.INPUT[signature]]:
            raise bad(f"expected one of the signatures {', '.join(tf_serving_json.INPUT)} with its single input")
        tensor = request.inputs[tf_serving_json.INPUT[signature]]
        if signature == SIGNATURE_ARRAYS:
            image = await asyncio.to_thread(_image, tensor, self._limits)
            outputs = {"probabilities": await self._batcher.run_alone(servable, lambda: servable.arrays(image))}
        else:
            frames = await asyncio.to_thread(_frames, tensor, self._limits)
            outputs = _columns(await self._batcher.frames(servable, frames))
        wanted = list(request.output_filter) or list(outputs)
        if unknown := [name[:80] for name in wanted if name not in outputs]:
            raise bad(f"output_filter: unknown output {unknown[0]}")
        spec = _spec(servable, signature)
        return predict_pb2.PredictResponse(
            model_spec=spec, outputs={name: tf.make_tensor_proto(outputs[name]) for name in wanted}
        )

    async def _metadata(self, request: Any) -> Any:
        servable = self._servable(request.model_spec)
        if list(request.metadata_field) != ["signature_def"]:
            raise bad("metadata_field: expected signature_def")
        answer = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=_spec(servable))
        answer.metadata["signature_def"].Pack(servable.signatures)
        return answer

    async def _status(self, spec: Any) -> Any:
        status = self._versions.status
        if spec.version_label:
            number = self._servable(spec).number
            status = {number: status[number]}
        elif spec.HasField("version"):
            status = {number: found for number, found in status.items() if number == spec.version.value}
        if spec.name != MODEL_NAME or (spec.HasField("version") and not status):
            raise missing("Could not find any versions of model")
        answer = get_model_status_pb2.GetModelStatusResponse()
        for number, found in sorted(status.items(), reverse=True):
            entry = answer.model_version_status.add(version=number, state=STATES.Value(found.state))
            entry.status.error_message = found.error
            entry.status.error_code = 2 if found.error else 0
        return answer

    def _servable(self, spec: Any) -> Servable:
        if spec.name != MODEL_NAME:
            raise missing(f"Servable not found for request: Latest({spec.name[:80]})")
        return self._versions.find(spec.version.value if spec.HasField("version") else None, spec.version_label or None)

    def _authorize(self, context: Any) -> None:
        """Raises a Refusal unless the client sent the token."""
        header = dict(context.invocation_metadata() or ()).get("authorization", "")
        header = header if isinstance(header, bytes) else header.encode("utf-8", "replace")
        if self._token is not None and not request_guard.has_token(header, self._token):
            raise Refusal(HTTPStatus.UNAUTHORIZED, "missing or wrong token; expected authorization: Bearer TOKEN")


def _image(tensor: Any, limits: RequestLimits) -> np.ndarray:
    """Returns the array in a tensor; refuses too few values, as TensorFlow would repeat the last one."""
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    number = math.prod(sizes)
    if tensor.dtype != DT_FLOAT or len(sizes) != 4 or min(sizes) < 1:
        raise bad("image: expected float32 [batch, height, width, 3]")
    if len(tensor.tensor_content) != 4 * number and len(tensor.float_val) != number:
        raise bad("image: number of values differs from its shape")
    return tf_serving_json.array(tf.make_ndarray(tensor), limits)


def _frames(tensor: Any, limits: RequestLimits) -> list[bytes]:
    """Returns the encoded frames in a tensor."""
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.dtype != DT_STRING or sizes != [len(tensor.string_val)] or not sizes[0]:
        raise bad("image_bytes: expected encoded frames in one dimension")
    frames = list(tensor.string_val)
    tf_serving_json.check(frames, limits)
    return frames


def _columns(answers: Sequence[Answer]) -> dict[str, np.ndarray]:
    return {
        "mask_png_bytes": np.array([answer.mask_png_bytes for answer in answers], object),
        "probability": np.array([answer.probability for answer in answers], np.float32),
        "defect_area_fraction": np.array([answer.defect_area_fraction for answer in answers], np.float32),
    }


def _spec(servable: Servable, signature: str = "") -> Any:
    return model_pb2.ModelSpec(name=MODEL_NAME, version={"value": servable.number}, signature_name=signature)


def server(services: Services, address: str, max_bytes: int) -> tuple[grpc.aio.Server, int]:
    """Returns a server of both services and the port that it listens on."""
    options = [("grpc.max_receive_message_length", max_bytes), ("grpc.so_reuseport", 0)]
    listener = grpc.aio.server(options=options, maximum_concurrent_rpcs=MAX_CALLS)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(services, listener)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(services, listener)
    return listener, listener.add_insecure_port(address)
