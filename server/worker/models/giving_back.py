"""Giving a model's bytes back to the system without holding other threads up.

Used once a session was built. Freeing 100 MB of `bytes` holds every thread of a worker for 6 ms, as the system takes
page after page back; asked for through ctypes, it does so beside them. Always: bytes that anybody else can still read
are left alone.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from typing import Final

# Below this, freeing takes less time than asking.
WORTHWHILE_BYTES: Final = 1 << 20
# Of `bytes` that only the caller's one-element list refers to: the list, this module's name, getrefcount's own.
REFERENCES_ALONE: Final = 3


def give_back(owned: list[bytes]) -> bool:
    """Empties the list of its one element, and the memory of it first where nothing else refers to it: then True."""
    content = owned[0]
    if len(content) < WORTHWHILE_BYTES or sys.getrefcount(content) > REFERENCES_ALONE:
        owned.clear()
        return False
    address = ctypes.cast(ctypes.c_char_p(content), ctypes.c_void_p).value or 0
    # Whole pages inside it: its header and what lies around it stay.
    first = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    count = (address + len(content)) // mmap.PAGESIZE * mmap.PAGESIZE - first
    advise = getattr(ctypes.CDLL(None), "madvise", None)
    given = advise is not None and advise(ctypes.c_void_p(first), ctypes.c_size_t(count), mmap.MADV_DONTNEED) == 0
    owned.clear()
    return given
