"""Memory that was freed stays with the process: networks ask for the same megabytes at every layer."""

import ctypes
import sys
from functools import cache
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
KEPT: Final = 1 << 30
"""Bytes; blocks up to that size are not given back to the system when they are freed."""


@cache
def keep_freed_memory() -> bool:
    """Tell glibc's allocator not to give large blocks back, once a process; False where there is no glibc.

    By default it maps each map of an image anew, which the system fills with zeros first: half of the time that a network takes
    for a whole image.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, KEPT)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))
