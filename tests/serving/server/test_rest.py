"""TF Serving's REST API."""

import base64
import io
import json
import re
import subprocess
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image

from tests.serving.server import bright
from tests.serving.server.process import Server, predict

GREY = bright.frame(100)


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def post(server: Server, body: Any, path: str = ":predict", **options: Any) -> httpx.Response:
    content = {"content": body} if isinstance(body, (bytes, str)) else {"json": body}
    return httpx.post(f"{server.url}/v1/models/pipe_seg{path}", timeout=60, **content, **options)


def mask(answer: dict[str, Any]) -> np.ndarray:
    png = base64.b64decode(answer["mask_png_bytes"]["b64"])
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)


def test_rows_and_columns_are_equivalent(server: Server) -> None:
    frames = [b64(GREY), b64(bright.frame(100, 30, 90, ".jpg"))]
    forms = [
        {"instances": frames},
        {"instances": [{"image_bytes": frame} for frame in frames]},
        {"inputs": frames},
        {"inputs": {"image_bytes": frames}},
    ]
    for form in forms:
        answer = post(server, {"signature_name": "predict_bytes", **form})
        assert answer.status_code == 200, answer.text
        response = answer.json()
        rows = response.get("predictions") or [
            {name: values[i] for name, values in response["outputs"].items()} for i in range(2)
        ]
        assert [mask(row).shape for row in rows] == [(48, 60), (30, 90)]
        assert rows[0]["defect_area_fraction"] == pytest.approx(0.5, abs=0.03)
        assert rows[0]["probability"] == pytest.approx(1 / (1 + np.exp(-40.5 / 8)), abs=1e-3)


def test_arrays_are_the_default_signature(server: Server) -> None:
    image = np.full((4, 5, 3), 100.0).tolist()
    for form, key in (({"instances": [image]}, "predictions"), ({"inputs": {"image": [image]}}, "outputs")):
        found = np.array(post(server, form).json()[key])
        assert found.shape == (1, 4, 5, 1)
        np.testing.assert_allclose(found, 1 / (1 + np.exp(-40.5 / 8)), atol=1e-4)


def test_a_version_is_named_by_number_by_label_or_not_at_all(server: Server) -> None:
    shares = {
        path: predict(server, GREY, path)["defect_area_fraction"]
        for path in ("", "/versions/1", "/versions/2", "/labels/stable", "/labels/candidate")
    }
    assert [share > 0 for share in shares.values()] == [True, True, False, True, False]


def test_status_and_metadata(server: Server) -> None:
    base = f"{server.url}/v1/models/pipe_seg"
    status = httpx.get(base).json()["model_version_status"]
    assert [(row["version"], row["state"]) for row in status] == [("2", "AVAILABLE"), ("1", "AVAILABLE")]
    assert httpx.get(f"{base}/versions/1").json()["model_version_status"] == [status[1]]
    assert httpx.get(f"{base}/labels/candidate").json()["model_version_status"] == [status[0]]
    metadata = httpx.get(f"{base}/metadata").json()
    assert metadata["model_spec"] == {"name": "pipe_seg", "signature_name": "", "version": "1"}
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert signatures["predict_bytes"]["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    assert [d["size"] for d in signatures["serving_default"]["inputs"]["image"]["tensor_shape"]["dim"]] == [
        "-1",
        "-1",
        "-1",
        "3",
    ]


def test_curl_as_in_the_readme(server: Server) -> None:
    body = json.dumps({"signature_name": "predict_bytes", "instances": [b64(GREY)]})
    command = ["curl", "-s", "--fail", "-d", body, f"{server.url}/v1/models/pipe_seg/labels/stable:predict"]
    assert b'"predictions"' in subprocess.run(command, capture_output=True, check=True).stdout


def png(mode: str, size: tuple[int, int]) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size).save(out, "PNG")
    return out.getvalue()


NESTED = "[" * 1000 + "]" * 1000
BYTES = {"signature_name": "predict_bytes"}
BAD: dict[str, tuple[Any, int]] = {
    "empty": (b"", 400),
    "not JSON": (b"{", 400),
    "a list": ([1], 400),
    "no instances": ({}, 400),
    "both forms": ({"instances": [1], "inputs": [1]}, 400),
    "unknown key": ({"instances": [b64(GREY)], "model": "x", **BYTES}, 400),
    "unknown signature": ({"signature_name": "classify", "instances": [1]}, 400),
    "a signature that is no name": ({"signature_name": [1], "instances": [1]}, 400),
    "no rows": ({"instances": [], **BYTES}, 400),
    "not a number": (b'{"instances": [[[[NaN, 1, 2]]]]}', 400),
    "infinity": (b'{"instances": [[[[1e999, 1, 2]]]]}', 400),
    "minus infinity": (b'{"instances": [[[[-Infinity, 1, 2]]]]}', 400),
    "text for numbers": ({"instances": [[[["a", "b", "c"]]]]}, 400),
    "ragged": ({"instances": [[[[1, 2, 3]], [[1, 2]]]]}, 400),
    "one channel": ({"instances": [[[[1]]]]}, 400),
    "a thousand deep": (f'{{"instances": {NESTED}}}', 400),
    "five thousand digits": (f'{{"instances": [[[[{"9" * 5000}, 1, 2]]]]}}', 400),
    "not base64": ({"instances": [{"b64": "!!!"}], **BYTES}, 400),
    "base64 of nothing": ({"instances": [{"b64": ""}], **BYTES}, 400),
    "base64 of a page": ({"instances": [b64(b"<!doctype html><html>")], **BYTES}, 400),
    "half a JPEG": ({"instances": [b64(bright.frame(9, suffix=".jpg")[:300])], **BYTES}, 400),
    "a bomb": ({"instances": [b64(png("1", (16_000, 16_000)))], **BYTES}, 413),
    "sixteen bits": ({"instances": [b64(png("I;16", (8, 8)))], **BYTES}, 400),
    "another input": ({"instances": [{"frame": b64(GREY)}], **BYTES}, 400),
    "a bare string": ({"instances": ["abc"], **BYTES}, 400),
    "too many frames": ({"instances": [b64(GREY)] * 65, **BYTES}, 413),
    "too many arrays": ({"instances": [[[[1, 2, 3]]]] * 65}, 413),
    "UTF-16": ('{"instances": 1}'.encode("utf-16"), 400),
}


@pytest.mark.parametrize("case", BAD)
def test_each_bad_request_is_refused_with_its_reason(server: Server, case: str) -> None:
    body, code = BAD[case]
    answer = post(server, body)
    assert answer.status_code == code, answer.text
    assert answer.json()["error"]
    assert str(server.url) not in answer.text
    assert "Traceback" not in answer.text


def test_a_frame_that_cannot_be_decoded_does_not_affect_others(server: Server) -> None:
    broken = bright.frame(9, 200, 200, ".jpg")[:-400]
    answers = [post(server, {"instances": [b64(frame)], **BYTES}) for frame in (GREY, broken, GREY)]
    assert [answer.status_code for answer in answers] == [200, 400, 200]


def test_an_empty_signature_is_the_default(server: Server) -> None:
    assert post(server, {"signature_name": "", "instances": [[[[1, 2, 3]]]]}).status_code == 200


def test_many_frames_in_one_request(server: Server) -> None:
    answer = post(server, {"instances": [b64(GREY)] * 20, **BYTES})
    assert len(answer.json()["predictions"]) == 20


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/models/other:predict", 404),
        ("/v1/models/pipe_seg/versions/9:predict", 404),
        ("/v1/models/pipe_seg/versions/1_0:predict", 400),
        ("/v1/models/pipe_seg/versions/%31%32%33:predict", 404),
        ("/v1/models/pipe_seg/versions/99999999999999999999:predict", 400),
        ("/v1/models/pipe_seg/labels/nobody:predict", 400),
        ("/v1/models/pipe_seg:classify", 400),
        ("/v1/models/../../etc/passwd", 404),
        ("/page/../rest.py", 404),
        ("/page/%2e%2e/rest.py", 404),
    ],
)
def test_unknown_names(server: Server, path: str, code: int) -> None:
    body = {"instances": [b64(GREY)], **BYTES}
    answer = httpx.post(f"{server.url}{path}", json=body) if ":" in path else httpx.get(f"{server.url}{path}")
    assert answer.status_code == code, answer.text


def test_levels_for_the_page_hold_the_model_s_prediction(server: Server) -> None:
    answer = httpx.post(f"{server.url}/frames?version=1", content=GREY)
    assert (answer.headers["x-model-version"], answer.headers["x-model-threshold"]) == ("1", "0.5")
    levels = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(levels >= 128, mask(predict(server, GREY, "/versions/1")) > 0)


def test_metrics(server: Server) -> None:
    predict(server, GREY)
    text = httpx.get(f"{server.url}/metrics").text
    names = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert "pipe_seg_batch_frames" in names
    tf_serving = httpx.get(f"{server.url}/monitoring/prometheus/metrics").text
    assert re.findall(r"^# TYPE (\S+)", tf_serving, re.MULTILINE) == names
    assert 'pipe_seg_requests_total{code="200",protocol="rest",signature="predict_bytes"}' in text
    assert 'pipe_seg_version_available{version="2"} 1.0' in text
    assert 'pipe_seg_label_version{label="stable"} 1.0' in text
    assert httpx.get(f"{server.url}/healthz").status_code == httpx.get(f"{server.url}/readyz").status_code == 200
