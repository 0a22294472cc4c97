"""Rows of the kernels that fill arenas and write replies."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from native.wire import infer_reader as infer
from native.wire import parsed as layout
from native.wire import predict_reader as predict
from native.wire import reply_writer, rows
from native.wire.codes import NO_ROOM, OK
from native.wire.datatypes import NO_CONTENTS
from native.wire.directory import WireModel
from tests.oracles import replies as slow_replies
from tests.wire import traffic
from tests.wire.message_rows import decoded, plain_directory, plain_predict
from tests.wire.row import (
    KNOWN,
    Array,
    Row,
    array,
    cut,
    parsed_vector,
    random_directory,
    span,
    written,
)

# Rows and replies.


def _copy_arguments(random: Random) -> tuple[Any, ...]:
    directory = KNOWN.remember(random_directory(random))
    model = random.choice(directory.models)
    read, make = random.choice(
        ((predict.read_predict, traffic.predict_request), (infer.read_infer, traffic.infer_request))
    )
    parsed = parsed_vector()
    while True:
        message, start, end = span(random, make(random, model).SerializeToString())
        if read(message, start, end, directory.table, directory.blob, parsed) == OK:
            break
    block = np.full(directory.input_block_bytes(int(parsed[layout.PARSED_MODEL])), 0xA5, dtype=np.uint8)
    room = model.max_rows - int(parsed[layout.PARSED_ROWS])
    return message, parsed, directory.table, block, random.choice((0, room, room, room + 1, -1))


def _copied(message: Array, parsed: Array, table: Array, block: Array, row: int) -> Any:
    directory = KNOWN.directory_of(table)
    index, count = int(parsed[layout.PARSED_MODEL]), int(parsed[layout.PARSED_ROWS])
    model = directory.models[index]
    expected = block.copy()
    if row < 0 or row + count > model.max_rows:
        return NO_ROOM, expected.tobytes()
    for column, content in zip(
        directory.input_columns(index, expected), decoded(message, parsed, model.inputs), strict=True
    ):
        column[row : row + count] = np.frombuffer(content, column.dtype).reshape(count, *column.shape[1:])
    return OK, expected.tobytes()


def _reply_arguments(random: Random) -> tuple[Any, ...]:
    directory = KNOWN.remember(random_directory(random))
    index = random.randrange(len(directory.models))
    model = directory.models[index]
    block = np.zeros(directory.output_block_bytes(index), dtype=np.uint8)
    for column, output in zip(directory.output_columns(index, block), model.outputs, strict=True):
        column[:] = traffic.elements(random, output, model.max_rows)
    rows_count = random.randint(1, model.max_rows)
    row = random.randint(0, model.max_rows - rows_count)
    mask = random.randrange(1, 2 ** len(model.outputs))
    return directory, index, rows_count, mask, block, row


def _expected_reply(
    table: Array, index: int, count: int, mask: int, block: Array, row: int, id_and_typed: tuple[bytes, bool] | None
) -> bytes:
    directory = KNOWN.directory_of(table)
    model = directory.models[index]
    wanted = [output for output in range(len(model.outputs)) if mask >> output & 1]
    columns, span_rows = directory.output_columns(index, block), slice(row, row + count)
    if id_and_typed is None:
        return slow_replies.predict_reply(model, wanted, columns, span_rows)
    return slow_replies.infer_reply(model, wanted, columns, span_rows, *id_and_typed)


def _out(random: Random, reply_bytes: int) -> tuple[Array, int, int]:
    """(buffer, start, end): mostly with room to the byte, at times with a byte too little."""
    start = random.randrange(4)
    end = start + reply_bytes - random.choice((0, 0, 0, 1))
    return np.full(end + 4, 0xA5, dtype=np.uint8), start, end


def _predict_bytes_arguments(random: Random) -> tuple[Any, ...]:
    directory, index, count, mask, _block, _row = _reply_arguments(random)
    return directory.table, index, count, mask


def _predict_bytes(table: Array, index: int, count: int, mask: int) -> int:
    block = np.zeros(KNOWN.directory_of(table).output_block_bytes(index), dtype=np.uint8)
    return len(_expected_reply(table, index, count, mask, block, 0, None))


def _predict_reply_arguments(random: Random) -> tuple[Any, ...]:
    directory, index, count, mask, block, row = _reply_arguments(random)
    reply_bytes = len(_expected_reply(directory.table, index, count, mask, block, row, None))
    return *_out(random, reply_bytes), directory.table, directory.blob, index, count, mask, block, row


def _predict_reply(
    out: Array,
    start: int,
    end: int,
    table: Array,
    _blob: Array,
    index: int,
    count: int,
    mask: int,
    block: Array,
    row: int,
) -> Any:
    return written(out, start, end, _expected_reply(table, index, count, mask, block, row, None))


def _typed(random: Random, model: WireModel) -> bool:
    return random.random() < 0.5 and all(tensor.kind.contents_field != NO_CONTENTS for tensor in model.outputs)


def _infer_bytes_arguments(random: Random) -> tuple[Any, ...]:
    directory, index, count, mask, block, row = _reply_arguments(random)
    typed = int(_typed(random, directory.models[index]))
    return directory.table, index, count, mask, random.choice((0, 1, 64)), typed, block, row


def _infer_bytes(
    table: Array, index: int, count: int, mask: int, id_bytes: int, typed: int, block: Array, row: int
) -> int:
    return len(_expected_reply(table, index, count, mask, block, row, (b"i" * id_bytes, bool(typed))))


def _infer_reply_arguments(random: Random) -> tuple[Any, ...]:
    directory, index, count, mask, block, row = _reply_arguments(random)
    typed = _typed(random, directory.models[index])
    request_id = random.choice((b"", b"a", b"i" * 64))
    reply = _expected_reply(directory.table, index, count, mask, block, row, (request_id, typed))
    ids, id_start, id_end = span(random, request_id)
    return (
        *_out(random, len(reply)), directory.table, directory.blob, index, count, mask,
        ids, id_start, id_end - id_start, int(typed), block, row,
    )  # fmt: skip


def _infer_reply(
    out: Array, start: int, end: int, table: Array, _blob: Array, index: int, count: int, mask: int,
    ids: Array, id_offset: int, id_bytes: int, typed: int, block: Array, row: int,
) -> Any:  # fmt: skip
    request_id = cut(ids, id_offset, id_offset + id_bytes)
    return written(out, start, end, _expected_reply(table, index, count, mask, block, row, (request_id, bool(typed))))


def _plain_copy() -> tuple[Any, ...]:
    message, start, end, table, blob, parsed = plain_predict()
    assert predict.read_predict(message, start, end, table, blob, parsed) == OK
    return message, parsed, table, np.zeros(plain_directory().input_block_bytes(0), dtype=np.uint8), 5


def _plain_predict_reply() -> tuple[Any, ...]:
    directory = plain_directory()
    block = np.zeros(directory.output_block_bytes(0), dtype=np.uint8)
    return np.zeros(512, dtype=np.uint8), 0, 512, directory.table, directory.blob, 0, 1, 1, block, 5


def _plain_infer_reply() -> tuple[Any, ...]:
    directory = plain_directory()
    block, ids = np.zeros(directory.output_block_bytes(0), dtype=np.uint8), array(b"request-1")
    out = np.zeros(512, dtype=np.uint8)
    return out, 0, 512, directory.table, directory.blob, 0, 1, 1, ids, 0, 9, layout.RAW_CONTENTS, block, 5


REPLY_ROWS = (
    Row(
        rows.copy_rows,
        _copy_arguments,
        _copied,
        lambda result, arguments: (result, arguments[3].tobytes()),
        _plain_copy,
    ),
    Row(reply_writer.predict_reply_bytes, _predict_bytes_arguments, _predict_bytes),
    Row(
        reply_writer.write_predict_reply,
        _predict_reply_arguments,
        _predict_reply,
        lambda result, arguments: (result, arguments[0].tobytes()),
        _plain_predict_reply,
    ),
    Row(reply_writer.infer_reply_bytes, _infer_bytes_arguments, _infer_bytes),
    Row(
        reply_writer.write_infer_reply,
        _infer_reply_arguments,
        _infer_reply,
        lambda result, arguments: (result, arguments[0].tobytes()),
        _plain_infer_reply,
    ),
)
