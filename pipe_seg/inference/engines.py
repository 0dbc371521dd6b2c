"""Which runtime answers: TensorFlow, or OpenVINO, which is quicker on a processor.

The SavedModel stays what is published; OpenVINO takes over its bare network, and everything around it (decoding,
letterbox, mirrored view, resizing back, threshold, PNG) stays the same graph.
"""

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from pipe_seg.artifacts import Model
from pipe_seg.errors import ConfigError, MachineError, Problem
from pipe_seg.inference.postprocessing import Answers, InferenceOptions
from pipe_seg.inference.saved_model import LoadedModel
from pipe_seg.schema import SIGNATURE_ARRAYS

Runtime = Literal["tf", "openvino"]
Engine = Literal["auto", "tf", "openvino"]
HINTS = {"float32": "f32", "bfloat16": "bf16"}


def chosen(engine: Engine) -> Runtime:
    """Give what ``auto`` means here: OpenVINO where it is installed and there is no GPU.

    Raises:
        ConfigError: OpenVINO was asked for and is not installed.
    """
    installed = importlib.util.find_spec("openvino") is not None
    if engine == "openvino" and not installed:
        raise ConfigError(
            Problem("--engine openvino", "its package is not installed", expected="pip install 'pipe-seg[openvino]'")
        )
    if engine != "auto":
        return engine
    return "openvino" if installed and not tf.config.list_physical_devices("GPU") else "tf"


def _load(saved_model: Path, facts: dict[str, Any], engine: Runtime) -> LoadedModel:
    """Load a SavedModel; ``facts`` is what its artifact or manifest says of it.

    Raises:
        MachineError: it cannot be loaded, or was exported before other runtimes could take it over.
    """
    if engine == "tf":
        return LoadedModel(saved_model)
    try:
        return LoadedModel(
            saved_model, lambda network: openvino(network, HINTS[facts["precision"]]), inference_of(facts)
        )
    except (AttributeError, KeyError) as error:
        cure = "export it again, or --engine tf"
        raise MachineError(Problem(saved_model, f"OpenVINO cannot take it over: {error}", expected=cure)) from error


def load_model(model: Model, engine: Engine) -> LoadedModel:
    """Load an exported model to be asked by ``engine``; ``auto`` comes back to TensorFlow where OpenVINO cannot."""
    try:
        facts = model.facts
    except MachineError:
        facts = {}  # a bare SavedModel, which TensorFlow can ask
    return load_best(model.saved_model, facts, engine)[0]


def load_best(saved_model: Path, facts: dict[str, Any], engine: Engine) -> tuple[LoadedModel, Runtime]:
    """Load a SavedModel as ``load_model`` does; say which runtime it came to."""
    runtime = chosen(engine)
    try:
        return _load(saved_model, facts, runtime), runtime
    except MachineError:
        if engine != "auto" or runtime == "tf":
            raise
        return _load(saved_model, facts, "tf"), "tf"


def inference_of(facts: dict[str, Any]) -> InferenceOptions:
    """Give how a model's network is asked, as written down when it was exported."""
    if facts.get("tile_scale", 1) != 1:
        raise KeyError("tile_scale: frames in tiles, of an earlier version")
    height, width = facts["size_px"]
    return InferenceOptions((height, width), facts["flip"], facts["threshold"], facts["min_component_fraction"])


def openvino(network: Any, hint: str) -> Answers:
    """Compile a network's graph for the processor; ``hint`` is what OpenVINO may compute in, ``f32`` or ``bf16``."""
    height, width = network.input_signature[0].shape[1:3]
    with alone(network) as folder:
        return compiled(folder, hint, (height, width))


def compiled(path: str | Path, hint: str, size: tuple[int, int]) -> Answers:
    """Compile a network in a SavedModel or in OpenVINO's own format, as ``openvino`` does.

    It is read by ``Core``, not by ``convert_model``, which tells its makers of every use.
    """
    from openvino import Core

    settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    model = Core().compile_model(str(path), "CPU", settings)
    return outside(lambda frames: model(frames)[0], size)


@contextmanager
def alone(network: Any) -> Iterator[str]:
    """Give a folder with a SavedModel of a bare network, for as long as the block lasts."""
    module = tf.Module()
    module.network = network
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={SIGNATURE_ARRAYS: network})
        yield folder


def outside(answer: Any, size: tuple[int, int]) -> Answers:
    """Give a function of arrays, (batch, height, width, 3) to logits (…, 1), both float32, as part of a graph."""

    def logits(frames: Any) -> Any:
        answers = tf.numpy_function(lambda array: np.ascontiguousarray(answer(array), np.float32), [frames], tf.float32)
        return tf.ensure_shape(answers, (None, *size, 1))

    return logits
