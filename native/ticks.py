"""Ticks: a thread that only wakes up, again and again, so that the system's scheduler looks at its core.

Used by the worker (`server.worker.ticks`). Always: it holds no lock of the interpreter's while it does.
"""

from __future__ import annotations

from numba import njit, types

from native.plane.atomics import load_acquire
from native.plane.layout import Words

PERIOD_US_MAX = 999_999  # usleep(3) need not take more

# Of libc. Its argument comes by value: nanosleep(2) wants an address, which would have to be checked.
_usleep = types.ExternalFunction("usleep", types.int32(types.uint32))


@njit("void(int64[::1])", nogil=True, cache=True, error_model="numpy")
def tick(period_us: Words) -> None:
    """Wakes up every period_us[0], which may change meanwhile, until that is 0 or out of range.

    Returns at once where there is no such word.
    """
    if period_us.size == 0:
        return
    while True:
        us = load_acquire(period_us, 0)
        if us <= 0 or us > PERIOD_US_MAX:
            return
        _usleep(types.uint32(us))
