"""Typed contents: elements as packed varints, checked by the readers, decoded into arena columns by `copy_rows`.

Packed floats and doubles need no code here: their bytes are the elements.
Source: protobuf's encoding guide (a 32-bit field keeps the low 32 bits of its varint, a bool is any but zero) and
InferTensorContents, where smaller integers travel in the next larger field. Oracle: google.protobuf.
"""

from __future__ import annotations

from typing import Final

from native.inner import inner
from native.wire.codes import HAND_OVER, OK
from native.wire.datatypes import (
    BOOL,
    FP32_CONTENTS,
    FP64_CONTENTS,
    INT8,
    INT16,
    INT32,
    UINT8,
    UINT16,
    UINT32,
)
from native.wire.fields import LENGTH_DELIMITED, skip_field, small_varint, wide_varint
from native.wire.kernel import Bytes, Words, int64
from native.wire.parsed import ENCODING_FIXED, ENCODING_VARINTS, PARSED_DATA_BYTES, PARSED_DATA_OFFSET, PARSED_ENCODING

_FIELD_MAX: Final = 8


@inner("int64(int64, int64)")
def element_value(bits: int, datatype: int) -> int:
    """The element that a varint's 64 bits stand for, as protobuf's field truncates them. Maybe out of range."""
    if datatype == BOOL:
        return int64(1) if bits != 0 else int64(0)
    if datatype in (UINT8, UINT16, UINT32):
        return bits & 0xFFFFFFFF
    if datatype in (INT8, INT16, INT32):
        return (bits & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
    return bits


@inner("boolean(int64, int64)")
def element_fits(value: int, datatype: int) -> bool:
    """True where the datatype can hold the value that came in a wider field."""
    if datatype == INT8:
        return -0x80 <= value <= 0x7F
    if datatype == INT16:
        return -0x8000 <= value <= 0x7FFF
    if datatype == UINT8:
        return 0 <= value <= 0xFF
    if datatype == UINT16:
        return 0 <= value <= 0xFFFF
    return True


@inner("boolean(uint8[::1], int64, int64, int64, int64)")
def varints_ok(message: Bytes, position: int, end: int, datatype: int, elements: int) -> bool:
    """True where [position, end) is exactly `elements` varints and each fits the datatype."""
    for _element in range(elements):
        bits, position = wide_varint(message, position, end)
        if position < 0 or not element_fits(element_value(bits, datatype), datatype):
            return False
    return position == end


@inner("int64(uint8[::1], int64, int64, int64, int64, int64[::1])")
def read_contents(message: Bytes, position: int, end: int, contents_field: int, record: int, parsed: Words) -> int:
    """Notes in the input's record where the elements are in an InferTensorContents; OK or HAND_OVER.

    Only the field that belongs to the datatype, once and packed. record: word index of the input's record in parsed.
    """
    occurrences = 0
    while position < end:
        tag, position = small_varint(message, position, end)
        if tag < 0:
            return HAND_OVER
        if tag >> 3 > _FIELD_MAX:
            position = skip_field(message, position, end, tag)
            if position < 0:
                return HAND_OVER
            continue
        if tag != (contents_field << 3 | LENGTH_DELIMITED) or occurrences > 0:
            return HAND_OVER
        length, position = small_varint(message, position, end)
        if length < 0 or length > end - position:
            return HAND_OVER
        parsed[record + PARSED_DATA_OFFSET] = position
        parsed[record + PARSED_DATA_BYTES] = length
        occurrences += 1
        position += length
    if occurrences == 0:
        return HAND_OVER
    fixed = contents_field in (FP32_CONTENTS, FP64_CONTENTS)
    parsed[record + PARSED_ENCODING] = ENCODING_FIXED if fixed else ENCODING_VARINTS
    return OK
