"""A trained model → a SavedModel: batch norm folded, weights frozen, threshold chosen and baked in."""

import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from pipe_seg import artifacts
from pipe_seg.artifacts import Dataset, Model, TrainedModel
from pipe_seg.config import Config
from pipe_seg.data import examples
from pipe_seg.nn import folding, models
from pipe_seg.nn.scores import best_threshold
from pipe_seg.schema import CLASS_NAMES, SIGNATURE_ARRAYS, SIGNATURE_BYTES
from pipe_seg.serving import devices, warmup
from pipe_seg.serving.scoring import score_frames
from pipe_seg.serving.signatures import Predictor

GIVEN = "given in the configuration"


def run(config: Config, *, trained: TrainedModel, tuning: Dataset, out: Path, chosen: str = GIVEN) -> Model:
    """Export ``trained`` with the threshold of the highest image-mean IoU on ``tuning``'s validation split.

    A threshold given in the configuration is taken as it is, and ``chosen`` says where it comes from.
    ``out/saved_model`` answers the signatures ``serving_default`` and ``predict_bytes``; which precision it
    computes in is written into the artifact.
    """
    precision = devices.precision(config.export.precision)
    network = models.build(config.model)
    models.load_weights(network, trained.weights)
    size = (config.transform.image_height_px, config.transform.image_width_px)
    frozen = freeze(folding.fold(config.model, network, precision=precision), size)
    threshold = config.evaluator.threshold
    if threshold == "auto":
        frames = examples.load(tuning.path, "validation").as_numpy_iterator()
        predictor = Predictor(frozen, size)
        threshold = best_threshold(score_frames(predictor.probability, frames))
        chosen = f"highest image-mean iou on {tuning.name}, validation"
    details = {"threshold": threshold, "threshold_chosen": chosen, "precision": precision, "size_px": list(size)}
    inputs = {"trainer": str(trained.path), "tuning": str(tuning.path), "tuning_digest": tuning.digest or ""}
    with artifacts.writing(
        out, component="export", section=config.export.model_dump(), inputs=inputs, details=details
    ) as folder:
        save(Predictor(frozen, size, threshold), folder / "saved_model")
    return Model(out)


def freeze(network: Any, size: tuple[int, int]) -> Any:
    """Give ``network`` as a function of constants: TensorFlow then casts and packs the weights once."""
    signature = [tf.TensorSpec((None, *size, 3), tf.float32, "image")]
    function = tf.function(lambda image: network(image, training=False), input_signature=signature)
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(), lower_control_flow=False)

    def logits(image: Any) -> Any:
        return tf.ensure_shape(frozen(image)[0], (None, *size, 1))

    return logits


def save(predictor: Predictor, target: Path) -> None:
    """Write the SavedModel with both signatures, class labels and TF Serving's warm-up requests."""
    module = tf.Module(name="pipe_seg")
    module.predictor = predictor
    signatures = {SIGNATURE_ARRAYS: predictor.predict_arrays, SIGNATURE_BYTES: predictor.predict_bytes}
    with tempfile.TemporaryDirectory() as scratch:
        labels = Path(scratch) / "labels.txt"
        labels.write_text("".join(f"{name}\n" for name in CLASS_NAMES), "utf-8")
        module.labels = tf.saved_model.Asset(str(labels))
        tf.saved_model.save(module, str(target), signatures=signatures)
    (target / "variables").mkdir(exist_ok=True)
    warmup.write(target)
