"""What this machine computes with, and which precision it is quick in."""

import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

CPU_INFO = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}
BFLOAT16_CAPABILITY = (8, 0)


def precision(wanted: str) -> str:
    """Give ``float32`` or ``bfloat16``; ``auto`` is bfloat16 where the GPU, or else the CPU, has it."""
    if wanted != "auto":
        return wanted
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return "bfloat16" if capability >= BFLOAT16_CAPABILITY else "float32"
    return "bfloat16" if cpu_flags() & BFLOAT16_FLAGS else "float32"


def cpu_flags() -> set[str]:
    """Give the processor's feature flags; empty where the system does not tell."""
    if not sys.platform.startswith("linux") or not CPU_INFO.is_file():
        return set()
    lines = CPU_INFO.read_text("utf-8", errors="replace").splitlines()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return set(flags.partition(":")[2].split())


def strategy(name: str) -> Any:
    """Give the ``tf.distribute`` strategy: ``auto`` mirrors over the GPUs where there are several."""
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.OneDeviceStrategy(gpus[0].name if gpus else "/cpu:0")
