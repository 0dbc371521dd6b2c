"""How large a part of a batch fits into memory, found by trying.

Every size is tried in a process of its own, which may run out of memory, or be ended for it, without harm.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import yaml

from pipe_seg import devices
from pipe_seg.components.trainer import global_batch_size
from pipe_seg.components.trainer.loop import Loop
from pipe_seg.config import Config
from pipe_seg.data.targets import BOXES
from pipe_seg.errors import ConfigError, MachineError, Problem

GIB = 2**30
LOOK_EVERY_S = 0.005
TRIED_STEPS = 2
CGROUP = Path("/sys/fs/cgroup")
TOO_MUCH = (MachineError.exit_code, -signal.SIGKILL, -signal.SIGABRT)


def parts(config: Config, name: str, log: Callable[[str], None]) -> int:
    """Returns the fewest equal parts that a batch of ``name``'s recipe must be split into to fit.

    Raises:
        MachineError: not even one image at a time fits.
        ConfigError: several workers, which would have to agree on it.
    """
    if config.trainer.strategy == "multiworker":
        raise ConfigError(
            Problem("--batch-size", "cannot be found by several workers", got="auto", expected="a number")
        )
    batch_size = config.dataset(name).batch_size
    limit = round((config.trainer.memory_gib or free_gib()) * GIB)
    for number in (number for number in range(1, batch_size + 1) if batch_size % number == 0):
        command = [sys.executable, "-m", __name__, name, str(number), str(limit)]
        done = subprocess.run(command, input=config.to_yaml(), text=True, capture_output=True, check=False)
        size = batch_size // number
        if done.returncode == 0:
            whole = "" if number == 1 else f"; each batch of {batch_size} is computed in {number} parts"
            log(f"{size} images at a time fit into {limit / GIB:.1f} GiB ({done.stdout.strip()} GiB used){whole}")
            return number
        if done.returncode not in TOO_MUCH:
            raise RuntimeError(f"trying {size} images ended with {done.returncode}:\n{done.stderr}")
        log(f"{size} images at a time do not fit into {limit / GIB:.1f} GiB")
    cure = "a smaller transform.image_*_px or model.width, or more memory"
    raise MachineError(Problem(name, "not even one image at a time fits", got=f"{limit / GIB:.1f} GiB", expected=cure))


def free_gib() -> float:
    """Returns the memory this process may still take: the machine's free memory or its group's, if less."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text("utf-8").splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    try:
        most, used = ((CGROUP / f"memory.{what}").read_text("utf-8").strip() for what in ("max", "current"))
        free = min(free, int(most) - int(used))
    except (OSError, ValueError):
        pass
    return free / GIB


def main(name: str, number: str, limit: str) -> None:
    """Take steps on blank images with the configuration on stdin; print the GiB used, or end with 4."""
    threading.Thread(target=_guard, args=(int(limit),), daemon=True).start()
    told = yaml.safe_load(sys.stdin.read())
    told["trainer"]["accumulate"] = int(number)
    config = Config.model_validate(told)
    strategy, precision = devices.strategy(config.trainer.strategy), devices.precision(config.trainer.precision)
    size = global_batch_size(config, name, strategy, lambda text: None)
    loop = Loop(config, config.dataset(name), steps=9, batch_size=size, precision=precision, strategy=strategy)
    share = size // strategy.num_replicas_in_sync // int(number)
    shape = (share, config.transform.image_height_px, config.transform.image_width_px)
    blank: dict[str, Any] = {"mask": ((*shape, 2), np.uint8), "boxes": ((share, BOXES, 5), np.float32)}
    blank["weight"] = ((share,), np.float32)
    target = {name: np.ones(size, dtype) for name, (size, dtype) in blank.items()}
    image = np.zeros((*shape, 3), np.uint8)
    batches = tf.data.Dataset.from_tensors((image, target)).repeat()
    try:
        loop.steps(
            iter(strategy.distribute_datasets_from_function(lambda _: batches)), tf.constant(TRIED_STEPS)
        ).numpy()
    except (tf.errors.ResourceExhaustedError, MemoryError):
        os._exit(MachineError.exit_code)
    print(f"{_peak() / GIB:.2f}", flush=True)
    os._exit(0)


def _guard(limit: int) -> None:
    while _resident() < limit:
        time.sleep(LOOK_EVERY_S)
    os._exit(MachineError.exit_code)


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _peak() -> int:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
