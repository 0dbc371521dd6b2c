"""Reads PyTorch state dicts without PyTorch: tensors and nothing else.

A ``.pth`` file of PyTorch before 1.6 is a sequence of pickles: magic number, version, machine, the state dict with
references to its storages, the keys of the storages; then the length and bytes of each storage. A pickle may call
any function it names; this reader allows only the names that a state dict needs.
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
MAX_STORAGE_VALUES = 2**28
ZIP = b"PK\x03\x04"

# Errors that a damaged pickle may raise.
UNPICKLING_ERRORS = (
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
    """A view of a storage, which is filled later."""

    def __init__(
        self, storage: "_Storage", offset: int, shape: Sequence[int], strides: Sequence[int], *_rest: Any
    ) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, tuple(shape), tuple(strides)

    def array(self) -> np.ndarray:
        last_offset = sum((side - 1) * stride for side, stride in zip(self.shape, self.strides, strict=True))
        valid = min(self.shape, default=1) > 0 and min((self.offset, *self.strides)) >= 0
        valid &= math.prod(self.shape) <= self.storage.values.size  # no value is shared by several elements
        if not valid or self.offset + last_offset >= self.storage.values.size:
            raise ValueError("a tensor reaches beyond its storage")
        steps = [stride * self.storage.dtype.itemsize for stride in self.strides]
        values = np.lib.stride_tricks.as_strided(self.storage.values[self.offset :], self.shape, steps)
        return np.ascontiguousarray(values).reshape(self.shape)


class _Storage:
    """Values of one dtype; empty until the end of the file is read."""

    def __init__(self, dtype: np.dtype, size: int) -> None:
        self.dtype, self.size, self.values = dtype, size, np.zeros(0, dtype)


class _Unpickler(pickle.Unpickler):
    """Builds tensors, ordered mappings and plain values; refuses every other class."""

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
        if kind != "storage" or view is not None or not 0 <= size <= MAX_STORAGE_VALUES:
            raise pickle.UnpicklingError(f"it refers to {kind} {key}")
        return self.storages.setdefault(key, _Storage(dtype, size))


def read(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors, float32 or int64 by name, of a state dict saved by PyTorch before 1.6.

    Raises:
        ConfigError: the file cannot be read, or PyTorch 1.6 or later wrote it.
        RefusedError: the file is damaged or holds anything but a state dict of tensors.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(ZIP)) == ZIP:
                cure = "torch.save(state_dict, FILE, _use_new_zipfile_serialization=False)"
                raise ConfigError(Problem(path, "file is from PyTorch 1.6 or later", expected=cure))
            file.seek(0)
            return _read(file)
    except OSError as error:
        raise ConfigError(Problem(path, f"cannot be read: {error}", expected="the file of a state dict")) from error
    except UNPICKLING_ERRORS as error:
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
            raise ValueError("a storage has another size than stated")
        storage.values = np.frombuffer(file.read(storage.size * storage.dtype.itemsize), storage.dtype)
        if storage.values.size != storage.size:
            raise ValueError("the file is truncated")
    return {str(name): tensor.array() for name, tensor in tensors.items()}


def _refuse(path: Path, reason: str) -> NoReturn:
    raise RefusedError(
        Problem(path, f"not loaded, it is not a plain state dict: {reason}", expected="a state dict of tensors")
    )
