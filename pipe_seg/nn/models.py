"""The network: a functional UNet that maps 0…255 RGB frames to float32 logits."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from keras import ops

from pipe_seg.config import ModelSection
from pipe_seg.errors import ConfigError, Problem
from pipe_seg.nn import encoders
from pipe_seg.nn.normalization import FusedBatchNormalization

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def build(section: ModelSection, *, precision: str = "float32", folded: bool = False) -> keras.Model:
    """Returns a UNet (Ronneberger et al., arXiv 1505.04597) that ends in logits.

    Args:
        section: Width, depth, normalisation and encoder.
        precision: ``float32`` or ``bfloat16``, in which the convolutions compute. Weights and logits are float32.
        folded: Whether to leave out batch normalisation and give its convolutions a bias; ``folding.fold`` fills this
            form for inference.

    Returns:
        A functional model: ``image`` `(batch, height, width, 3)` float32, 0…255 RGB, any height and width →
        ``logits`` `(batch, height, width, 1)` float32.
    """
    style = _Style(section, POLICIES[precision], folded)
    image = keras.Input((None, None, 3), name="image", dtype="float32")
    *skips, x = style.features(image)
    if section.dropout:
        x = keras.layers.SpatialDropout2D(section.dropout, name="dropout", dtype=style.dtype)(x)
    for level in reversed(range(len(skips))):
        x = style.up(x, skips[level], section.width << level, f"decoder_{level}")
    logits = keras.layers.Conv2D(1, 1, name="head", dtype="float32")(x)
    logits = CropLike(name="logits", dtype="float32")([logits, image])
    return keras.Model(image, logits, name="unet")


def load_weights(network: keras.Model, path: Path) -> None:
    """Loads all weights of ``network`` from a Keras weights file.

    Raises:
        ConfigError: the file belongs to another network or is broken. Keras only warns of some of these and keeps
            the initial weights.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            network.load_weights(path)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        cure = "weights of a run with the same model section"
        raise ConfigError(Problem(path, "weights do not fit this network", expected=cure)) from error


@dataclass(frozen=True)
class _Style:
    """Settings and block builders that all blocks of one network share."""

    section: ModelSection
    dtype: str
    folded: bool

    def features(self, image: Any) -> list[Any]:
        """Returns the encoder's tensors from full size (None where there is none) to the smallest."""
        if self.section.encoder in ("plain", "residual"):
            return self.unet_features(image)
        padded = PadToMultiple(2**encoders.HALVINGS, name="pad", dtype="float32")(image)
        if self.section.encoder == encoders.LITE0:
            return [None, *encoders.lite0(padded, self.pretrained_block, self.dtype)]
        return [None, *encoders.application(self.section.encoder, padded, self.dtype)]

    def unet_features(self, image: Any) -> list[Any]:
        section = self.section
        x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling", dtype="float32")(image)
        x = PadToMultiple(2**section.depth, name="pad", dtype="float32")(x)
        x = keras.layers.Activation("linear", name="cast", dtype=self.dtype)(x)
        features = []
        for level in range(section.depth):
            features.append(self.encode(x, section.width << level, f"encoder_{level}"))
            x = keras.layers.MaxPooling2D(2, name=f"pool_{level}", dtype=self.dtype)(features[-1])
        return [*features, self.encode(x, section.width << section.depth, "bottleneck")]

    def encode(self, x: Any, filters: int, name: str) -> Any:
        if self.section.encoder == "plain":
            return self.conv_pair(x, filters, name)
        shortcut = self.conv_norm(x, filters, f"{name}_shortcut", size=1, activation=False)
        x = self.conv_norm(x, filters, f"{name}_conv_0")
        x = self.conv_norm(x, filters, f"{name}_conv_1", activation=False)
        x = keras.layers.Add(name=f"{name}_add", dtype=self.dtype)([x, shortcut])
        return keras.layers.ReLU(name=f"{name}_relu", dtype=self.dtype)(x)

    def up(self, x: Any, skip: Any, filters: int, name: str) -> Any:
        x = keras.layers.Conv2DTranspose(filters, 2, strides=2, name=f"{name}_up", dtype=self.dtype)(x)
        if skip is not None:
            x = keras.layers.Concatenate(name=f"{name}_concat", dtype=self.dtype)([skip, x])
        return self.conv_pair(x, filters, name)

    def conv_pair(self, x: Any, filters: int, name: str) -> Any:
        x = self.conv_norm(x, filters, f"{name}_conv_0")
        return self.conv_norm(x, filters, f"{name}_conv_1")

    def conv_norm(self, x: Any, filters: int, name: str, *, size: int = 3, activation: bool = True) -> Any:
        fold = self.folded and self.section.norm == "batch"
        fused_relu = "relu" if fold and activation else None
        x = keras.layers.Conv2D(
            filters,
            size,
            padding="same",
            use_bias=fold,
            activation=fused_relu,
            kernel_initializer="he_normal",
            name=name,
            dtype=self.dtype,
        )(x)
        if fold:
            return x
        x = self.norm(filters, f"{name}_norm")(x)
        return keras.layers.ReLU(name=f"{name}_relu", dtype=self.dtype)(x) if activation else x

    def pretrained_block(self, x: Any, name: str, layer: Any, arguments: dict[str, Any], activation: str | None) -> Any:
        """Returns ``x`` after one layer of a pretrained encoder, which always has batch normalisation."""
        depthwise = layer is keras.layers.DepthwiseConv2D and not self.folded
        dtype = "float32" if depthwise else self.dtype
        x = layer(**arguments, padding="same", use_bias=self.folded, name=name, dtype=dtype)(x)
        if not self.folded:
            x = FusedBatchNormalization(name=f"{name}_norm", dtype=self.dtype)(x)
        return keras.layers.Activation(activation, name=f"{name}_relu", dtype=self.dtype)(x) if activation else x

    def norm(self, filters: int, name: str) -> keras.layers.Layer:
        if self.section.norm == "batch":
            return FusedBatchNormalization(name=name, dtype=self.dtype)
        return keras.layers.GroupNormalization(min(8, filters), name=name, dtype=self.dtype)


@keras.saving.register_keras_serializable("pipe_seg")
class PadToMultiple(keras.layers.Layer):
    """Pads height and width with zeros, below and to the right, to a multiple of ``multiple`` px."""

    def __init__(self, multiple: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, inputs: Any) -> Any:
        """Returns ``inputs`` `(batch, height, width, channels)` padded, or as they are if they fit."""
        height, width = ops.shape(inputs)[1:3]
        below, right = -height % self.multiple, -width % self.multiple
        if isinstance(below, int) and isinstance(right, int) and below == right == 0:
            return inputs
        return ops.pad(inputs, ((0, 0), (0, below), (0, right), (0, 0)))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the padded shape; unknown sides stay unknown."""
        batch, *sides, channels = input_shape
        return (batch, *(None if side is None else side + -side % self.multiple for side in sides), channels)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments of this layer."""
        return {**super().get_config(), "multiple": self.multiple}


@keras.saving.register_keras_serializable("pipe_seg")
class CropLike(keras.layers.Layer):
    """Crops the first input to the height and width of the second: undoes ``PadToMultiple``."""

    def call(self, inputs: list[Any]) -> Any:
        """Returns the first of ``inputs`` cropped to the size of the second."""
        x, reference = inputs
        height, width = ops.shape(reference)[1:3]
        return x[:, :height, :width, :]

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Returns the second input's height and width with the first's batch and channels."""
        x, reference = input_shape
        return (x[0], reference[1], reference[2], x[3])
