"""Writes framed replies: `PredictReply` and `ModelInferResponse`, from a batch's output block to the wire.

Used by the worker once a batch has run, one call for each reply. What is the same in every reply of a model comes
encoded from the directory. Oracle: google.protobuf, byte for byte in its deterministic order.
Always: the five bytes of the gRPC frame come first; nothing is written unless all of it fits.
"""

from __future__ import annotations

from typing import Final

from native.inner import inner
from native.wire.codes import FRAME_HEADER_BYTES, NO_ROOM
from native.wire.datatypes import FP32_CONTENTS, FP64_CONTENTS
from native.wire.directory import (
    HEADER_WORDS,
    MODEL_INFER_HEAD_BYTES,
    MODEL_INFER_HEAD_OFFSET,
    MODEL_INFER_PARAMETERS_BYTES,
    MODEL_INFER_PARAMETERS_OFFSET,
    MODEL_OUTPUT_COUNT,
    MODEL_OUTPUTS_AT,
    MODEL_PREDICT_HEAD_BYTES,
    MODEL_PREDICT_HEAD_OFFSET,
    MODEL_WORDS,
    TENSOR_COLUMN_OFFSET,
    TENSOR_CONTENTS_FIELD,
    TENSOR_DATATYPE,
    TENSOR_HEAD_BYTES,
    TENSOR_HEAD_OFFSET,
    TENSOR_ROW_BYTES,
    TENSOR_ROW_ELEMENTS,
    TENSOR_SHAPE_TAIL_BYTES,
    TENSOR_SHAPE_TAIL_OFFSET,
    TENSOR_WORDS,
)
from native.wire.elements import element_at, varint_bytes, write_varint
from native.wire.fields import LENGTH_DELIMITED
from native.wire.kernel import Bytes, Words, copy_bytes, int64
from native.wire.parsed import TYPED_CONTENTS

_SHAPE_TAG: Final = 3 << 3 | LENGTH_DELIMITED
_PREDICT_OUTPUTS_TAG: Final = 6 << 3 | LENGTH_DELIMITED
_PREDICT_RAW_TAG: Final = 4 << 3 | LENGTH_DELIMITED
_INFER_ID_TAG: Final = 3 << 3 | LENGTH_DELIMITED
_INFER_OUTPUTS_TAG: Final = 5 << 3 | LENGTH_DELIMITED
_INFER_CONTENTS_TAG: Final = 5 << 3 | LENGTH_DELIMITED
_INFER_RAW_TAG: Final = 6 << 3 | LENGTH_DELIMITED


@inner("int64(int64)")
def _field_bytes(length: int) -> int:
    """Bytes of a length-delimited field of one tag byte."""
    return 1 + varint_bytes(length) + length


@inner("int64(int64[::1], int64, int64)")
def _described_bytes(table: Words, at: int, rows: int) -> int:
    """Bytes of an output's name, datatype and shape."""
    return table[at + TENSOR_HEAD_BYTES] + _field_bytes(varint_bytes(rows) + table[at + TENSOR_SHAPE_TAIL_BYTES])


@inner("int64(uint8[::1], int64, int64, int64)")
def _write_tag(out: Bytes, position: int, tag: int, length: int) -> int:
    """Writes a tag of one byte and a length; the position after them."""
    out[position] = tag
    return write_varint(out, position + 1, length)


@inner("int64(uint8[::1], int64, int64)")
def _write_frame_header(out: Bytes, position: int, message_bytes: int) -> int:
    """Writes flag 0 and the length, big-endian; the position after them."""
    out[position] = 0
    for byte in range(4):
        out[position + 1 + byte] = message_bytes >> (24 - 8 * byte) & 0xFF
    return position + FRAME_HEADER_BYTES


@inner("int64(uint8[::1], int64, int64[::1], uint8[::1], int64, int64)")
def _write_described(out: Bytes, position: int, table: Words, blob: Bytes, at: int, rows: int) -> int:
    """Writes an output's name, datatype and shape; the position after them."""
    head_bytes = table[at + TENSOR_HEAD_BYTES]
    tail_bytes = table[at + TENSOR_SHAPE_TAIL_BYTES]
    copy_bytes(out, position, blob, table[at + TENSOR_HEAD_OFFSET], head_bytes)
    position = _write_tag(out, position + head_bytes, _SHAPE_TAG, varint_bytes(rows) + tail_bytes)
    position = write_varint(out, position, rows)
    copy_bytes(out, position, blob, table[at + TENSOR_SHAPE_TAIL_OFFSET], tail_bytes)
    return position + tail_bytes


@inner("int64(int64[::1], int64, int64, int64, uint8[::1], int64)")
def _packed_bytes(table: Words, at: int, rows: int, contents_field: int, arena_block: Bytes, row: int) -> int:
    """Bytes of an output's elements as packed contents, without tag and length."""
    row_bytes = table[at + TENSOR_ROW_BYTES]
    if contents_field in (FP32_CONTENTS, FP64_CONTENTS):
        return rows * row_bytes
    width = row_bytes // table[at + TENSOR_ROW_ELEMENTS]
    source = table[at + TENSOR_COLUMN_OFFSET] + row * row_bytes
    total = int64(0)
    for element in range(rows * table[at + TENSOR_ROW_ELEMENTS]):
        total += varint_bytes(element_at(arena_block, source + element * width, table[at + TENSOR_DATATYPE], width))
    return total


@inner("int64(uint8[::1], int64, int64[::1], int64, int64, int64, uint8[::1], int64)")
def _write_packed(
    out: Bytes, position: int, table: Words, at: int, rows: int, contents_field: int, arena_block: Bytes, row: int
) -> int:
    """Writes an output's elements as packed contents; the position after them."""
    row_bytes = table[at + TENSOR_ROW_BYTES]
    source = table[at + TENSOR_COLUMN_OFFSET] + row * row_bytes
    if contents_field in (FP32_CONTENTS, FP64_CONTENTS):
        copy_bytes(out, position, arena_block, source, rows * row_bytes)
        return position + rows * row_bytes
    width = row_bytes // table[at + TENSOR_ROW_ELEMENTS]
    for element in range(rows * table[at + TENSOR_ROW_ELEMENTS]):
        value = element_at(arena_block, source + element * width, table[at + TENSOR_DATATYPE], width)
        position = write_varint(out, position, value)
    return position


@inner("int64(int64[::1], int64, int64, int64)")
def predict_reply_bytes(table: Words, model: int, rows: int, output_mask: int) -> int:
    """Exact bytes of a framed PredictReply. output_mask: a subset of the model's outputs, not empty."""
    model_at = HEADER_WORDS + model * MODEL_WORDS
    total = FRAME_HEADER_BYTES + table[model_at + MODEL_PREDICT_HEAD_BYTES]
    for output in range(table[model_at + MODEL_OUTPUT_COUNT]):
        if output_mask >> output & 1:
            at = table[model_at + MODEL_OUTPUTS_AT] + output * TENSOR_WORDS
            total += _field_bytes(_described_bytes(table, at, rows) + _field_bytes(rows * table[at + TENSOR_ROW_BYTES]))
    return total


@inner("int64(uint8[::1], int64, int64, int64[::1], uint8[::1], int64, int64, int64, uint8[::1], int64)")
def write_predict_reply(
    out: Bytes, start: int, end: int, table: Words, blob: Bytes,
    model: int, rows: int, output_mask: int, arena_block: Bytes, row: int,
) -> int:  # fmt: skip
    """Writes a framed PredictReply of rows [row, row + rows) into out[start:end]; the offset after it, or NO_ROOM.

    arena_block: uint8[output_block_bytes] of the model. 0 <= row, row + rows <= max_rows, checked by the caller.
    """
    reply_bytes = predict_reply_bytes(table, model, rows, output_mask)
    if reply_bytes > end - start:
        return NO_ROOM
    model_at = HEADER_WORDS + model * MODEL_WORDS
    position = _write_frame_header(out, start, reply_bytes - FRAME_HEADER_BYTES)
    head_bytes = table[model_at + MODEL_PREDICT_HEAD_BYTES]
    copy_bytes(out, position, blob, table[model_at + MODEL_PREDICT_HEAD_OFFSET], head_bytes)
    position += head_bytes
    for output in range(table[model_at + MODEL_OUTPUT_COUNT]):
        if output_mask >> output & 1:
            at = table[model_at + MODEL_OUTPUTS_AT] + output * TENSOR_WORDS
            row_bytes = table[at + TENSOR_ROW_BYTES]
            raw_bytes = rows * row_bytes
            tensor_bytes = _described_bytes(table, at, rows) + _field_bytes(raw_bytes)
            position = _write_tag(out, position, _PREDICT_OUTPUTS_TAG, tensor_bytes)
            position = _write_described(out, position, table, blob, at, rows)
            position = _write_tag(out, position, _PREDICT_RAW_TAG, raw_bytes)
            copy_bytes(out, position, arena_block, table[at + TENSOR_COLUMN_OFFSET] + row * row_bytes, raw_bytes)
            position += raw_bytes
    return position


@inner("int64(int64[::1], int64, int64, int64, int64, int64, uint8[::1], int64)")
def infer_reply_bytes(
    table: Words, model: int, rows: int, output_mask: int, id_bytes: int, contents: int, arena_block: Bytes, row: int
) -> int:
    """Exact bytes of a framed ModelInferResponse.

    contents: RAW_CONTENTS or TYPED_CONTENTS (only for models that are TYPED_OK). The block is read for typed integers,
    whose bytes depend on their values.
    """
    model_at = HEADER_WORDS + model * MODEL_WORDS
    total = FRAME_HEADER_BYTES + table[model_at + MODEL_INFER_HEAD_BYTES]
    total += table[model_at + MODEL_INFER_PARAMETERS_BYTES]
    if id_bytes > 0:
        total += _field_bytes(id_bytes)
    for output in range(table[model_at + MODEL_OUTPUT_COUNT]):
        if output_mask >> output & 1:
            at = table[model_at + MODEL_OUTPUTS_AT] + output * TENSOR_WORDS
            described = _described_bytes(table, at, rows)
            if contents == TYPED_CONTENTS:
                field = table[at + TENSOR_CONTENTS_FIELD]
                packed = _field_bytes(_packed_bytes(table, at, rows, field, arena_block, row))
                total += _field_bytes(described + _field_bytes(packed))
            else:
                total += _field_bytes(described) + _field_bytes(rows * table[at + TENSOR_ROW_BYTES])
    return total


@inner(
    "int64(uint8[::1], int64, int64, int64[::1], uint8[::1], int64, int64, int64, uint8[::1], int64, int64,"
    " int64, uint8[::1], int64)"
)
def write_infer_reply(
    out: Bytes, start: int, end: int, table: Words, blob: Bytes,
    model: int, rows: int, output_mask: int, request_id: Bytes, id_offset: int, id_bytes: int,
    contents: int, arena_block: Bytes, row: int,
) -> int:  # fmt: skip
    """Writes a framed ModelInferResponse of rows [row, row + rows) into out[start:end]; the offset after it or NO_ROOM.

    request_id[id_offset:id_offset + id_bytes]: what the caller sent, ASCII. contents: RAW_CONTENTS or TYPED_CONTENTS.
    arena_block: uint8[output_block_bytes] of the model. 0 <= row, row + rows <= max_rows, checked by the caller.
    """
    reply_bytes = infer_reply_bytes(table, model, rows, output_mask, id_bytes, contents, arena_block, row)
    if reply_bytes > end - start:
        return NO_ROOM
    model_at = HEADER_WORDS + model * MODEL_WORDS
    position = _write_frame_header(out, start, reply_bytes - FRAME_HEADER_BYTES)
    head_bytes = table[model_at + MODEL_INFER_HEAD_BYTES]
    copy_bytes(out, position, blob, table[model_at + MODEL_INFER_HEAD_OFFSET], head_bytes)
    position += head_bytes
    if id_bytes > 0:
        position = _write_tag(out, position, _INFER_ID_TAG, id_bytes)
        copy_bytes(out, position, request_id, id_offset, id_bytes)
        position += id_bytes
    parameters_bytes = table[model_at + MODEL_INFER_PARAMETERS_BYTES]
    copy_bytes(out, position, blob, table[model_at + MODEL_INFER_PARAMETERS_OFFSET], parameters_bytes)
    position += parameters_bytes
    for output in range(table[model_at + MODEL_OUTPUT_COUNT]):
        if output_mask >> output & 1:
            at = table[model_at + MODEL_OUTPUTS_AT] + output * TENSOR_WORDS
            described = _described_bytes(table, at, rows)
            if contents == TYPED_CONTENTS:
                field = table[at + TENSOR_CONTENTS_FIELD]
                packed = _packed_bytes(table, at, rows, field, arena_block, row)
                position = _write_tag(out, position, _INFER_OUTPUTS_TAG, described + _field_bytes(_field_bytes(packed)))
                position = _write_described(out, position, table, blob, at, rows)
                position = _write_tag(out, position, _INFER_CONTENTS_TAG, _field_bytes(packed))
                position = _write_tag(out, position, field << 3 | LENGTH_DELIMITED, packed)
                position = _write_packed(out, position, table, at, rows, field, arena_block, row)
            else:
                position = _write_tag(out, position, _INFER_OUTPUTS_TAG, described)
                position = _write_described(out, position, table, blob, at, rows)
    if contents != TYPED_CONTENTS:
        for output in range(table[model_at + MODEL_OUTPUT_COUNT]):
            if output_mask >> output & 1:
                at = table[model_at + MODEL_OUTPUTS_AT] + output * TENSOR_WORDS
                row_bytes = table[at + TENSOR_ROW_BYTES]
                position = _write_tag(out, position, _INFER_RAW_TAG, rows * row_bytes)
                source = table[at + TENSOR_COLUMN_OFFSET] + row * row_bytes
                copy_bytes(out, position, arena_block, source, rows * row_bytes)
                position += rows * row_bytes
    return position
