"""Makes the C library's allocator keep the memory that a training step frees, for the next step."""

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # <malloc.h>
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tells glibc to serve large blocks from its heap and not to give them back; whether it was told.

    By default glibc maps a block of megabytes when torch asks for it and unmaps it when torch frees it, in each step
    anew, and the kernel must fill its pages with zeros each time; `simulations/benchmarks/allocator.py` measures what
    that costs. Nothing is done with another C library, or where the environment says how glibc is to allocate.
    """
    own_settings = [name for name in os.environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"]
    if platform.libc_ver()[0] != "glibc" or own_settings:
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_MMAP_MAX, 0) and libc.mallopt(_TRIM_THRESHOLD, _LARGEST))
