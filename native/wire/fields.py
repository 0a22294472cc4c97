"""Leaves of the protobuf readers: varints, lengths, skipping what is not known, comparing bytes.

Used by the readers and by `metadata`. Source: protobuf's encoding guide. Oracle: google.protobuf.
Always: each returned position lies in [position, end], or is HAND_OVER; nothing is computed from a length or tag that
is above VARINT_MAX; whatever google.protobuf refuses is handed over, and some of what it takes (groups, field numbers
above 2^28, tags and lengths of more than five bytes), because nobody's client sends it.
"""

from __future__ import annotations

from typing import Final

from native.inner import inner
from native.wire.codes import HAND_OVER, VARINT_MAX
from native.wire.kernel import Bytes, int64

# Wire types: the low three bits of a tag.
VARINT: Final = 0
FIXED64: Final = 1
LENGTH_DELIMITED: Final = 2
FIXED32: Final = 5

_SMALL_VARINT_BYTES_MAX: Final = 5
_VARINT_BYTES_MAX: Final = 10


@inner("UniTuple(int64, 2)(uint8[::1], int64, int64)")
def small_varint(message: Bytes, position: int, end: int) -> tuple[int, int]:
    """A tag or a length: (value, position after it); the value is HAND_OVER above VARINT_MAX or where it is cut."""
    if position >= end:
        return HAND_OVER, position
    byte = int64(message[position])
    if byte < 0x80:
        return byte, position + 1
    value = byte & 0x7F
    for count in range(1, _SMALL_VARINT_BYTES_MAX):
        if position + count >= end:
            return HAND_OVER, position
        byte = int64(message[position + count])
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return (value if value <= VARINT_MAX else HAND_OVER), position + count + 1
    return HAND_OVER, position


@inner("UniTuple(int64, 2)(uint8[::1], int64, int64)")
def wide_varint(message: Bytes, position: int, end: int) -> tuple[int, int]:
    """A value: (its 64 bits, position after it); the position is HAND_OVER where it is cut or needs more than 64."""
    bits = int64(0)
    for count in range(_VARINT_BYTES_MAX):
        if position + count >= end:
            return bits, HAND_OVER
        byte = int64(message[position + count])
        if count == _VARINT_BYTES_MAX - 1 and byte > 1:
            return bits, HAND_OVER
        bits |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return bits, position + count + 1
    return bits, HAND_OVER


@inner("int64(uint8[::1], int64, int64, int64)")
def skip_field(message: Bytes, position: int, end: int, tag: int) -> int:
    """Position after the value of a field whose number means nothing here, or HAND_OVER."""
    wire_type = tag & 7
    if tag >> 3 == 0:
        return HAND_OVER
    if wire_type == LENGTH_DELIMITED:
        length, position = small_varint(message, position, end)
        if length < 0 or length > end - position:
            return HAND_OVER
        return position + length
    if wire_type == VARINT:
        _bits, position = wide_varint(message, position, end)
        return position
    if wire_type == FIXED64:
        return position + 8 if end - position >= 8 else HAND_OVER
    if wire_type == FIXED32:
        return position + 4 if end - position >= 4 else HAND_OVER
    return HAND_OVER


@inner("boolean(uint8[::1], int64, uint8[::1], int64, int64)")
def bytes_equal(left: Bytes, left_offset: int, right: Bytes, right_offset: int, count: int) -> bool:
    """True where `count` bytes are the same. The caller has checked both ranges."""
    for index in range(count):
        if left[left_offset + index] != right[right_offset + index]:
            return False
    return True


@inner("boolean(uint8[::1], int64, int64)")
def ascii_only(message: Bytes, offset: int, count: int) -> bool:
    """True where no byte has its high bit set, which is the UTF-8 that can be told without decoding it."""
    seen = int64(0)
    for index in range(offset, offset + count):
        seen |= int64(message[index])
    return seen < 0x80


@inner("boolean(uint8[::1], int64, int64)")
def bools_ok(message: Bytes, offset: int, count: int) -> bool:
    """True where each byte is 0 or 1, the only ones that a bool may be made of."""
    seen = int64(0)
    for index in range(offset, offset + count):
        seen |= int64(message[index])
    return seen <= 1
