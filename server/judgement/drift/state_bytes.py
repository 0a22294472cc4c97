"""State bytes: how arrays of a state are kept on disk, so that a restart forgets nothing.

Used by `state` and `season`. Layout, little endian: MAGIC, version u16, kind u16, the reference's digest (32 bytes),
number of arrays u32, then of each its length u64 and its float64 values.
Always: bytes that were cut short, of another version, kind or reference are refused, never half read.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np

from server.judgement.drift.layout import Floats

MAGIC: Final = b"RoostDrf"
VERSION: Final = 1
HEAD: Final = struct.Struct("<8sHH32sI")
LENGTH: Final = struct.Struct("<Q")


class BadState(ValueError):
    """The bytes are no state of this kind for this reference. Begin anew: drift is then found as in a first start."""


def pack(kind: int, digest: bytes, arrays: Sequence[Floats]) -> bytes:
    parts = [HEAD.pack(MAGIC, VERSION, kind, digest, len(arrays))]
    for array in arrays:
        parts += [LENGTH.pack(array.size), array.astype("<f8").tobytes()]
    return b"".join(parts)


def unpack(data: bytes, kind: int, digest: bytes, sizes: Sequence[int]) -> list[Floats]:
    """The arrays, float64[size] each, for the sizes that the reader expects. Raises BadState."""
    if len(data) < HEAD.size:
        raise BadState(f"state: expected at least {HEAD.size} bytes, got {len(data)}. Begin anew")
    magic, version, found_kind, found_digest, count = HEAD.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise BadState(f"state: expected version {VERSION} of {MAGIC!r}, got {version} of {magic!r}. Begin anew")
    if found_kind != kind:
        raise BadState(f"state: expected kind {kind}, got {found_kind}. It is another part's; begin anew")
    if found_digest != digest:
        raise BadState("state: expected one of this baseline's bins, got one of others. A new baseline begins anew")
    if count != len(sizes):
        raise BadState(f"state: expected {len(sizes)} arrays, got {count}. Begin anew")
    needed = HEAD.size + sum(LENGTH.size + 8 * size for size in sizes)
    if len(data) != needed:
        raise BadState(f"state: expected {needed} bytes, got {len(data)}. Begin anew")
    arrays, at = [], HEAD.size
    for size in sizes:
        (found,) = LENGTH.unpack_from(data, at)
        if found != size:
            raise BadState(f"state: expected an array of {size} numbers, got {found}. Begin anew")
        at += LENGTH.size
        arrays.append(np.frombuffer(data, dtype="<f8", count=size, offset=at).astype(np.float64))
        at += 8 * size
    return arrays
