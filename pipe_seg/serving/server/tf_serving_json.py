"""TF Serving's JSON format: predict requests, predictions, version states and metadata."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydantic_core
from google.protobuf import json_format

from pipe_seg import images
from pipe_seg.schema import MODEL_NAME, SIGNATURE_ARRAYS, SIGNATURE_BYTES
from pipe_seg.serving.server import graph_allowlist
from pipe_seg.serving.server.refusals import bad, too_large
from pipe_seg.serving.server.servable import Answer, Servable
from pipe_seg.serving.server.versions import Status

INPUT = {signature: next(iter(inputs)) for signature, inputs in graph_allowlist.INPUTS.items()}
KEYS = {"signature_name", "instances", "inputs"}
MEGA = 1_000_000


@dataclass(frozen=True)
class ParsedRequest:
    """A predict request.

    Attributes:
        rows: Whether the request has `instances`; the response then has one row per frame.
        frames: Encoded frames, for `predict_bytes`.
        image: `(batch, height, width, 3)` float32, for `serving_default`.
    """

    rows: bool
    frames: Sequence[bytes] = ()
    image: np.ndarray | None = None


@dataclass(frozen=True)
class RequestLimits:
    """Maximum number of frames and of megapixels in one request."""

    frames: int
    megapixels: float

    def check(self, frames: int, pixels: int) -> None:
        """Checks the size of a request.

        Raises:
            Refusal: The request exceeds a limit.
        """
        if frames > self.frames:
            raise too_large(f"request exceeds {self.frames} frames")
        if pixels > self.megapixels * MEGA:
            raise too_large(f"request exceeds {self.megapixels:g} megapixels")


def parse(body: bytes, limits: RequestLimits) -> ParsedRequest:
    """Returns the parsed predict request.

    Raises:
        Refusal: The request is malformed or exceeds a limit.
    """
    request = _json(body)
    rows = "instances" in request
    signature = request.get("signature_name") or SIGNATURE_ARRAYS
    if not isinstance(signature, str) or signature not in INPUT:
        raise bad(f'Serving signature name: "{str(signature)[:80]}" not found in signature def')
    values = _values(request["instances"] if rows else request["inputs"], INPUT[signature], rows)
    if signature == SIGNATURE_BYTES:
        frames = [_decode(value) for value in values]
        check(frames, limits)
        return ParsedRequest(rows, frames=frames)
    return ParsedRequest(rows, image=array(values, limits))


def _json(body: bytes) -> dict[str, Any]:
    try:
        request = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise bad(f"JSON Parse error: {str(error)[:200]}") from error
    if not isinstance(request, dict):
        raise bad("JSON Value: not an object")
    if unknown := sorted(set(request) - KEYS):
        raise bad(f"JSON object: unknown key {unknown[0][:80]}")
    if ("instances" in request) == ("inputs" in request):
        raise bad("JSON object: must have either 'instances' or 'inputs'")
    return request


def _values(data: Any, name: str, rows: bool) -> list[Any]:
    """Returns the values of the input `name`, from any of TF Serving's row and column formats."""
    if isinstance(data, Mapping) and not rows and set(data) != {"b64"}:
        data = _input(data, name)
    if not isinstance(data, list):
        if rows or not isinstance(data, Mapping):
            raise bad("JSON Value: not a list")
        data = [data]
    if not data:
        raise bad("JSON Value: no instances")
    return [value if not isinstance(value, Mapping) or set(value) == {"b64"} else _input(value, name) for value in data]


def _input(inputs: Mapping[Any, Any], name: str) -> Any:
    if set(inputs) != {name}:
        raise bad(f"JSON Value: expected the single input {name}")
    return inputs[name]


def _decode(value: Any) -> bytes:
    if not isinstance(value, Mapping) or not isinstance(value.get("b64"), str) or len(value) != 1:
        raise bad('JSON Value: expected {"b64": …}')
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad(f"Unable to base64 decode: {error}") from error


def array(values: Any, limits: RequestLimits) -> np.ndarray:
    """Returns nested lists as a finite `(batch, height, width, 3)` float32 array.

    Raises:
        Refusal: The values are no such array, or exceed `limits`.
    """
    try:
        image = np.asarray(values)
    except ValueError as error:
        raise bad("image: rows of different lengths") from error
    if image.dtype.kind not in "iuf":
        raise bad("image: expected numbers")
    if image.ndim != 4 or image.shape[-1] != 3 or 0 in image.shape:
        raise bad(f"image: shape {list(image.shape)}, expected [batch, height, width, 3]")
    limits.check(image.shape[0], image.shape[0] * image.shape[1] * image.shape[2])
    image = image.astype(np.float32)
    if not np.isfinite(image).all():
        raise bad("image: values are not finite")
    return image


def check(frames: Sequence[bytes], limits: RequestLimits) -> None:
    """Checks the headers of encoded frames.

    Raises:
        Refusal: A frame cannot be decoded safely, or the frames together exceed `limits`.
    """
    limits.check(len(frames), 0)
    pixels = 0
    for frame in frames:
        try:
            header = images.header(frame)
        except images.TooLargeError as error:
            raise too_large(f"frame: {error}") from error
        except ValueError as error:
            raise bad(f"frame: {error}") from error
        pixels += header.height * header.width
    limits.check(len(frames), pixels)


def predict_response(rows: bool, answers: Sequence[Answer]) -> bytes:
    """Returns the JSON of `predict_bytes`; outputs named `…_bytes` are base64, as in TF Serving."""
    columns: dict[str, list[Any]] = {
        "mask_png_bytes": [{"b64": base64.b64encode(answer.mask_png_bytes).decode()} for answer in answers],
        "probability": [answer.probability for answer in answers],
        "defect_area_fraction": [answer.defect_area_fraction for answer in answers],
    }
    if not rows:
        return pydantic_core.to_json({"outputs": columns})
    listed = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return pydantic_core.to_json({"predictions": listed})


def arrays_response(rows: bool, probabilities: np.ndarray) -> bytes:
    """Returns the JSON of `serving_default`."""
    return pydantic_core.to_json({"predictions" if rows else "outputs": probabilities.tolist()})


def status_response(status: Mapping[int, Status]) -> dict[str, Any]:
    """Returns the states of the versions, newest first."""
    states = [
        {
            "version": str(number),
            "state": found.state,
            "status": {"error_code": "UNKNOWN" if found.error else "OK", "error_message": found.error},
        }
        for number, found in sorted(status.items(), reverse=True)
    ]
    return {"model_version_status": states}


def metadata_response(servable: Servable) -> dict[str, Any]:
    """Returns the signatures of a version."""
    signatures = json_format.MessageToDict(
        servable.signatures, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return {
        "model_spec": {"name": MODEL_NAME, "signature_name": "", "version": str(servable.number)},
        "metadata": {"signature_def": signatures},
    }
