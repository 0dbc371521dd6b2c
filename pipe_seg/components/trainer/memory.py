"""Memory that one step frees is kept for the next, which needs the same again."""

import ctypes

M_TOP_PAD, M_MMAP_THRESHOLD = -2, -3
SPARE_BYTES, LARGE_BYTES = 2**28, 2**30


def keep_freed() -> None:
    """Have glibc keep up to 256 MiB of freed blocks; another C library is left as it is.

    tf.data's iterators over replicas set ``M_TRIM_THRESHOLD``, which also ends the growth of the size from which glibc
    asks the kernel for each block: every large tensor of every step would be mapped, zeroed page by page and unmapped.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if not mallopt:
        return
    mallopt(M_TOP_PAD, SPARE_BYTES)
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
