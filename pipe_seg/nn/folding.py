"""Batch normalisation folded into the convolutions before it: the same function, fewer passes."""

from typing import Any

import keras
import numpy as np

from pipe_seg.config import ModelSection
from pipe_seg.nn import models


def fold(section: ModelSection, trained: keras.Model, *, precision: str = "float32") -> keras.Model:
    """Returns an inference network whose output equals ``trained`` with ``training=False``.

    Args:
        section: The section from which ``trained`` was built.
        trained: A model from ``models.build``.
        precision: ``float32`` or ``bfloat16``, as in ``models.build``.
    """
    folded = models.build(section, precision=precision, folded=True)
    refill(folded, trained)
    return folded


def refill(folded: keras.Model, trained: keras.Model) -> None:
    """Writes the folded weights of ``trained`` into a network that ``fold`` made."""
    sources = {layer.name: layer for layer in trained.layers}
    for layer in folded.layers:
        if layer.weights:
            layer.set_weights(_folded_weights(sources[layer.name], sources.get(f"{layer.name}_norm"), layer))


def _folded_weights(convolution: Any, norm: Any, target: Any) -> list[np.ndarray]:
    """Returns kernel·γ/√(σ²+ε) and β − μ·γ/√(σ²+ε), or the weights unchanged without batch normalisation."""
    weights = convolution.get_weights()
    if norm is None or len(weights) == len(target.weights):
        return list(weights)
    gamma, beta, mean, variance = (value.astype(np.float64) for value in norm.get_weights())
    scale = gamma / np.sqrt(variance + norm.epsilon)
    # A depthwise kernel (height, width, channels, 1) has its channels on the last axis but one.
    channel_scale = scale[:, None] if isinstance(convolution, keras.layers.DepthwiseConv2D) else scale
    return [(weights[0] * channel_scale).astype(np.float32), (beta - mean * scale).astype(np.float32)]
