"""A trained model → a SavedModel: batch norm folded, weights frozen, operating point included."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from pipe_seg import artifacts, devices
from pipe_seg.artifacts import Dataset, Model, TrainedModel
from pipe_seg.components.export import portable
from pipe_seg.config import Config
from pipe_seg.data import examples, lineage
from pipe_seg.data.lineage import LearntFrames
from pipe_seg.inference import warmup
from pipe_seg.inference.postprocessing import Answers, InferenceOptions
from pipe_seg.inference.scoring import score_frames
from pipe_seg.inference.signatures import Predictor
from pipe_seg.nn import folding, models
from pipe_seg.nn.scores import FrameScore, best_threshold, image_mean, operating_point, threshold_of_recall
from pipe_seg.schema import CLASS_NAMES, SIGNATURE_ARRAYS, SIGNATURE_BYTES

COMPONENT, VERSION = "export", 1
GIVEN = "given in the configuration"
EPOCH, THRESHOLD, BLOB = "epoch", "threshold", "minimum component size"
BLOBS = (0.0, 0.0005, 0.001, 0.002, 0.005, 0.01)


def run(
    config: Config,
    *,
    trained: TrainedModel,
    tuning: Dataset,
    out: Path,
    before: Mapping[str, Any] | None = None,
    formats: Sequence[str] = (),
    int8: bool = False,
) -> Model:
    """Export ``trained`` with the operating point that is best on ``tuning``'s validation split.

    The threshold is that of the highest image-mean IoU, or of ``export.target_recall``; then the component size that
    raises IoU is sought. What the configuration sets is taken as it is; where that comes from an earlier export,
    ``before`` holds how it was chosen. What these frames chose, and which they are, is written down.
    ``out/saved_model`` answers the signatures ``serving_default`` and ``predict_bytes``; which precision it
    computes in is written into the artifact. ``formats`` (see ``portable``) come beside it.
    """
    precision = devices.precision(config.export.precision)
    network = models.build(config.model)
    models.load_weights(network, trained.weights)
    plain = InferenceOptions.of(config)
    exact = freeze(folding.fold(config.model, network, precision="float32"), plain.size)
    frozen = exact
    if precision != "float32":
        frozen = freeze(folding.fold(config.model, network, precision=precision), plain.size)
    point = _chosen(config, frozen, tuning, before)
    threshold = point["threshold"]
    inference = InferenceOptions.of(config, threshold, point["min_component_fraction"])
    details = {
        **point,
        "operating_point": operating_point(_scores(frozen, inference, tuning), threshold, config.evaluator.empty),
        "flip": inference.flip,
        "precision": precision,
        "size_px": list(inference.size),
        "crop_margin": tuning.crop_margin,
    }
    inputs = {"trainer": trained.key or "", "tuning": tuning.key or ""}
    section = config.export.model_dump()
    key_section = {
        **section,
        "threshold": config.evaluator.threshold,
        "empty": config.evaluator.empty,
        "formats": list(formats),
    }
    key = artifacts.key_of(COMPONENT, VERSION, {**key_section, "int8": int8}, inputs)
    with artifacts.writing(
        out, component=COMPONENT, section=section, inputs=inputs, details=details, key=key
    ) as folder:
        save(Predictor(frozen, inference, exact), folder / "saved_model")
        chose = lineage.fingerprints(tuning.path, "validation") if point["chosen"] else lineage.none()
        LearntFrames(LearntFrames.of(trained.path).learnt, chose).write(Model(folder).extras)
        if formats:
            details |= portable.write(
                formats,
                folder,
                network=network,
                portable=exact,
                inference=inference,
                frames=_frames(tuning),
                int8=int8,
            )
    return Model(out)


def _chosen(config: Config, network: Answers, tuning: Dataset, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns threshold, component size, how the threshold was chosen and what validation chose."""
    threshold, blob, recall = (
        config.evaluator.threshold,
        config.export.min_component_fraction,
        config.export.target_recall,
    )
    how, chosen = (before["threshold_chosen"], set(before.get("chosen", ()))) if before else (GIVEN, set())
    chosen |= {EPOCH} if config.trainer.chooses else set()
    if threshold == "auto":
        frames = _scores(network, InferenceOptions.of(config), tuning)
        if not any(frame.positives.sum() for frame in frames):
            how = f"no frame of {tuning.name}, validation, has a defect: nothing could be chosen"
            fraction = 0.0 if blob == "auto" else blob
            return {"threshold": 0.5, "threshold_chosen": how, "min_component_fraction": fraction, "chosen": []}
        threshold = threshold_of_recall(frames, recall) if recall else best_threshold(frames)
        aim = f"highest that finds {recall:g} of the defect's pixels" if recall else "highest image-mean iou"
        how = f"{aim} on {tuning.name}, validation"
        chosen.add(THRESHOLD)
    if recall:
        blob = 0.0
        chosen.discard(BLOB)
    elif blob == "auto":
        blob = _best_component_fraction(config, network, tuning, threshold)
        chosen.add(BLOB)
    return {"threshold": threshold, "threshold_chosen": how, "min_component_fraction": blob, "chosen": sorted(chosen)}


def _frames(tuning: Dataset) -> dict[str, list[dict[str, Any]]]:
    """Returns frames of both splits to compare formats on."""
    loaded = {split: examples.load(tuning.path, split).take(portable.FRAMES) for split in ("validation", "train")}
    return {split: list(frames.as_numpy_iterator()) for split, frames in loaded.items()}


def _scores(network: Answers, inference: InferenceOptions, tuning: Dataset) -> list[FrameScore]:
    frames = examples.load(tuning.path, "validation").as_numpy_iterator()
    predictor = Predictor(network, inference)  # its graphs hold it weakly
    return score_frames(predictor.probability, frames)


def _best_component_fraction(config: Config, network: Answers, tuning: Dataset, threshold: float) -> float:
    """Returns the smallest of ``BLOBS`` with the highest image-mean IoU at ``threshold``."""
    ious = {}
    for blob in BLOBS:
        frames = _scores(network, InferenceOptions.of(config, threshold, blob), tuning)
        ious[blob] = image_mean([frame.counts(threshold).iou for frame in frames], config.evaluator.empty)
    return max(ious, key=lambda blob: (round(ious[blob], 6), -blob))


def freeze(network: Any, size: tuple[int, int]) -> Answers:
    """Returns ``network`` as a function of constants: TensorFlow casts and packs the weights once."""
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
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)  # nobody trains it further
        tf.saved_model.save(module, str(target), signatures=signatures, options=options)
    (target / "variables").mkdir(exist_ok=True)
    warmup.write(target)
