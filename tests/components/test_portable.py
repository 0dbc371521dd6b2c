"""The network in other runtimes' formats: the same masks, and a figure that says so."""

import json
from pathlib import Path

import pytest

from pipe_seg.errors import ConfigError, RefusedError
from tests.conftest import Command


@pytest.fixture(scope="module")
def exported(runs: Path, cli: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    out = tmp_path_factory.mktemp("formats") / "model"
    formats = [word for name in ("keras", "litert", "onnx", "openvino") for word in ("--format", name)]
    told = cli("export", "last", "--runs", runs, *formats, "--out", out, "--json").stdout
    return out, json.loads(told)


@pytest.mark.parametrize(
    ("name", "file"),
    [("keras", "network.keras"), ("litert", "network.tflite"), ("onnx", "network.onnx"), ("openvino", "network.xml")],
)
def test_masks_are_those_of_the_savedmodel(exported: tuple[Path, dict[str, object]], name: str, file: str) -> None:
    out, told = exported
    assert (out / file).stat().st_size > 1000
    parity = told[name]
    assert isinstance(parity, dict)
    assert parity["file"] == file
    assert parity["frames"] >= 4
    assert parity["mask_iou"] >= 0.999


def test_what_is_around_the_network_is_written_down(exported: tuple[Path, dict[str, object]]) -> None:
    out, told = exported
    around = json.loads((out / "network.json").read_text())
    assert (around["size"], around["threshold"], around["output"]) == ([64, 80], told["threshold"], "logits")


def test_a_runtime_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipe_seg.components.export import portable

    monkeypatch.setitem(portable.PACKAGES, "onnx", ("tf2onnx_that_is_not_here",))
    with pytest.raises(ConfigError, match=r"needs tf2onnx_that_is_not_here; expected pip install 'pipe-seg\[onnx\]'"):
        portable.check("onnx")


def test_int8_is_gated(runs: Path, cli: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipe_seg.components.export import portable

    monkeypatch.setattr(portable, "MOST_IOU_LOST", 1.0)
    command = ("export", "last", "--runs", runs, "--format", "litert", "--int8", "--out")
    assert "int8 costs" in cli(*command, tmp_path / "allowed").stdout
    monkeypatch.setattr(portable, "MOST_IOU_LOST", -1.0)
    assert "int8 loses more" in cli(*command, tmp_path / "refused", code=RefusedError.exit_code).stderr
    assert not (tmp_path / "refused").exists()
    cli("export", "last", "--runs", runs, "--int8", "--out", tmp_path / "x", code=2)
