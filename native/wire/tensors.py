"""What both protocols' tensors have in common: name, datatype and shape, matched with what a model declares.

Used by the two readers. `Tensor` (roost.v1) and `InferInputTensor` (inference) agree in fields 1 to 3; fields 4 to 6
are length-delimited in both, and their meaning is the readers' business.
Always: HAND_OVER unless google.protobuf would read the same thing, and the tensor is declared, of the declared type,
of shape [rows, ...] with the declared dimensions after the first.
"""

from __future__ import annotations

from typing import Final

from native.inner import inner
from native.wire.codes import HAND_OVER, OK
from native.wire.directory import (
    HEADER_WORDS,
    KERNEL_OK,
    MODEL_COUNT,
    MODEL_FLAGS,
    MODEL_INPUT_COUNT,
    MODEL_INPUTS_AT,
    MODEL_MAX_ROWS,
    MODEL_NAME_BYTES,
    MODEL_NAME_OFFSET,
    MODEL_VERSION_BYTES,
    MODEL_VERSION_OFFSET,
    MODEL_WORDS,
    TENSOR_DATATYPE_NAME_BYTES,
    TENSOR_DATATYPE_NAME_OFFSET,
    TENSOR_DIMENSION_COUNT,
    TENSOR_DIMENSIONS_AT,
    TENSOR_NAME_BYTES,
    TENSOR_NAME_OFFSET,
    TENSOR_WORDS,
)
from native.wire.fields import (
    LENGTH_DELIMITED,
    VARINT,
    ascii_only,
    bytes_equal,
    skip_field,
    small_varint,
    wide_varint,
)
from native.wire.kernel import Bytes, Words
from native.wire.parsed import DIMENSIONS_MAX, NOTE_SHAPE, NOTE_TENSOR

# What `read_tensor` notes, as words of the parsed vector.
NOTE_NAME_OFFSET: Final = NOTE_TENSOR
NOTE_NAME_BYTES: Final = NOTE_TENSOR + 1
NOTE_DATATYPE_OFFSET: Final = NOTE_TENSOR + 2
NOTE_DATATYPE_BYTES: Final = NOTE_TENSOR + 3
NOTE_DIMENSION_COUNT: Final = NOTE_TENSOR + 4
# For each of fields 4, 5 and 6: offset and length of its last occurrence, and how often it occurred.
NOTE_FIELD_4: Final = NOTE_TENSOR + 5
NOTE_FIELD_5: Final = NOTE_TENSOR + 8
NOTE_FIELD_6: Final = NOTE_TENSOR + 11
NOTE_FIELD_WORDS: Final = 3

_NAME_TAG: Final = 1 << 3 | LENGTH_DELIMITED
_DATATYPE_TAG: Final = 2 << 3 | LENGTH_DELIMITED
_SHAPE_TAG: Final = 3 << 3 | LENGTH_DELIMITED
_SHAPE_ELEMENT_TAG: Final = 3 << 3 | VARINT


@inner("boolean(uint8[::1], int64, int64, int64[::1], uint8[::1], int64)")
def version_ok(message: Bytes, offset: int, count: int, table: Words, blob: Bytes, model_at: int) -> bool:
    """True where no version is asked for, or the one that is served."""
    if count == 0:
        return True
    return count == table[model_at + MODEL_VERSION_BYTES] and bytes_equal(
        message, offset, blob, table[model_at + MODEL_VERSION_OFFSET], count
    )


@inner("int64(uint8[::1], int64, int64, int64, int64, int64[::1], uint8[::1])")
def find_model(
    message: Bytes,
    name_offset: int,
    name_bytes: int,
    version_offset: int,
    version_bytes: int,
    table: Words,
    blob: Bytes,
) -> int:
    """Word index of the record of the first model of that name and version, where kernels may serve it, or HAND_OVER.

    version_bytes: 0 for any version. Whether the traffic goes there is not decided here.
    """
    for model in range(table[MODEL_COUNT]):
        at = HEADER_WORDS + model * MODEL_WORDS
        if table[at + MODEL_NAME_BYTES] != name_bytes:
            continue
        if bytes_equal(message, name_offset, blob, table[at + MODEL_NAME_OFFSET], name_bytes) and version_ok(
            message, version_offset, version_bytes, table, blob, at
        ):
            return at if table[at + MODEL_FLAGS] & KERNEL_OK else HAND_OVER
    return HAND_OVER


@inner("int64(uint8[::1], int64, int64, int64, int64, int64[::1])")
def read_dimensions(message: Bytes, position: int, end: int, count: int, count_max: int, parsed: Words) -> int:
    """Notes the varints of [position, end) as dimensions from `count` on; the new count, or HAND_OVER.

    count_max: bound on the new count, at most DIMENSIONS_MAX.
    """
    while position < end:
        if count >= count_max:
            return HAND_OVER
        dimension, position = wide_varint(message, position, end)
        if position < 0:
            return HAND_OVER
        parsed[NOTE_SHAPE + count] = dimension
        count += 1
    return count


@inner("int64(uint8[::1], int64, int64, int64[::1])")
def read_tensor(message: Bytes, position: int, end: int, parsed: Words) -> int:
    """Notes the fields of one tensor's message; OK or HAND_OVER. Says nothing yet about what they mean."""
    for word in range(NOTE_TENSOR, NOTE_FIELD_6 + NOTE_FIELD_WORDS):
        parsed[word] = 0
    dimensions = 0
    while position < end:
        tag, position = small_varint(message, position, end)
        if tag < 0:
            return HAND_OVER
        if tag == _SHAPE_ELEMENT_TAG:
            if dimensions >= DIMENSIONS_MAX:
                return HAND_OVER
            dimension, position = wide_varint(message, position, end)
            if position < 0:
                return HAND_OVER
            parsed[NOTE_SHAPE + dimensions] = dimension
            dimensions += 1
            continue
        number = tag >> 3
        if number > 6:
            position = skip_field(message, position, end, tag)
            if position < 0:
                return HAND_OVER
            continue
        if number == 0 or tag & 7 != LENGTH_DELIMITED:
            return HAND_OVER
        length, position = small_varint(message, position, end)
        if length < 0 or length > end - position:
            return HAND_OVER
        if tag in (_NAME_TAG, _DATATYPE_TAG):
            word = NOTE_NAME_OFFSET if tag == _NAME_TAG else NOTE_DATATYPE_OFFSET
            # The last of several counts, but protobuf wants UTF-8 of each of them.
            if not ascii_only(message, parsed[word], parsed[word + 1]):
                return HAND_OVER
            parsed[word] = position
            parsed[word + 1] = length
        elif tag == _SHAPE_TAG:
            dimensions = read_dimensions(message, position, position + length, dimensions, DIMENSIONS_MAX, parsed)
            if dimensions < 0:
                return HAND_OVER
        else:
            word = NOTE_FIELD_4 + (number - 4) * NOTE_FIELD_WORDS
            parsed[word] = position
            parsed[word + 1] = length
            parsed[word + 2] += 1
        position += length
    parsed[NOTE_DIMENSION_COUNT] = dimensions
    return OK


@inner("boolean(uint8[::1], int64[::1], uint8[::1], int64, int64, int64[::1])")
def _declared(message: Bytes, table: Words, blob: Bytes, model_at: int, at: int, parsed: Words) -> bool:
    """True where the noted tensor has the datatype and the shape of the input whose record is at `at`."""
    if parsed[NOTE_DATATYPE_BYTES] != table[at + TENSOR_DATATYPE_NAME_BYTES]:
        return False
    if not bytes_equal(
        message,
        parsed[NOTE_DATATYPE_OFFSET],
        blob,
        table[at + TENSOR_DATATYPE_NAME_OFFSET],
        table[at + TENSOR_DATATYPE_NAME_BYTES],
    ):
        return False
    dimensions = table[at + TENSOR_DIMENSION_COUNT]
    if parsed[NOTE_DIMENSION_COUNT] != dimensions + 1:
        return False
    rows = parsed[NOTE_SHAPE]
    if rows < 1 or rows > table[model_at + MODEL_MAX_ROWS]:
        return False
    first = table[at + TENSOR_DIMENSIONS_AT]
    for dimension in range(dimensions):
        if parsed[NOTE_SHAPE + 1 + dimension] != table[first + dimension]:
            return False
    return True


@inner("int64(uint8[::1], int64[::1], uint8[::1], int64, int64, int64[::1])")
def match_input(message: Bytes, table: Words, blob: Bytes, model_at: int, guess: int, parsed: Words) -> int:
    """Index of the declared input that the noted tensor is, in type and dimensions too, or HAND_OVER.

    guess: the index to try first; clients mostly send inputs in declared order. 0 <= guess < the model's input count.
    parsed[NOTE_SHAPE] is then the tensor's rows, 1 to the model's max_rows.
    """
    name_offset = parsed[NOTE_NAME_OFFSET]
    name_bytes = parsed[NOTE_NAME_BYTES]
    count = table[model_at + MODEL_INPUT_COUNT]
    index = guess
    for _attempt in range(count):
        at = table[model_at + MODEL_INPUTS_AT] + index * TENSOR_WORDS
        if table[at + TENSOR_NAME_BYTES] == name_bytes:
            if bytes_equal(message, name_offset, blob, table[at + TENSOR_NAME_OFFSET], name_bytes):
                return index if _declared(message, table, blob, model_at, at, parsed) else HAND_OVER
        index = index + 1 if index + 1 < count else 0
    return HAND_OVER
