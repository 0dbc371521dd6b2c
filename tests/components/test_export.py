"""A trained network as a SavedModel: asked at another size than that at which it learnt."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipe_seg import images
from pipe_seg.config import load
from pipe_seg.data import preprocessing
from pipe_seg.inference.postprocessing import InferenceOptions
from pipe_seg.inference.saved_model import LoadedModel
from pipe_seg.nn import models
from pipe_seg.pipeline import runs as run_folder
from tests.conftest import Command


def test_the_scale_is_one_of_the_size_learnt_at() -> None:
    sizes = ("transform.image_height_px=128", "transform.image_width_px=150")
    for scale, asked in ((1, (128, 150)), (1.25, (160, 188)), (0.5, (64, 75))):
        assert InferenceOptions.of(load(None, (*sizes, f"export.scale={scale}"), unlock=True)).size == asked


def test_a_larger_size_is_what_the_network_is_asked_at(runs: Path, cli: Command, tmp_path: Path) -> None:
    run = run_folder.find_run("last", runs)
    told = cli("export", run.path, "--precision", "float32", "--scale", 1.5, "--out", tmp_path / "model").stdout
    facts = json.loads((tmp_path / "model" / "artifact.json").read_text("utf-8"))["details"]
    assert facts["size_px"] == [96, 120]
    assert facts["threshold_chosen"].startswith("highest image-mean iou")
    assert told.count("IoU") == 2  # before and now
    network = models.build(run.config.model)
    models.load_weights(network, run.trained.weights)
    pixels = np.random.default_rng(1).integers(0, 256, (70, 90, 3)).astype(np.uint8)
    fitted = tf.cast(preprocessing.letterbox(pixels, (96, 120)), tf.float32)[None]
    both = network(fitted), network(fitted[:, :, ::-1])[:, :, ::-1]
    logits = preprocessing.restore((both[0] + both[1]) / 2, 70, 90)
    answered = LoadedModel(tmp_path / "model" / "saved_model").probability(images.encode(pixels[..., ::-1], ".png"))
    assert answered == pytest.approx(tf.sigmoid(logits)[0, ..., 0].numpy(), abs=1e-4)
