"""The bare network in the formats of other runtimes, and how far its masks are from the SavedModel's.

What is converted takes frames as fitted, (batch, height, width, 3) float32, RGB, 0…255, and returns logits
(batch, height, width, 1); ``network.json`` records how the SavedModel calls it and uses its output. The parity
is that of whole masks at the frames' own size: everything around the network stays the same.
"""

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipe_seg import disk
from pipe_seg.data import preprocessing
from pipe_seg.errors import ConfigError, Problem, RefusedError
from pipe_seg.inference import engines
from pipe_seg.inference.postprocessing import Answers, InferenceOptions
from pipe_seg.inference.scoring import score_frames
from pipe_seg.inference.signatures import Predictor
from pipe_seg.nn.scores import Counts, FrameScore, image_mean

PACKAGES = {"onnx": ("tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert",), "openvino": ("openvino",), "keras": ()}
OPSET = 18
FRAMES = 50
MOST_IOU_LOST = 0.005
Frames = Mapping[str, Sequence[dict[str, Any]]]


def check(name: str) -> None:
    """Raises unless the packages that write and run the formats are installed.

    Raises:
        ConfigError: one is missing.
    """
    missing = [package for package in PACKAGES[name] if importlib.util.find_spec(package) is None]
    if missing:
        cure = f"pip install 'pipe-seg[{name}]'"
        raise ConfigError(Problem(f"--format {name}", f"needs {', '.join(missing)}", expected=cure))


def write(
    names: Sequence[str],
    folder: Path,
    *,
    network: Any,
    portable: Answers,
    inference: InferenceOptions,
    frames: Frames,
    int8: bool,
) -> dict[str, dict[str, Any]]:
    """Writes formats into ``folder``; returns file, parity and, of int8, its IoU loss, by format.

    Args:
        names: of ``WRITERS``.
        folder: where the files go.
        network: the Keras network.
        portable: the same in float32, folded and frozen, as the SavedModel holds it.
        inference: how the SavedModel calls it.
        frames: labelled frames by split; masks are compared on those of validation, then of training.
        int8: weights and activations in 8 bits, calibrated on training frames, judged on validation; LiteRT only.

    Raises:
        RefusedError: int8 loses more than ``MOST_IOU_LOST`` of image-mean IoU.
    """
    exact, some = Predictor(portable, inference), [*frames["validation"], *frames["train"]][:FRAMES]
    masks = [_mask(exact, example, inference.threshold) for example in some]
    calibration = _fitted(frames["train"], inference) if int8 else None
    told: dict[str, dict[str, Any]] = {}
    for name in names:
        file, answers = WRITERS[name](folder, network, exact, inference, calibration)
        other = Predictor(answers, inference)
        ious = [_iou(mask, _mask(other, e, inference.threshold)) for mask, e in zip(masks, some, strict=True)]
        told[name] = {"file": file, "frames": len(ious), "int8": int8}
        told[name] |= {"mask_iou": round(float(np.mean(ious)), 6), "mask_iou_least": round(min(ious), 6)}
        if int8:
            lost = round(_lost(exact, other, frames["validation"], inference.threshold), 6)
            told[name]["iou_lost"] = lost
            if lost > MOST_IOU_LOST:
                what = f"int8 loses more than {MOST_IOU_LOST} of IoU"
                raise RefusedError(Problem(folder / file, what, got=lost, expected="float, without --int8"))
    disk.write_json(folder / "network.json", {**asdict(inference), "input": "RGB, 0…255", "output": "logits"})
    return told


def _mask(predictor: Predictor, example: Mapping[str, Any], threshold: float) -> np.ndarray:
    return np.asarray(predictor.probability(example["image"])) >= np.float32(threshold)


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the IoU of two masks; 1 of two empty ones."""
    both = int((first & second).sum())
    iou = Counts(both, int(second.sum()) - both, int(first.sum()) - both).iou
    return image_mean([iou], "one")


def _lost(exact: Predictor, other: Predictor, examples: Sequence[dict[str, Any]], threshold: float) -> float:
    """Returns by how much image-mean IoU against the labels falls."""
    scores: list[list[FrameScore]] = [score_frames(asked.probability, examples) for asked in (exact, other)]
    before, after = (image_mean([frame.counts(threshold).iou for frame in frames], "skip") for frames in scores)
    return before - after


def _fitted(examples: Sequence[dict[str, Any]], inference: InferenceOptions) -> Callable[[], Iterator[list[Any]]]:
    """Returns frames as the network sees them, to calibrate with."""

    def fitted() -> Iterator[list[Any]]:
        for example in examples:
            image = preprocessing.letterbox(preprocessing.decode(example["image"]), inference.size)
            yield [tf.cast(image, tf.float32)[None]]

    return fitted


Written = tuple[str, Answers]
Calibration = Callable[[], Iterator[list[Any]]] | None


def _onnx(
    folder: Path, _network: Any, exact: Predictor, inference: InferenceOptions, _calibration: Calibration
) -> Written:
    import onnxruntime
    import tf2onnx

    file = "network.onnx"
    tf2onnx.convert.from_function(
        exact.network, exact.network.input_signature, opset=OPSET, output_path=str(folder / file)
    )
    session = onnxruntime.InferenceSession(str(folder / file), providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in session.get_inputs())
    return file, engines.outside(lambda frames: session.run(None, {name: frames})[0], inference.size)


def _openvino(
    folder: Path, _network: Any, exact: Predictor, inference: InferenceOptions, _calibration: Calibration
) -> Written:
    import openvino

    file = "network.xml"
    with engines.alone(exact.network) as scratch:
        openvino.save_model(openvino.Core().read_model(scratch), str(folder / file), compress_to_fp16=False)
    return file, engines.compiled(folder / file, "f32", inference.size)


def _litert(
    folder: Path, _network: Any, exact: Predictor, inference: InferenceOptions, calibration: Calibration
) -> Written:
    from ai_edge_litert.interpreter import Interpreter

    file = "network.tflite"
    with engines.alone(exact.network) as scratch:
        converter = tf.lite.TFLiteConverter.from_saved_model(scratch)
        if calibration:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = calibration
        (folder / file).write_bytes(converter.convert())
    interpreter = Interpreter(str(folder / file))
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()

    def answer(frames: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(given["index"], frames.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], frames)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(wanted["index"]))

    return file, engines.outside(answer, inference.size)


def _keras(
    folder: Path, network: Any, _exact: Predictor, _inference: InferenceOptions, _calibration: Calibration
) -> Written:
    import keras

    file = "network.keras"
    network.save(folder / file)
    again = keras.saving.load_model(folder / file, compile=False)
    return file, lambda frames: again(frames, training=False)


WRITERS: dict[str, Callable[..., Written]] = {"onnx": _onnx, "openvino": _openvino, "litert": _litert, "keras": _keras}
