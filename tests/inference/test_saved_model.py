"""The exported model: its signatures, files and predictions."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from pipe_seg.inference import probe
from pipe_seg.inference.saved_model import LoadedModel


@pytest.fixture(scope="module")
def folder_of(runs: Path) -> Path:
    return sorted(runs.iterdir())[1] / "model" / "saved_model"


@pytest.fixture(scope="module")
def model(folder_of: Path) -> LoadedModel:
    return LoadedModel(folder_of)


def jpeg(height: int, width: int, seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(".jpg", noise)[1].tobytes()


@pytest.mark.parametrize("size", [(64, 80), (576, 720), (37, 211), (300, 40), (1, 1)])
def test_frames_of_any_size_get_masks_of_their_size(model: LoadedModel, size: tuple[int, int]) -> None:
    answer = model.predict_bytes([jpeg(*size)])
    mask = cv2.imdecode(np.frombuffer(answer["mask_png_bytes"][0], np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask.shape == size
    assert set(np.unique(mask)) <= {0, 255}
    assert answer["defect_area_fraction"][0] == pytest.approx((mask > 0).mean(), abs=1e-6)


def test_a_batch_of_several_sizes_is_predicted_frame_by_frame(model: LoadedModel) -> None:
    frames = [jpeg(60, 90, 1), jpeg(200, 100, 2), jpeg(33, 33, 3)]
    together = model.predict_bytes(frames)["defect_area_fraction"]
    alone = [model.predict_bytes([frame])["defect_area_fraction"][0] for frame in frames]
    np.testing.assert_allclose(together, alone, atol=1e-3)


def test_both_signatures_predict_the_same(model: LoadedModel) -> None:
    png = cv2.imencode(".png", np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8))[1].tobytes()
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_allclose(model.predict_arrays(pixels[None])[0, ..., 0], model.probability(png), atol=1e-6)


def test_signatures_have_the_names_of_the_design(folder_of: Path) -> None:
    signatures = tf.saved_model.load(str(folder_of)).signatures
    assert set(signatures) == {"serving_default", "predict_bytes"}
    assert set(signatures["serving_default"].structured_outputs) == {"probabilities"}
    outputs = signatures["predict_bytes"].structured_outputs
    assert set(outputs) == {"mask_png_bytes", "probability", "defect_area_fraction"}


def test_labels_and_warm_up_requests_travel_with_the_model(folder_of: Path) -> None:
    assert (folder_of / "assets" / "labels.txt").read_text().split()[0] == "deformation"
    records = tf.data.TFRecordDataset(str(folder_of / "assets.extra" / "tf_serving_warmup_requests"))
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in records]
    specs = [log.predict_log.request.model_spec for log in logs]
    assert [spec.signature_name for spec in specs] == ["serving_default", "predict_bytes"]
    assert {spec.name for spec in specs} == {"pipe_seg"}


def test_a_new_process_predicts_frames(folder_of: Path, tmp_path: Path) -> None:
    path = tmp_path / "frame.jpg"
    path.write_bytes(jpeg(57, 91))
    answer = probe.ask(folder_of, [path], 120)
    assert answer.pop("milliseconds") > 0
    assert answer == {"frames": 1, "faults": []}


def test_a_broken_model_is_a_fault_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"no graph")
    answer = probe.ask(tmp_path, [], 120)
    assert answer["frames"] == 0
    assert answer["faults"]
