"""Leaves of the reply writer: varints, and the elements of an output block as the integers a varint carries.

Source: protobuf's encoding guide: a negative int32 or int64 takes ten bytes. Oracle: google.protobuf.
"""

from __future__ import annotations

from typing import Final

from native.inner import inner
from native.wire.datatypes import BOOL, INT8, INT16, INT32
from native.wire.kernel import Bytes, int64

# The 57 low bits that stay after an arithmetic shift by 7, so that a negative value is written as unsigned 64 bits.
_AFTER_SHIFT: Final = (1 << 57) - 1


@inner("int64(int64)")
def varint_bytes(bits: int) -> int:
    """Bytes of the varint that carries these 64 bits, 1 to 10."""
    count = int64(1)
    rest = bits >> 7 & _AFTER_SHIFT
    while rest != 0:
        count += 1
        rest >>= 7
    return count


@inner("int64(uint8[::1], int64, int64)")
def write_varint(out: Bytes, position: int, bits: int) -> int:
    """Writes the varint of these 64 bits; the position after it. The caller has checked that it fits."""
    low = bits & 0x7F
    rest = bits >> 7 & _AFTER_SHIFT
    while rest != 0:
        out[position] = low | 0x80
        position += 1
        low = rest & 0x7F
        rest >>= 7
    out[position] = low
    return position + 1


@inner("int64(uint8[::1], int64, int64, int64)")
def element_at(block: Bytes, offset: int, datatype: int, width: int) -> int:
    """The little-endian element of `width` bytes at `offset`, extended as its datatype has a sign or not."""
    bits = int64(0)
    for byte in range(width):
        bits |= int64(block[offset + byte]) << (8 * byte)
    if datatype == BOOL:
        return int64(1) if bits != 0 else int64(0)
    if datatype in (INT8, INT16, INT32):
        sign = int64(1) << (8 * width - 1)
        return (bits ^ sign) - sign
    return bits
