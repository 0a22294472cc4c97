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


@njit("void(int64[::1], int64)", nogil=True, cache=True, error_model="numpy")
def tick(going_on: Words, period_us: int) -> None:
    """Wakes up every `period_us` until going_on[0] is 0. At once where there is none, or for a period out of range."""
    if going_on.size == 0 or period_us <= 0 or period_us > PERIOD_US_MAX:
        return
    while load_acquire(going_on, 0) != 0:
        _usleep(types.uint32(period_us))
