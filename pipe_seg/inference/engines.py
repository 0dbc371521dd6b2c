"""Runtimes for an exported model: TensorFlow, or OpenVINO, which is faster on a CPU.

The published artifact stays the SavedModel. OpenVINO runs only the network: decoding, letterbox, flipped view,
resizing back, threshold and PNG encoding stay in the TensorFlow graph.
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
PRECISION_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def select_runtime(engine: Engine) -> Runtime:
    """Returns the runtime for `engine`; `auto` is OpenVINO if it is installed and there is no GPU.

    Raises:
        ConfigError: `engine` is `openvino`, which is not installed.
    """
    installed = importlib.util.find_spec("openvino") is not None
    if engine == "openvino" and not installed:
        raise ConfigError(
            Problem("--engine openvino", "OpenVINO is not installed", expected="pip install 'pipe-seg[openvino]'")
        )
    if engine != "auto":
        return engine
    return "openvino" if installed and not tf.config.list_physical_devices("GPU") else "tf"


def _load(saved_model: Path, facts: dict[str, Any], runtime: Runtime) -> LoadedModel:
    """Loads a SavedModel; a model that OpenVINO cannot run raises MachineError."""
    if runtime == "tf":
        return LoadedModel(saved_model)
    try:
        hint, options = PRECISION_HINTS[facts["precision"]], inference_options(facts)
        return LoadedModel(saved_model, lambda network: openvino(network, hint), options)
    except (AttributeError, KeyError) as error:
        cure = "a model exported by this version, or --engine tf"
        raise MachineError(Problem(saved_model, f"OpenVINO cannot run this model: {error}", expected=cure)) from error


def load_model(model: Model, engine: Engine) -> LoadedModel:
    """Loads an exported model; `auto` falls back to TensorFlow where OpenVINO cannot run the model."""
    try:
        facts = model.facts
    except MachineError:
        facts = {}  # a bare SavedModel, which TensorFlow can run
    return load_with_fallback(model.saved_model, facts, engine)[0]


def load_with_fallback(saved_model: Path, facts: dict[str, Any], engine: Engine) -> tuple[LoadedModel, Runtime]:
    """Loads a SavedModel as `load_model` does.

    Args:
        saved_model: Folder of the SavedModel.
        facts: What the model's artifact or manifest records: precision, size, threshold and so on.
        engine: The configured runtime.

    Returns:
        The loaded model and the runtime that it uses.

    Raises:
        ConfigError: `engine` is `openvino`, which is not installed.
        MachineError: The model cannot be loaded.
    """
    runtime = select_runtime(engine)
    try:
        return _load(saved_model, facts, runtime), runtime
    except MachineError:
        if engine != "auto" or runtime == "tf":
            raise
        return _load(saved_model, facts, "tf"), "tf"


def inference_options(facts: dict[str, Any]) -> InferenceOptions:
    """Returns the inference options that the export recorded."""
    if facts.get("tile_scale", 1) != 1:
        raise KeyError("tile_scale: frames in tiles, of an earlier version")
    height, width = facts["size_px"]
    return InferenceOptions((height, width), facts["flip"], facts["threshold"], facts["min_component_fraction"])


def openvino(network: Any, hint: str) -> Answers:
    """Compiles a network for the CPU; `hint` is OpenVINO's inference precision, `f32` or `bf16`."""
    height, width = network.input_signature[0].shape[1:3]
    with alone(network) as folder:
        return compiled(folder, hint, (height, width))


def compiled(path: str | Path, hint: str, size: tuple[int, int]) -> Answers:
    """Compiles a network from a SavedModel or an OpenVINO file, as `openvino` does.

    `Core` reads the file because `convert_model` sends usage telemetry.
    """
    from openvino import Core

    settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    model = Core().compile_model(str(path), "CPU", settings)
    return outside(lambda frames: model(frames)[0], size)


@contextmanager
def alone(network: Any) -> Iterator[str]:
    """Yields a temporary folder with a SavedModel of the network without pre- and post-processing."""
    module = tf.Module()
    module.network = network
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={SIGNATURE_ARRAYS: network})
        yield folder


def outside(answer: Any, size: tuple[int, int]) -> Answers:
    """Returns a NumPy function as a graph function, `(batch, height, width, 3)` to `(…, 1)` float32."""

    def logits(frames: Any) -> Any:
        answers = tf.numpy_function(lambda array: np.ascontiguousarray(answer(array), np.float32), [frames], tf.float32)
        return tf.ensure_shape(answers, (None, *size, 1))

    return logits
