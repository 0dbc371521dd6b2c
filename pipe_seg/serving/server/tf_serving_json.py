"""TF Serving's REST dialect: JSON to tensors and back, and how it tells of versions and signatures."""

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
class Asked:
    """A request: encoded frames, or one array (batch, height, width, 3) float32; ``rows``: asked for by instances."""

    rows: bool
    frames: Sequence[bytes] = ()
    image: np.ndarray | None = None


@dataclass(frozen=True)
class Most:
    """What one request may ask: so many frames, so many million pixels in all."""

    frames: int
    megapixels: float

    def allow(self, frames: int, pixels: int) -> None:
        """Let it pass.

        Raises:
            Refusal: it is more.
        """
        if frames > self.frames:
            raise too_large(f"more than {self.frames} frames in one request")
        if pixels > self.megapixels * MEGA:
            raise too_large(f"more than {self.megapixels:g} megapixels")


def parse(body: bytes, most: Most) -> Asked:
    """Give what a predict request asks.

    Raises:
        Refusal: it is not a request of ours, or too large.
    """
    told = _json(body)
    rows = "instances" in told
    signature = told.get("signature_name") or SIGNATURE_ARRAYS
    if not isinstance(signature, str) or signature not in INPUT:
        raise bad(f'Serving signature name: "{str(signature)[:80]}" not found in signature def')
    values = _values(told["instances"] if rows else told["inputs"], INPUT[signature], rows)
    if signature == SIGNATURE_BYTES:
        frames = [_decoded(value) for value in values]
        check(frames, most)
        return Asked(rows, frames=frames)
    return Asked(rows, image=array(values, most))


def _json(body: bytes) -> dict[str, Any]:
    try:
        told = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise bad(f"JSON Parse error: {str(error)[:200]}") from error
    if not isinstance(told, dict):
        raise bad("JSON Value: not an object")
    if strange := sorted(set(told) - KEYS):
        raise bad(f"JSON object: unknown key {strange[0][:80]}")
    if ("instances" in told) == ("inputs" in told):
        raise bad("JSON object: must have either 'instances' or 'inputs'")
    return told


def _values(told: Any, name: str, rows: bool) -> list[Any]:
    """Give the list of instances' values of the one input, in whichever of TF Serving's forms."""
    if isinstance(told, Mapping) and not rows and set(told) != {"b64"}:
        told = _named(told, name)
    if not isinstance(told, list):
        if rows or not isinstance(told, Mapping):
            raise bad("JSON Value: not a list")
        told = [told]
    if not told:
        raise bad("JSON Value: no instances")
    return [value if not isinstance(value, Mapping) or set(value) == {"b64"} else _named(value, name) for value in told]


def _named(told: Mapping[Any, Any], name: str) -> Any:
    if set(told) != {name}:
        raise bad(f"JSON Value: expected the one input {name}")
    return told[name]


def _decoded(value: Any) -> bytes:
    if not isinstance(value, Mapping) or not isinstance(value.get("b64"), str) or len(value) != 1:
        raise bad('JSON Value: expected {"b64": …}')
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad(f"Unable to base64 decode: {error}") from error


def array(values: Any, most: Most) -> np.ndarray:
    """Give (batch, height, width, 3) float32, finite.

    Raises:
        Refusal: it is not one, or more than ``most``.
    """
    try:
        found = np.asarray(values)
    except ValueError as error:
        raise bad("image: rows of different lengths") from error
    if found.dtype.kind not in "iuf":
        raise bad("image: expected numbers")
    if found.ndim != 4 or found.shape[-1] != 3 or 0 in found.shape:
        raise bad(f"image: shape {list(found.shape)}, expected [batch, height, width, 3]")
    most.allow(found.shape[0], found.shape[0] * found.shape[1] * found.shape[2])
    found = found.astype(np.float32)
    if not np.isfinite(found).all():
        raise bad("image: not finite")
    return found


def check(frames: Sequence[bytes], most: Most) -> None:
    """Look at the headers of encoded frames.

    Raises:
        Refusal: one is no image that can be decoded safely, or all together are more than ``most``.
    """
    most.allow(len(frames), 0)
    pixels = 0
    for frame in frames:
        try:
            found = images.header(frame)
        except images.TooLargeError as error:
            raise too_large(f"frame: {error}") from error
        except ValueError as error:
            raise bad(f"frame: {error}") from error
        pixels += found.height * found.width
    most.allow(len(frames), pixels)


def told(rows: bool, answers: Sequence[Answer]) -> bytes:
    """Give the JSON for answers of ``predict_bytes``; names that end in ``_bytes`` are base64, as TF Serving has it."""
    columns: dict[str, list[Any]] = {
        "mask_png_bytes": [{"b64": base64.b64encode(answer.mask_png_bytes).decode()} for answer in answers],
        "probability": [answer.probability for answer in answers],
        "defect_area_fraction": [answer.defect_area_fraction for answer in answers],
    }
    if not rows:
        return pydantic_core.to_json({"outputs": columns})
    listed = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return pydantic_core.to_json({"predictions": listed})


def told_arrays(rows: bool, probabilities: np.ndarray) -> bytes:
    """Give the JSON for an answer of ``serving_default``."""
    return pydantic_core.to_json({"predictions" if rows else "outputs": probabilities.tolist()})


def told_status(status: Mapping[int, Status]) -> dict[str, Any]:
    """Give the states of versions, the newest first."""
    states = [
        {
            "version": str(number),
            "state": found.state,
            "status": {"error_code": "UNKNOWN" if found.error else "OK", "error_message": found.error},
        }
        for number, found in sorted(status.items(), reverse=True)
    ]
    return {"model_version_status": states}


def told_metadata(servable: Servable) -> dict[str, Any]:
    """Give the signatures of a version."""
    signatures = json_format.MessageToDict(
        servable.signatures, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return {
        "model_spec": {"name": MODEL_NAME, "signature_name": "", "version": str(servable.number)},
        "metadata": {"signature_def": signatures},
    }
