"""Freed memory is kept for the next step, where the system's allocator gives it back at once.

glibc takes each large block anew from the kernel, which fills it with zeros page by page, and
returns it when it is freed. A training asks for the same large blocks thousands of times.
"""

from __future__ import annotations

import ctypes
import platform

# From glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_NEVER = -1
_STEP_BYTES = 64 * 2**20


def keep_memory() -> bool:
    """Keep what this process frees until it ends; return whether the allocator can be told so."""
    if platform.libc_ver()[0] != "glibc":
        return False
    set_option = ctypes.CDLL(None).mallopt
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _STEP_BYTES))
    return all(set_option(name, value) == 1 for name, value in settings)
