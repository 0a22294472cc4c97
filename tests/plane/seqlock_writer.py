"""Publishes vectors whose sum is always 0, as fast as it can: with the seqlock, or planted without it.

Run as a process of its own: seqlock_writer.py PLANE_FD seqlock|planted
"""

import sys

import numpy as np
from numba import njit

from native.plane.layout import Plane
from native.plane.seqlock import publish


@njit("void(int64[::1], int64)", nogil=True)
def fill(vector, value):  # type: ignore[no-untyped-def]
    for index in range(vector.size - vector.size % 2):
        vector[index] = value if index % 2 == 0 else -value


@njit("int64(int64[::1], int64[::1], int64[::1], int64, int64)", nogil=True)
def publish_many(private, counters, header, start, rounds):  # type: ignore[no-untyped-def]
    for value in range(start, start + rounds):
        for _ in range(1 + value % 7):  # pauses of various length, in which a whole read fits
            fill(private, value)
        publish(private, counters, header)
    return start + rounds


@njit("int64(int64[::1], int64[::1], int64[::1], int64, int64)", nogil=True)
def store_many(private, counters, header, start, rounds):  # type: ignore[no-untyped-def]
    for value in range(start, start + rounds):
        for _ in range(1 + value % 7):
            fill(private, value)
        for index in range(private.size):
            counters[index] = private[index]
    return start + rounds


def main() -> None:
    block = Plane.attach(int(sys.argv[1])).block(0)
    write = {"seqlock": publish_many, "planted": store_many}[sys.argv[2]]
    private = np.zeros_like(block.counters)
    value = 1
    while True:  # the test ends this process
        value = write(private, block.counters, block.header, value, 100_000)


if __name__ == "__main__":
    main()
