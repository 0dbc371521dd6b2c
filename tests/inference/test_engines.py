"""OpenVINO predicts the same masks as TensorFlow, and is selected by name."""

from pathlib import Path

import numpy as np
import pytest

from pipe_seg import images
from pipe_seg.artifacts import Model
from pipe_seg.data import synthetic
from pipe_seg.errors import ConfigError, MachineError
from pipe_seg.inference import engines
from tests.conftest import Command
from tests.serving.server import bright


@pytest.fixture(scope="module")
def model(runs: Path) -> Model:
    return Model(sorted(runs.iterdir())[1] / "model")


def test_both_runtimes_predict_the_same_masks(model: Model) -> None:
    frames = [synthetic.render(3, pipe, 0).jpeg for pipe in range(6)]
    tf, openvino = (engines.load_model(model, name) for name in ("tf", "openvino"))
    np.testing.assert_allclose(openvino.probability(frames[0]), tf.probability(frames[0]), atol=1e-4)
    for one, other in zip(*(loaded.predict_bytes(frames)["mask_png_bytes"] for loaded in (tf, openvino)), strict=True):
        first, second = (images.decode(png, images.AS_STORED) > 0 for png in (one, other))
        assert (first & second).sum() >= 0.999 * (first | second).sum()


def test_auto_is_openvino_if_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engines.select_runtime("auto") == "openvino"
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    assert engines.select_runtime("auto") == "tf"
    with pytest.raises(ConfigError, match=r"pip install 'pipe-seg\[openvino\]'"):
        engines.select_runtime("openvino")


def test_a_model_without_facts_runs_in_tensorflow(tmp_path: Path) -> None:
    bare = Model(bright.save(tmp_path / "saved_model", 60))
    assert engines.load_model(bare, "auto").predict_bytes([bright.frame(100)])["defect_area_fraction"][0] > 0
    with pytest.raises(MachineError):
        engines.load_model(bare, "openvino")


def test_predict_takes_the_engine_s_name(model: Model, folder: Path, tmp_path: Path, cli: Command) -> None:
    source = folder / "PipeSegmentation" / "images" / "val"
    rows = {
        name: cli("predict", model.path, source, "--out", tmp_path / name, "--engine", name) for name in ("tf", "auto")
    }
    assert all("4 images" in row.stdout for row in rows.values())
    areas = [np.loadtxt(tmp_path / name / "predictions.csv", delimiter=",", skiprows=1, usecols=3) for name in rows]
    np.testing.assert_allclose(*areas, atol=1e-3)
