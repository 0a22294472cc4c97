"""A worker in whose header callback an exception is planted: a header named `x-planted` raises it.

Started by tests in place of `-m server.worker`.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from native.cache import use_kernel_cache

use_kernel_cache()

import numpy as np
from numba import carray, cfunc

from native.http2 import callbacks, lane
from native.http2.binding import ON_HEADER
from native.lane.layout import LANE_WORDS
from native.pointers import pointer
from native.wire.kernel import int64

NAME_BYTES = len("x-planted")


@cfunc(ON_HEADER)
def planted(session, frame, name, name_bytes, value, value_bytes, flags, user):  # type: ignore[no-untyped-def]
    if name_bytes == NAME_BYTES:
        raise ValueError("planted")
    words = carray(pointer(user), (2,), np.int64)
    block = carray(pointer(words[0]), (LANE_WORDS,), np.int64)
    name_array = carray(pointer(name), (int64(name_bytes),), np.uint8)
    value_array = carray(pointer(value), (int64(value_bytes),), np.uint8)
    return np.int32(callbacks.take_header(block, words[1], name_array, value_array))


make_callbacks = lane.make_callbacks


def make_planted(*addresses: int) -> int:
    return make_callbacks(*(planted.address if each == callbacks.on_header.address else each for each in addresses))


lane.make_callbacks = make_planted  # type: ignore[assignment]

from server.worker.__main__ import main

sys.exit(main())
