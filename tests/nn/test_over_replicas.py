"""Batch normalisation over several replicas is that of the whole batch, forward and backward."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

BOTH = """
import numpy as np
import tensorflow as tf
from tests.tiny_training import split_processor
split_processor()
from pipe_seg.nn.normalization import FusedBatchNormalization

rng = np.random.default_rng(0)
x = rng.normal(3, 2, (8, 6, 5, 3)).astype(np.float32)
weight = rng.normal(size=x.shape).astype(np.float32)

def found(strategy):
    with strategy.scope():
        layer = FusedBatchNormalization(dtype="float32")
        layer.build((None, 6, 5, 3))
        layer.gamma.assign([1.0, 0.5, 2.0])
        layer.beta.assign([0.1, 0.2, 0.3])

    def step(x, weight):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(tf.tanh(y) * weight)
        dx, *rest = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
        return y, dx, tf.distribute.get_replica_context().all_reduce("SUM", tf.stack(rest))

    batch = tf.data.Dataset.from_tensor_slices((x, weight)).batch(8)
    batch = next(iter(strategy.experimental_distribute_dataset(batch)))
    y, dx, rest = (strategy.experimental_local_results(v) for v in tf.function(strategy.run)(step, batch))
    return [np.concatenate(y), np.concatenate(dx), rest[0], layer.moving_mean.numpy(), layer.moving_variance.numpy()]

one = found(tf.distribute.OneDeviceStrategy("/cpu:0"))
two = found(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
for a, b in zip(one, two, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
assert np.abs(one[1]).max() > 0.1
"""


@pytest.mark.trials
def test_two_replicas_normalise_as_one_does() -> None:
    done = subprocess.run([sys.executable, "-c", BOTH], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
