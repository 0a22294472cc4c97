"""Copies the rows of a parsed message into the arena's columns.

Used by the HTTP/2 callbacks right after a reader returned OK, while the message is still where it was read.
Always: writes only rows [row, row + rows) of each declared input's column, and nothing at all on NO_ROOM.
"""

from __future__ import annotations

from native.inner import inner
from native.wire.codes import NO_ROOM, OK
from native.wire.contents import element_value
from native.wire.directory import (
    HEADER_WORDS,
    MODEL_INPUT_COUNT,
    MODEL_INPUTS_AT,
    MODEL_MAX_ROWS,
    MODEL_WORDS,
    TENSOR_COLUMN_OFFSET,
    TENSOR_DATATYPE,
    TENSOR_ROW_BYTES,
    TENSOR_ROW_ELEMENTS,
    TENSOR_WORDS,
)
from native.wire.fields import wide_varint
from native.wire.kernel import Bytes, Words, copy_bytes
from native.wire.parsed import (
    ENCODING_FIXED,
    PARSED_DATA_BYTES,
    PARSED_DATA_OFFSET,
    PARSED_ENCODING,
    PARSED_INPUT_WORDS,
    PARSED_INPUTS,
    PARSED_MODEL,
    PARSED_ROWS,
)


@inner("void(uint8[::1], int64, int64, int64, int64, uint8[::1], int64, int64)")
def _decode_varints(
    message: Bytes, position: int, end: int, datatype: int, elements: int, block: Bytes, target: int, width: int
) -> None:
    """Decodes `elements` varints, counted and checked by the reader, to little-endian elements of `width` bytes."""
    for _element in range(elements):
        bits, position = wide_varint(message, position, end)
        value = element_value(bits, datatype)
        for byte in range(width):
            block[target + byte] = value >> (8 * byte) & 0xFF
        target += width


@inner("int64(uint8[::1], int64[::1], int64[::1], uint8[::1], int64)")
def copy_rows(message: Bytes, parsed: Words, table: Words, arena_block: Bytes, row: int) -> int:
    """Copies, or decodes, all inputs into rows [row, row + parsed rows) of the block; OK or NO_ROOM.

    message, parsed: as the reader left them. arena_block: uint8[input_block_bytes] of the parsed model.
    """
    model_at = HEADER_WORDS + parsed[PARSED_MODEL] * MODEL_WORDS
    rows = parsed[PARSED_ROWS]
    if row < 0 or rows > table[model_at + MODEL_MAX_ROWS] - row:
        return NO_ROOM
    for index in range(table[model_at + MODEL_INPUT_COUNT]):
        at = table[model_at + MODEL_INPUTS_AT] + index * TENSOR_WORDS
        record = PARSED_INPUTS + index * PARSED_INPUT_WORDS
        offset = parsed[record + PARSED_DATA_OFFSET]
        length = parsed[record + PARSED_DATA_BYTES]
        row_bytes = table[at + TENSOR_ROW_BYTES]
        target = table[at + TENSOR_COLUMN_OFFSET] + row * row_bytes
        if parsed[record + PARSED_ENCODING] == ENCODING_FIXED:
            copy_bytes(arena_block, target, message, offset, length)
            continue
        elements = rows * table[at + TENSOR_ROW_ELEMENTS]
        width = row_bytes // table[at + TENSOR_ROW_ELEMENTS]
        _decode_varints(
            message, offset, offset + length, table[at + TENSOR_DATATYPE], elements, arena_block, target, width
        )
    return OK
