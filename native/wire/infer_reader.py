"""Reads an `inference.ModelInferRequest` into the parsed vector.

Used by the HTTP/2 callbacks once a stream has ended. Oracle: the generated classes of protos/inference.
Always: OK only for what google.protobuf reads in the same way and the servicer would answer with a prediction;
everything else, wrong or only unusual (parameters, for one), is HAND_OVER, and the servicer finds the words.
"""

from __future__ import annotations

from typing import Final

from native.inner import inner
from native.wire.codes import HAND_OVER, ID_BYTES_MAX, INPUTS_MAX, OK, OUTPUTS_MAX
from native.wire.contents import read_contents, varints_ok
from native.wire.datatypes import BOOL, NO_CONTENTS
from native.wire.directory import (
    HEADER_WORDS,
    MODEL_FLAGS,
    MODEL_INPUT_COUNT,
    MODEL_INPUTS_AT,
    MODEL_WORDS,
    TENSOR_CONTENTS_FIELD,
    TENSOR_DATATYPE,
    TENSOR_ROW_BYTES,
    TENSOR_ROW_ELEMENTS,
    TENSOR_WORDS,
    TYPED_OK,
)
from native.wire.fields import LENGTH_DELIMITED, ascii_only, bools_ok, skip_field, small_varint
from native.wire.kernel import Bytes, Words, int64
from native.wire.outputs import output_mask
from native.wire.parsed import (
    ENCODING_FIXED,
    NOTE_OUTPUTS,
    NOTE_RAW,
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
    TYPED_CONTENTS,
)
from native.wire.tensors import (
    NOTE_FIELD_4,
    NOTE_FIELD_5,
    find_model,
    match_input,
    read_tensor,
)

_MODEL_NAME: Final = 1
_MODEL_VERSION: Final = 2
_ID: Final = 3
_PARAMETERS: Final = 4
_INPUTS: Final = 5
_OUTPUTS: Final = 6
_RAW_INPUT_CONTENTS: Final = 7

_OUTPUT_NAME_TAG: Final = 1 << 3 | LENGTH_DELIMITED
_OUTPUT_FIELD_MAX: Final = 2


@inner("int64(uint8[::1], int64, int64, int64, int64[::1])")
def _note_output(message: Bytes, position: int, end: int, note: int, parsed: Words) -> int:
    """Notes the name in an InferRequestedOutputTensor; OK or HAND_OVER."""
    parsed[note] = position
    parsed[note + 1] = 0
    while position < end:
        tag, position = small_varint(message, position, end)
        if tag < 0:
            return HAND_OVER
        if tag >> 3 > _OUTPUT_FIELD_MAX:
            position = skip_field(message, position, end, tag)
            if position < 0:
                return HAND_OVER
            continue
        if tag != _OUTPUT_NAME_TAG or not ascii_only(message, parsed[note], parsed[note + 1]):
            return HAND_OVER
        length, position = small_varint(message, position, end)
        if length < 0 or length > end - position:
            return HAND_OVER
        parsed[note] = position
        parsed[note + 1] = length
        position += length
    return OK


@inner("boolean(uint8[::1], int64[::1], int64, int64, int64, int64[::1])")
def _elements_ok(message: Bytes, table: Words, at: int, record: int, rows: int, parsed: Words) -> bool:
    """True where the bytes of the input's record are exactly its elements for `rows` rows, and each is in range."""
    offset = parsed[record + PARSED_DATA_OFFSET]
    length = parsed[record + PARSED_DATA_BYTES]
    datatype = table[at + TENSOR_DATATYPE]
    if parsed[record + PARSED_ENCODING] != ENCODING_FIXED:
        return varints_ok(message, offset, offset + length, datatype, rows * table[at + TENSOR_ROW_ELEMENTS])
    if length != rows * table[at + TENSOR_ROW_BYTES]:
        return False
    return datatype != BOOL or bools_ok(message, offset, length)


@inner("int64(uint8[::1], int64[::1], uint8[::1], int64, boolean, int64[::1])")
def _read_inputs(message: Bytes, table: Words, blob: Bytes, model_at: int, typed: bool, parsed: Words) -> int:
    """Fills the records of all declared inputs from the noted tensors; their common rows, or HAND_OVER."""
    rows = int64(0)
    seen = int64(0)
    for tensor in range(table[model_at + MODEL_INPUT_COUNT]):
        position = parsed[NOTE_TENSORS + 2 * tensor]
        end = position + parsed[NOTE_TENSORS + 2 * tensor + 1]
        if read_tensor(message, position, end, parsed) != OK:
            return HAND_OVER
        if parsed[NOTE_FIELD_4 + 2] != 0:  # parameters
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
        record = PARSED_INPUTS + index * PARSED_INPUT_WORDS
        # Contents that occur twice are merged by protobuf, and beside raw contents they are an error to be worded.
        if parsed[NOTE_FIELD_5 + 2] != (1 if typed else 0):
            return HAND_OVER
        if typed:
            field = table[at + TENSOR_CONTENTS_FIELD]
            first = parsed[NOTE_FIELD_5]
            if field == NO_CONTENTS:
                return HAND_OVER
            if read_contents(message, first, first + parsed[NOTE_FIELD_5 + 1], field, record, parsed) != OK:
                return HAND_OVER
        else:
            parsed[record + PARSED_DATA_OFFSET] = parsed[NOTE_RAW + 2 * tensor]
            parsed[record + PARSED_DATA_BYTES] = parsed[NOTE_RAW + 2 * tensor + 1]
            parsed[record + PARSED_ENCODING] = ENCODING_FIXED
        if not _elements_ok(message, table, at, record, rows, parsed):
            return HAND_OVER
    return rows


@inner("int64(uint8[::1], int64, int64, int64[::1], uint8[::1], int64[::1])")
def read_infer(message: Bytes, start: int, end: int, table: Words, blob: Bytes, parsed: Words) -> int:
    """Fills `parsed` from the message in [start, end); OK or HAND_OVER.

    message: uint8[n], borrowed. 0 <= start <= end <= n. table, blob: a ModelDirectory's. parsed: int64[PARSED_WORDS].
    """
    name_offset = version_offset = id_offset = start
    name_bytes = version_bytes = id_bytes = int64(0)
    inputs = outputs = raws = 0
    position = start
    while position < end:
        tag, position = small_varint(message, position, end)
        if tag < 0:
            return HAND_OVER
        number = tag >> 3
        if number > _RAW_INPUT_CONTENTS:
            position = skip_field(message, position, end, tag)
            if position < 0:
                return HAND_OVER
            continue
        if number == 0 or tag & 7 != LENGTH_DELIMITED or number == _PARAMETERS:
            return HAND_OVER
        length, position = small_varint(message, position, end)
        if length < 0 or length > end - position:
            return HAND_OVER
        if number == _RAW_INPUT_CONTENTS:
            if raws == INPUTS_MAX:
                return HAND_OVER
            parsed[NOTE_RAW + 2 * raws] = position
            parsed[NOTE_RAW + 2 * raws + 1] = length
            raws += 1
        elif number == _INPUTS:
            if inputs == INPUTS_MAX:
                return HAND_OVER
            parsed[NOTE_TENSORS + 2 * inputs] = position
            parsed[NOTE_TENSORS + 2 * inputs + 1] = length
            inputs += 1
        elif number == _OUTPUTS:
            if outputs == OUTPUTS_MAX:
                return HAND_OVER
            if _note_output(message, position, position + length, NOTE_OUTPUTS + 2 * outputs, parsed) != OK:
                return HAND_OVER
            outputs += 1
        # The last of several counts, but protobuf wants UTF-8 of each of them.
        elif number == _MODEL_NAME:
            if not ascii_only(message, name_offset, name_bytes):
                return HAND_OVER
            name_offset = position
            name_bytes = length
        elif number == _MODEL_VERSION:
            if not ascii_only(message, version_offset, version_bytes):
                return HAND_OVER
            version_offset = position
            version_bytes = length
        else:
            if length > ID_BYTES_MAX or not ascii_only(message, position, length):
                return HAND_OVER
            id_offset = position
            id_bytes = length
        position += length

    model_at = find_model(message, name_offset, name_bytes, version_offset, version_bytes, table, blob)
    if model_at < 0 or inputs != table[model_at + MODEL_INPUT_COUNT]:
        return HAND_OVER
    typed = raws == 0
    if typed and not table[model_at + MODEL_FLAGS] & TYPED_OK:
        return HAND_OVER
    if not typed and raws != inputs:
        return HAND_OVER
    mask = output_mask(message, table, blob, model_at, outputs, parsed)
    if mask < 0:
        return HAND_OVER
    rows = _read_inputs(message, table, blob, model_at, typed, parsed)
    if rows < 0:
        return HAND_OVER
    parsed[PARSED_MODEL] = (model_at - HEADER_WORDS) // MODEL_WORDS
    parsed[PARSED_ROWS] = rows
    parsed[PARSED_VERSION_NAMED] = 1 if version_bytes > 0 else 0
    parsed[PARSED_CONTENTS] = TYPED_CONTENTS if typed else RAW_CONTENTS
    parsed[PARSED_OUTPUT_MASK] = mask
    parsed[PARSED_ID_OFFSET] = id_offset
    parsed[PARSED_ID_BYTES] = id_bytes
    parsed[PARSED_ROUTING_KEY_OFFSET] = start
    parsed[PARSED_ROUTING_KEY_BYTES] = 0
    return OK
