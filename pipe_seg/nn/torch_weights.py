"""A PyTorch state dict without PyTorch: tensors and nothing else.

A ``.pth`` file of PyTorch before 1.6 is a row of pickles: a magic number, a version, the machine, the state
dict with references to its storages, the storages' keys; then each storage's length and bytes. A pickle may call
anything it names, so the reader knows the names a state dict needs and refuses every other.
"""

import math
import pickle
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from pipe_seg.errors import ConfigError, Problem, RefusedError

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
LARGEST = 2**28
ZIP = b"PK\x03\x04"

# What reading a damaged pickle may raise.
DAMAGED = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


class _Tensor:
    """A view of a storage that is read later."""

    def __init__(
        self, storage: "_Storage", offset: int, shape: Sequence[int], strides: Sequence[int], *_rest: Any
    ) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, tuple(shape), tuple(strides)

    def array(self) -> np.ndarray:
        reach = sum((side - 1) * stride for side, stride in zip(self.shape, self.strides, strict=True))
        inside = min(self.shape, default=1) > 0 and min((self.offset, *self.strides)) >= 0
        inside &= math.prod(self.shape) <= self.storage.values.size  # none of its values stands for many
        if not inside or self.offset + reach >= self.storage.values.size:
            raise ValueError("a tensor that reaches beyond its storage")
        steps = [stride * self.storage.dtype.itemsize for stride in self.strides]
        values = np.lib.stride_tricks.as_strided(self.storage.values[self.offset :], self.shape, steps)
        return np.ascontiguousarray(values).reshape(self.shape)


class _Storage:
    """So many values of one type; empty until the file's end is read."""

    def __init__(self, dtype: np.dtype, size: int) -> None:
        self.dtype, self.size, self.values = dtype, size, np.zeros(0, dtype)


class _Unpickler(pickle.Unpickler):
    """Makes tensors, ordered mappings and plain values."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise pickle.UnpicklingError(f"it calls {module}.{name}")

    def persistent_load(self, reference: Any) -> _Storage:
        kind, dtype, key, _, size, view = reference
        if kind != "storage" or view is not None or not 0 <= size <= LARGEST:
            raise pickle.UnpicklingError(f"a reference to {kind} {key}")
        return self.storages.setdefault(key, _Storage(dtype, size))


def read(path: Path) -> dict[str, np.ndarray]:
    """Give the tensors of a state dict saved by PyTorch before 1.6, float32 or int64, by name.

    Raises:
        ConfigError: the file cannot be read, or is of PyTorch since 1.6.
        RefusedError: it is something else, is damaged, or asks for anything but tensors.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(ZIP)) == ZIP:
                cure = "torch.save(state_dict, FILE, _use_new_zipfile_serialization=False)"
                raise ConfigError(Problem(path, "a file of PyTorch since 1.6", expected=cure))
            file.seek(0)
            return _read(file)
    except OSError as error:
        raise ConfigError(Problem(path, f"cannot be read: {error}", expected="a state dict's file")) from error
    except DAMAGED as error:
        _refuse(path, f"{error}")


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    magic, version, _machine = (_Unpickler(file).load() for _ in range(3))
    if (magic, version) != (MAGIC, VERSION):
        raise ValueError("not a state dict of PyTorch before 1.6")
    unpickler = _Unpickler(file)
    tensors = unpickler.load()
    for key in _Unpickler(file).load():
        storage = unpickler.storages[key]
        if int(np.frombuffer(file.read(8), "<i8")[0]) != storage.size:
            raise ValueError("a storage of another size")
        storage.values = np.frombuffer(file.read(storage.size * storage.dtype.itemsize), storage.dtype)
        if storage.values.size != storage.size:
            raise ValueError("cut short")
    return {str(name): tensor.array() for name, tensor in tensors.items()}


def _refuse(path: Path, what: str) -> NoReturn:
    raise RefusedError(Problem(path, f"not weights that can be trusted: {what}", expected="a state dict of tensors"))
