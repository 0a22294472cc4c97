"""Memory that ends at a page nobody may touch, so that a read one byte too far is a segmentation fault, not a value.

Used by the fuzzers: the compiler of the kernels has no address sanitizer.
Always: the bytes handed out end exactly at the guarded page.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

_PROT_NONE = 0
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class GuardedMemory:
    """`size_max` bytes, rounded up to pages, and a page that cannot be touched behind them."""

    def __init__(self, size_max: int) -> None:
        self._usable_bytes = -(-size_max // mmap.PAGESIZE) * mmap.PAGESIZE
        self._map = mmap.mmap(-1, self._usable_bytes + mmap.PAGESIZE)
        whole = np.frombuffer(self._map, dtype=np.uint8)
        self._usable = whole[: self._usable_bytes]
        if _LIBC.mprotect(whole.ctypes.data + self._usable_bytes, mmap.PAGESIZE, _PROT_NONE) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")

    def last(self, count: int) -> npt.NDArray[Any]:
        """The last `count` bytes before the guarded page, writable."""
        return self._usable[self._usable_bytes - count :]

    def flush_with(self, content: bytes) -> npt.NDArray[Any]:
        """The content, placed so that its last byte is the last that may be read."""
        array = self.last(len(content))
        array[:] = np.frombuffer(content, dtype=np.uint8)
        return array
