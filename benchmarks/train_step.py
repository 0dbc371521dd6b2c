"""Training step: our UNet against the same network in PyTorch, interleaved in one run.

    python benchmarks/train_step.py --torch-python /path/to/venv/bin/python

PyTorch lives in an environment of its own (``pip install torch numpy``). Both do the same work: width 32,
256 x 256, batch 4, cross-entropy, AdamW; PyTorch in bfloat16 autocast, channels_last, compiled and not.
The two take turns, so a machine that slows down slows both. Prints images a second and ratios.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path

from turns import Process, compare, work

WIDTH, DEPTH, SIZE, BATCH = 32, 4, 256, 4


def ours() -> Callable[[], None]:
    import numpy as np
    import tensorflow as tf

    from pipe_seg import devices
    from pipe_seg.components.trainer.loop import Loop
    from pipe_seg.config import Bce, Config, DatasetSection, ModelSection

    config = Config(model=ModelSection(width=WIDTH, depth=DEPTH, dropout=0.0))
    recipe = DatasetSection(batch_size=BATCH, criterion=Bce())
    precision, strategy = devices.precision("auto"), devices.strategy("one")
    loop = Loop(config, recipe, steps=10_000, batch_size=BATCH, precision=precision, strategy=strategy)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)
    target = (rng.random((BATCH, SIZE, SIZE, 2)) < 0.5).astype(np.uint8)
    told = {"mask": target, "boxes": np.zeros((BATCH, 1, 5), np.float32), "weight": np.ones(BATCH, np.float32)}
    iterator = iter(tf.data.Dataset.from_tensors((image, told)).repeat())
    return lambda: loop.steps(iterator, tf.constant(1)).numpy()


def torch_step(compiled: bool) -> Callable[[], None]:
    import torch
    from torch import nn

    class Block(nn.Sequential):
        def __init__(self, inside: int, outside: int) -> None:
            layers = []
            for channels in (inside, outside):
                layers += [
                    nn.Conv2d(channels, outside, 3, padding=1, bias=False),
                    nn.BatchNorm2d(outside),
                    nn.ReLU(True),
                ]
            super().__init__(*layers)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [WIDTH << level for level in range(DEPTH + 1)]
            self.down = nn.ModuleList(Block(a, b) for a, b in zip([3, *widths], widths, strict=False))
            self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in itertools.pairwise(widths))
            self.join = nn.ModuleList(Block(2 * a, a) for a in widths[:-1])
            self.head = nn.Conv2d(WIDTH, 1, 1)

        def forward(self, x):
            skips = []
            for level, block in enumerate(self.down):
                x = block(x)
                if level < DEPTH:
                    skips.append(x)
                    x = nn.functional.max_pool2d(x, 2)
            for level in reversed(range(DEPTH)):
                x = self.join[level](torch.cat([skips[level], self.up[level](x)], 1))
            return self.head(x)

    model = UNet().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    forward = torch.compile(model) if compiled else model
    image = torch.rand(BATCH, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    target = (torch.rand(BATCH, 1, SIZE, SIZE) < 0.5).float()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            logits = forward(image)
        nn.functional.binary_cross_entropy_with_logits(logits.float(), target).backward()
        optimizer.step()

    return step


WORKERS = {"ours": ours, "torch": lambda: torch_step(False), "torch compiled": lambda: torch_step(True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", type=Path, help="the interpreter that has torch")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--worker", choices=list(WORKERS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(WORKERS[arguments.worker]())
        return
    names = list(WORKERS) if arguments.torch_python else ["ours"]
    pythons = {name: sys.executable if name == "ours" else str(arguments.torch_python) for name in names}
    sides = {name: [Process([python, __file__, "--worker", name])] for name, python in pythons.items()}
    rates = {name: BATCH / seconds for name, seconds in compare(sides, arguments.steps).items()}
    for name, rate in rates.items():
        print(f"{name:<16}{rate:7.2f} images/s   ours is {rates['ours'] / rate:.2f} x")
    print(json.dumps(rates))


if __name__ == "__main__":
    main()
