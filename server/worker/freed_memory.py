"""Memory that was freed, given back to the system: the C library keeps it for the process otherwise.

Used where much was freed at once: after a model has left a worker, and before a loader forks.
"""

from __future__ import annotations

import ctypes


def trim_memory() -> None:
    """glibc's malloc_trim; other C libraries have no such call, and nothing happens."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
