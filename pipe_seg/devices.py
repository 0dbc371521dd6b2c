"""The devices of this machine, the precision that is fast on them, and the distribution strategy."""

import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipe_seg.errors import ConfigError, Problem

CPU_INFO = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}
BFLOAT16_CAPABILITY = (8, 0)


def precision(wanted: str) -> str:
    """Returns ``float32`` or ``bfloat16``; ``auto`` is bfloat16 if the GPU (else the CPU) has it."""
    if wanted != "auto":
        return wanted
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return "bfloat16" if capability >= BFLOAT16_CAPABILITY else "float32"
    return "bfloat16" if cpu_flags() & BFLOAT16_FLAGS else "float32"


def cpu_flags() -> set[str]:
    """Returns the processor's feature flags; empty if the system does not list them."""
    return set(_cpu_info("flags", "Features").split())


def _cpu_info(*names: str) -> str:
    if not sys.platform.startswith("linux") or not CPU_INFO.is_file():
        return ""
    lines = CPU_INFO.read_text("utf-8", errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(names)), "")


def description() -> str:
    """Returns number and name of the GPUs, or of the processors without a GPU."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        return f"{len(gpus)} x {details.get('device_name', 'GPU')}"
    model = _cpu_info("model name") or platform.processor() or platform.machine()
    return f"{os.cpu_count()} x {model}"


def strategy(name: str, log: Callable[[str], None] = lambda text: None) -> Any:
    """Returns the ``tf.distribute`` strategy of ``auto``, ``one``, ``mirrored`` or ``multiworker``.

    ``auto`` is ``multiworker`` if TF_CONFIG names several workers, ``mirrored`` if there are several GPUs. With several
    workers, call it before any other use of TensorFlow.

    Raises:
        ConfigError: TF_CONFIG is missing or wrong where it is needed.
    """
    multiworker = name == "multiworker" or (name == "auto" and "TF_CONFIG" in os.environ and _workers() > 1)
    if multiworker:
        log(f"waiting for all {_workers()} workers …")
        return tf.distribute.MultiWorkerMirroredStrategy()
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.OneDeviceStrategy(gpus[0].name if gpus else "/cpu:0")


def _workers() -> int:
    """Returns the number of processes that TF_CONFIG names."""
    text = os.environ.get("TF_CONFIG", "")
    cure = 'as {"cluster": {"worker": ["host:port", "host:port"]}, "task": {"type": "worker", "index": 0}}'
    try:
        config = json.loads(text)
        hosts = {kind: config["cluster"][kind] for kind in config["cluster"] if kind in ("chief", "worker")}
        kind, index = config["task"]["type"], int(config["task"]["index"])
        if hosts[kind][index]:
            return sum(len(addresses) for addresses in hosts.values())
    except (ValueError, TypeError, KeyError, IndexError):
        pass
    raise ConfigError(Problem("TF_CONFIG", "does not describe the workers of a training", got=text, expected=cure))
