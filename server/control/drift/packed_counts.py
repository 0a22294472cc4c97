"""Packed counts: arrays of counts as bytes for the disk. Pure.

Each count as a little-endian base-128 number (LEB128: seven bits a byte, the top bit says that more follow), row after
row, then deflated: most counts of a minute take one byte before, and half of one after. zlib's checksum finds damage.
"""

from __future__ import annotations

import zlib
from typing import Final

import numpy as np

from server.control.drift.windows import Counts, sealed

LEVEL: Final = 6
BYTES_MAX: Final = 9  # of one count: 63 bits
MORE: Final = 0x80


def packed(counts: Counts) -> bytes:
    """Bytes of int64[G, T], none of them negative."""
    numbers = counts.astype(np.uint64).ravel()
    widths = np.ones(numbers.size, dtype=np.int64)
    rest = numbers >> np.uint64(7)
    while rest.any():
        widths += rest > 0
        rest >>= np.uint64(7)
    starts = np.cumsum(widths) - widths
    out = np.empty(int(widths.sum()), dtype=np.uint8)
    for place in range(int(widths.max(initial=0))):
        has = widths > place
        part = (numbers[has] >> np.uint64(7 * place)) & np.uint64(MORE - 1)
        out[starts[has] + place] = part | np.where(widths[has] > place + 1, MORE, 0).astype(np.uint64)
    return zlib.compress(out.tobytes(), LEVEL)


def unpacked(data: bytes, bins: int, rows_max: int) -> Counts:
    """int64[G, bins] with 1 <= G <= rows_max. Raises ValueError for anything but what `packed` makes."""
    inflate = zlib.decompressobj()
    try:
        raw = np.frombuffer(inflate.decompress(data, BYTES_MAX * bins * rows_max + 1), dtype=np.uint8)
    except zlib.error as error:
        raise ValueError(f"counts: expected what was packed, got {error}") from error
    if not inflate.eof:
        raise ValueError(f"counts: expected at most {rows_max} rows of {bins} bins, got more, or a part of them")
    ends = np.flatnonzero(raw < MORE) + 1
    widths = np.diff(ends, prepend=0)
    if bins < 1 or ends.size == 0 or ends.size % bins or ends.size > bins * rows_max or ends[-1] != raw.size:
        raise ValueError(f"counts: expected at most {rows_max} rows of {bins} bins, got {ends.size} numbers")
    if widths.max() > BYTES_MAX:
        raise ValueError(f"counts: expected at most {BYTES_MAX} bytes for each, got {widths.max()}")
    starts = ends - widths
    places = np.arange(raw.size) - np.repeat(starts, widths)
    parts = (raw & (MORE - 1)).astype(np.int64) << (7 * places)
    return sealed(np.add.reduceat(parts, starts).reshape(-1, bins))
