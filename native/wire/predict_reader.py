"""Reads a `roost.v1.PredictRequest` into the parsed vector.

Used by the HTTP/2 callbacks once a stream has ended. Oracle: the generated classes of protos/roost/v1.
Always: OK only for what google.protobuf reads in the same way and the servicer would answer with a prediction;
everything else, wrong or only unusual, is HAND_OVER, and the servicer finds the words.
"""

from __future__ import annotations

from typing import Final

from native.inner import inner
from native.wire.codes import HAND_OVER, INPUTS_MAX, OK, OUTPUTS_MAX
from native.wire.datatypes import BOOL, FP32
from native.wire.directory import (
    HEADER_WORDS,
    MODEL_INPUT_COUNT,
    MODEL_INPUTS_AT,
    MODEL_WORDS,
    TENSOR_DATATYPE,
    TENSOR_ROW_BYTES,
    TENSOR_WORDS,
)
from native.wire.fields import LENGTH_DELIMITED, ascii_only, bools_ok, skip_field, small_varint
from native.wire.kernel import Bytes, Words, int64
from native.wire.outputs import output_mask
from native.wire.parsed import (
    ENCODING_FIXED,
    NOTE_OUTPUTS,
    NOTE_SHAPE,
    NOTE_TENSORS,
    PARSED_CONTENTS,
    PARSED_DATA_BYTES,
    PARSED_DATA_OFFSET,
    PARSED_ENCODING,
    PARSED_ID_BYTES,
    PARSED_ID_OFFSET,
    PARSED_INPUT_WORDS,
    PARSED_INPUTS,
    PARSED_MODEL,
    PARSED_OUTPUT_MASK,
    PARSED_ROUTING_KEY_BYTES,
    PARSED_ROUTING_KEY_OFFSET,
    PARSED_ROWS,
    PARSED_VERSION_NAMED,
    RAW_CONTENTS,
)
from native.wire.tensors import (
    NOTE_FIELD_4,
    NOTE_FIELD_5,
    NOTE_FIELD_6,
    find_model,
    match_input,
    read_tensor,
)

_MODEL: Final = 1
_VERSION: Final = 2
_ROUTING_KEY: Final = 3
_INPUTS: Final = 4
_OUTPUTS: Final = 5


@inner("int64(int64[::1], int64)")
def _contents_of(parsed: Words, datatype: int) -> int:
    """Word index of the note that says where the elements are: `raw` or packed `float_values`. Else HAND_OVER."""
    raw_count = parsed[NOTE_FIELD_4 + 2]
    float_count = parsed[NOTE_FIELD_6 + 2]
    if parsed[NOTE_FIELD_5 + 2] != 0:  # bytes_values
        return HAND_OVER
    if raw_count > 0 and float_count == 0:
        return NOTE_FIELD_4
    if raw_count == 0 and float_count == 1 and datatype == FP32:
        return NOTE_FIELD_6
    return HAND_OVER


@inner("int64(uint8[::1], int64[::1], uint8[::1], int64, int64[::1])")
def _read_inputs(message: Bytes, table: Words, blob: Bytes, model_at: int, parsed: Words) -> int:
    """Fills the records of all declared inputs from the noted tensors; their common rows, or HAND_OVER."""
    rows = int64(0)
    seen = int64(0)
    for tensor in range(table[model_at + MODEL_INPUT_COUNT]):
        position = parsed[NOTE_TENSORS + 2 * tensor]
        end = position + parsed[NOTE_TENSORS + 2 * tensor + 1]
        if read_tensor(message, position, end, parsed) != OK:
            return HAND_OVER
        index = match_input(message, table, blob, model_at, tensor, parsed)
        if index < 0 or seen >> index & 1:
            return HAND_OVER
        seen |= int64(1) << index
        if rows == 0:
            rows = parsed[NOTE_SHAPE]
        if rows != parsed[NOTE_SHAPE]:
            return HAND_OVER
        at = table[model_at + MODEL_INPUTS_AT] + index * TENSOR_WORDS
        contents = _contents_of(parsed, table[at + TENSOR_DATATYPE])
        if contents < 0 or parsed[contents + 1] != rows * table[at + TENSOR_ROW_BYTES]:
            return HAND_OVER
        if table[at + TENSOR_DATATYPE] == BOOL and not bools_ok(message, parsed[contents], parsed[contents + 1]):
            return HAND_OVER
        record = PARSED_INPUTS + index * PARSED_INPUT_WORDS
        parsed[record + PARSED_DATA_OFFSET] = parsed[contents]
        parsed[record + PARSED_DATA_BYTES] = parsed[contents + 1]
        parsed[record + PARSED_ENCODING] = ENCODING_FIXED
    return rows


@inner("int64(uint8[::1], int64, int64, int64[::1], uint8[::1], int64[::1])")
def read_predict(message: Bytes, start: int, end: int, table: Words, blob: Bytes, parsed: Words) -> int:
    """Fills `parsed` from the message in [start, end); OK or HAND_OVER.

    message: uint8[n], borrowed. 0 <= start <= end <= n. table, blob: a ModelDirectory's. parsed: int64[PARSED_WORDS].
    """
    name_offset = version_offset = key_offset = start
    name_bytes = version_bytes = key_bytes = int64(0)
    inputs = outputs = 0
    position = start
    while position < end:
        tag, position = small_varint(message, position, end)
        if tag < 0:
            return HAND_OVER
        number = tag >> 3
        if number > _OUTPUTS:
            position = skip_field(message, position, end, tag)
            if position < 0:
                return HAND_OVER
            continue
        if number == 0 or tag & 7 != LENGTH_DELIMITED:
            return HAND_OVER
        length, position = small_varint(message, position, end)
        if length < 0 or length > end - position:
            return HAND_OVER
        if number == _INPUTS:
            if inputs == INPUTS_MAX:
                return HAND_OVER
            parsed[NOTE_TENSORS + 2 * inputs] = position
            parsed[NOTE_TENSORS + 2 * inputs + 1] = length
            inputs += 1
        elif number == _OUTPUTS:
            if outputs == OUTPUTS_MAX:
                return HAND_OVER
            parsed[NOTE_OUTPUTS + 2 * outputs] = position
            parsed[NOTE_OUTPUTS + 2 * outputs + 1] = length
            outputs += 1
        # The last of several counts, but protobuf wants UTF-8 of each of them.
        elif number == _MODEL:
            if not ascii_only(message, name_offset, name_bytes):
                return HAND_OVER
            name_offset = position
            name_bytes = length
        elif number == _VERSION:
            if not ascii_only(message, version_offset, version_bytes):
                return HAND_OVER
            version_offset = position
            version_bytes = length
        else:
            if not ascii_only(message, position, length):
                return HAND_OVER
            key_offset = position
            key_bytes = length
        position += length

    model_at = find_model(message, name_offset, name_bytes, version_offset, version_bytes, table, blob)
    if model_at < 0 or inputs != table[model_at + MODEL_INPUT_COUNT]:
        return HAND_OVER
    mask = output_mask(message, table, blob, model_at, outputs, parsed)
    if mask < 0:
        return HAND_OVER
    rows = _read_inputs(message, table, blob, model_at, parsed)
    if rows < 0:
        return HAND_OVER
    parsed[PARSED_MODEL] = (model_at - HEADER_WORDS) // MODEL_WORDS
    parsed[PARSED_ROWS] = rows
    parsed[PARSED_VERSION_NAMED] = 1 if version_bytes > 0 else 0
    parsed[PARSED_CONTENTS] = RAW_CONTENTS
    parsed[PARSED_OUTPUT_MASK] = mask
    parsed[PARSED_ID_OFFSET] = start
    parsed[PARSED_ID_BYTES] = 0
    parsed[PARSED_ROUTING_KEY_OFFSET] = key_offset
    parsed[PARSED_ROUTING_KEY_BYTES] = key_bytes
    return OK
