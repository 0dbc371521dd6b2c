"""TF Serving's gRPC services for our model: PredictionService and ModelService, through its own stubs."""

import asyncio
import time
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
from pipe_seg.serving.server import dialect, gate
from pipe_seg.serving.server.batching import Batcher
from pipe_seg.serving.server.errors import Refusal, bad
from pipe_seg.serving.server.metrics import Metrics
from pipe_seg.serving.server.servable import Servable
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
STATES = get_model_status_pb2.ModelVersionStatus.State


class Services(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    """Both services; what TF Serving offers beyond them is answered with UNIMPLEMENTED."""

    def __init__(
        self, versions: Versions, batcher: Batcher, metrics: Metrics, most_mpx: float, token: str | None
    ) -> None:
        """Answer from ``versions`` through ``batcher``, to who has ``token``."""
        self._versions, self._batcher, self._metrics = versions, batcher, metrics
        self._most_mpx, self._token = most_mpx, token

    async def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Answer either signature."""
        started, code = time.perf_counter(), grpc.StatusCode.OK
        signature = request.model_spec.signature_name or SIGNATURE_ARRAYS
        try:
            return await self._predicted(request, signature, context)
        except Refusal as refusal:
            code = CODES.get(HTTPStatus(refusal.status), grpc.StatusCode.INTERNAL)
            await context.abort(code, refusal.message)
        finally:
            known = signature if signature in dialect.INPUT else "unknown"
            self._metrics.requests.labels("grpc", known, code.name).inc()
            self._metrics.seconds.labels("grpc").observe(time.perf_counter() - started)

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Give the signatures of a version."""
        servable = await self._found(request.model_spec, context)
        if list(request.metadata_field) != ["signature_def"]:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "metadata_field: only signature_def")
        answer = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=_spec(servable))
        answer.metadata["signature_def"].Pack(servable.signatures)
        return answer

    async def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Give the states of all versions, or of one."""
        await self._known(context)
        spec, status = request.model_spec, self._versions.status
        if spec.name != MODEL_NAME or (spec.HasField("version") and spec.version.value not in status):
            await context.abort(grpc.StatusCode.NOT_FOUND, "Could not find any versions of model")
        if spec.HasField("version"):
            status = {spec.version.value: status[spec.version.value]}
        answer = get_model_status_pb2.GetModelStatusResponse()
        for number, found in sorted(status.items(), reverse=True):
            told = answer.model_version_status.add(version=number, state=STATES.Value(found.state))
            told.status.error_message = found.error
            told.status.error_code = 2 if found.error else 0
        return answer

    async def _predicted(self, request: Any, signature: str, context: Any) -> Any:
        servable = await self._found(request.model_spec, context)
        if signature not in dialect.INPUT or list(request.inputs) != [dialect.INPUT[signature]]:
            raise bad(f"expected one of the signatures {', '.join(dialect.INPUT)} and its one input")
        value = await asyncio.to_thread(_array, request.inputs[dialect.INPUT[signature]])
        outputs = await self._answered(servable, signature, value)
        wanted = list(request.output_filter) or list(outputs)
        if unknown := [name[:80] for name in wanted if name not in outputs]:
            raise bad(f"output_filter: no output {unknown[0]}")
        spec = _spec(servable, signature)
        return predict_pb2.PredictResponse(
            model_spec=spec, outputs={name: tf.make_tensor_proto(outputs[name]) for name in wanted}
        )

    async def _answered(self, servable: Servable, signature: str, value: Any) -> dict[str, Any]:
        if signature == SIGNATURE_ARRAYS:
            image = dialect.array(value, self._most_mpx)
            return {"probabilities": await self._batcher.alone(servable, lambda: servable.arrays(image))}
        if value.dtype != object or value.ndim != 1 or not len(value):
            raise bad("image_bytes: expected encoded frames, one dimension")
        frames = [bytes(frame) for frame in value]
        dialect.check(frames, self._most_mpx)
        answers = await self._batcher.frames(servable, frames)
        return {
            "mask_png_bytes": np.array([answer.mask_png_bytes for answer in answers], object),
            "probability": np.array([answer.probability for answer in answers], np.float32),
            "defect_area_fraction": np.array([answer.defect_area_fraction for answer in answers], np.float32),
        }

    async def _found(self, spec: Any, context: Any) -> Servable:
        await self._known(context)
        if spec.name != MODEL_NAME:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name[:80]})")
        number = spec.version.value if spec.HasField("version") else None
        try:
            return self._versions.find(number, spec.version_label or None)
        except Refusal as refusal:
            await context.abort(CODES[HTTPStatus(refusal.status)], refusal.message)
            raise

    async def _known(self, context: Any) -> None:
        if self._token is None:
            return
        given = dict(context.invocation_metadata() or ()).get("authorization", "")
        if not gate.allowed(given.encode("utf-8", "replace") if isinstance(given, str) else given, self._token):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "a token is needed: authorization: Bearer …")


def _array(tensor: Any) -> np.ndarray:
    try:
        return np.asarray(tf.make_ndarray(tensor))
    except (TypeError, ValueError) as error:
        raise bad("not a whole tensor") from error


def _spec(servable: Servable, signature: str = "") -> Any:
    return model_pb2.ModelSpec(name=MODEL_NAME, version={"value": servable.number}, signature_name=signature)


def server(services: Services, address: str, most_bytes: int) -> tuple[grpc.aio.Server, int]:
    """Give a server of both services and the port it got."""
    found = grpc.aio.server(options=[("grpc.max_receive_message_length", most_bytes), ("grpc.so_reuseport", 0)])
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(services, found)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(services, found)
    return found, found.add_insecure_port(address)
