"""Freed memory is kept: blocks as large as a step's tensors are not asked of the kernel again."""

import platform
import subprocess
import sys

import pytest

from pipe_seg.components.trainer import memory

BLOCKS, MIB, PAGE_BYTES = 20, 8, 4096
STEPS = f"""
import ctypes, resource, runpy
keep_freed = runpy.run_path({memory.__file__!r})["keep_freed"]
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def step():
    block = libc.malloc({MIB} << 20)
    ctypes.memset(block, 1, {MIB} << 20)
    libc.free(block)
{{first}}
libc.mallopt(-1, 128 << 10)  # as tf.data does, after training has begun
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({BLOCKS}):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is told")
@pytest.mark.parametrize(("first", "kept"), [("keep_freed()", True), ("", False)])
def test_blocks_are_filled_once(first: str, kept: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STEPS.format(first=first)], stdout=subprocess.PIPE, text=True, check=True
    )
    pages = BLOCKS * (MIB << 20) // PAGE_BYTES
    assert (int(done.stdout) < pages / 10) is kept
