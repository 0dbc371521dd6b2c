"""The allowlist: a graph of known operations with the two PipeSeg signatures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from pipe_seg.errors import RefusedError
from pipe_seg.serving.server import graph_allowlist
from tests.serving.server import bright

HEAVY = [pytest.param(name, marks=pytest.mark.slow) for name in ("mobilenetv2", "resnet50v2")]
ENCODERS = ("plain", "residual", "efficientnet_lite0", "efficientnetv2b0", *HEAVY)
PRECISIONS = ("float32", pytest.param("bfloat16", marks=pytest.mark.slow))


def test_every_export_is_allowed(dark: Path, runs: Path, tmp_path: Path) -> None:
    graph_allowlist.check(dark)
    for run in runs.iterdir():
        graph_allowlist.check(run / "model" / "saved_model")


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_network_is_allowed(encoder: str, precision: str, tmp_path: Path) -> None:
    """With all post-processing: flip averaging and removal of small components."""
    from pipe_seg.components import export
    from pipe_seg.config import ModelSection
    from pipe_seg.inference.postprocessing import InferenceOptions
    from pipe_seg.inference.signatures import Predictor
    from pipe_seg.nn import folding, models

    section = ModelSection(encoder=encoder, weights="none", width=4, depth=2)
    frozen = export.freeze(folding.fold(section, models.build(section), precision=precision), (64, 64))
    export.save(Predictor(frozen, InferenceOptions((64, 64), True, 0.4, 0.01)), tmp_path)
    graph_allowlist.check(tmp_path)


def writes(logits: Any) -> Any:
    tf.io.write_file("/tmp/never-written", "x")
    return logits


def reads(logits: Any) -> Any:
    return logits + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)


def prints(logits: Any) -> Any:
    tf.print("x", output_stream="file:///tmp/never-written")
    return logits


def calls_python(logits: Any) -> Any:
    return tf.ensure_shape(tf.numpy_function(lambda x: x, [logits], tf.float32), logits.shape)


def saves(logits: Any) -> Any:
    tf.raw_ops.SaveV2(
        prefix="/tmp/never-written", tensor_names=["x"], shape_and_slices=[""], tensors=[tf.constant(1.0)]
    )
    return logits


def lists(logits: Any) -> Any:
    return logits + tf.cast(tf.size(tf.io.matching_files("/etc/*")), tf.float32)


@pytest.mark.parametrize(
    ("evil", "operation"),
    [
        (writes, "WriteFile"),
        (reads, "ReadFile"),
        (prints, "PrintV2"),
        (calls_python, "PyFunc"),
        (saves, "SaveV2"),
        (lists, "MatchingFiles"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_graph_with_other_operations_is_refused(evil: Callable[[Any], Any], operation: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=operation):
        graph_allowlist.check(bright.save(tmp_path, 60, evil))
    assert not Path("/tmp/never-written").exists()


def test_other_signatures_are_refused(tmp_path: Path) -> None:
    module = tf.Module()
    module.double = tf.function(lambda x: {"y": 2 * x}, input_signature=[tf.TensorSpec((None,), tf.float32, "x")])
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.double})
    with pytest.raises(RefusedError) as caught:
        graph_allowlist.check(tmp_path)
    assert any("no signature predict_bytes" in line for line in caught.value.lines())
    assert any("signature serving_default has" in line for line in caught.value.lines())


@pytest.mark.parametrize("data", [b"", b"no graph", b"\x0a\xff\xff\xff\xff\x0f"])
def test_a_file_without_a_graph_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(data)
    with pytest.raises(RefusedError):
        graph_allowlist.check(tmp_path)


def test_a_graph_of_tensorflow_1_whose_saver_would_run_is_refused(dark: Path, tmp_path: Path) -> None:
    """Without an object graph, loading runs `restore_op_name`, which may be any operation."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    proto = SavedModel.FromString((dark / "saved_model.pb").read_bytes())
    proto.meta_graphs[0].ClearField("object_graph_def")
    (tmp_path / "saved_model.pb").write_bytes(proto.SerializeToString())
    with pytest.raises(RefusedError, match="TensorFlow 1"):
        graph_allowlist.check(tmp_path)
