"""Which bucket of a histogram a value falls into: for the kernels that count latencies and batch rows."""

from __future__ import annotations

from numba import njit

from native.plane.counters import LATENCY_BUCKETS, LATENCY_FIRST_BITS, ROWS_BUCKETS


@njit("int64(int64)", nogil=True, cache=True, error_model="numpy")
def latency_bucket(latency_ns: int) -> int:
    """0 to LATENCY_BUCKETS - 1: the first b with latency_ns <= 2^(b + 10), the last where there is none.

    A clock that stepped back (a negative latency) counts in bucket 0.
    """
    bucket = 0
    bound = 1 << LATENCY_FIRST_BITS
    while bucket < LATENCY_BUCKETS - 1 and latency_ns > bound:
        bound <<= 1
        bucket += 1
    return bucket


@njit("int64(int64)", nogil=True, cache=True, error_model="numpy")
def rows_bucket(rows: int) -> int:
    """0 to ROWS_BUCKETS - 1: the first b with rows <= 2^b, the last where there is none."""
    bucket = 0
    bound = 1
    while bucket < ROWS_BUCKETS - 1 and rows > bound:
        bound <<= 1
        bucket += 1
    return bucket
