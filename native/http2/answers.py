"""Answers: what a batch or a servicer has made of calls goes back to their streams.

Used by the worker's batcher (one call a batch) and by the fast lane for calls that servicers have answered.
Always: each request of a batch is answered exactly once or was cancelled; its slot is given back here or when its
stream has closed.
"""

from __future__ import annotations

import numpy as np
from numba import carray, types

from native.batch.layout import ARENA
from native.http2.binding import session_resume_data
from native.http2.refusals import REPLY_OVER_LIMIT, REPLY_TOO_LONG
from native.http2.replies import count_answer, give_up, refuse_slot, reserve_reply, submit_reply, submit_status
from native.http2.requests import PREDICT
from native.inner import inner
from native.lane.layout import (
    CONNECTION,
    LANE_ARENA_COUNT,
    LANE_ARENA_SLOTS,
    LANE_ARENAS,
    LANE_CONNECTION_COUNT,
    LANE_CONNECTIONS,
    LANE_COUNTERS,
    LANE_DIRECTORY_BLOB,
    LANE_DIRECTORY_BLOB_BYTES,
    LANE_DIRECTORY_TABLE,
    LANE_DIRECTORY_WORDS,
    LANE_IDS,
    LANE_MESSAGE_BYTES_MAX,
    LANE_NOW_NS,
    LANE_SLOT_COUNT,
    LANE_SLOTS,
    NO_CONNECTION,
    OUTBOX_BYTES,
    REPLYING,
    RUNNING,
    SLOT,
)
from native.lane.slots import drop_request, release_slot, touch
from native.plane.counters import COUNTERS_LENGTH, REPLY_BYTES
from native.pointers import memcpy, pointer
from native.route.outcomes import count_answered
from native.wire.codes import FRAME_HEADER_BYTES, ID_BYTES_MAX, OK
from native.wire.kernel import Words, kernel
from native.wire.reply_writer import infer_reply_bytes, predict_reply_bytes, write_infer_reply, write_predict_reply

STATUS_OK = 0
GONE = -1  # the call's stream, or the whole slot, is not there any more
BUSY = -2
ALL = -1
# What a batch's replies may add to before they are offered to the sockets.
ANSWERED_AT_ONCE_BYTES = OUTBOX_BYTES // 2


@inner("void(int64[::1], int64, int64)")
def _answer_request(lane: Words, arena_index: int, index: int) -> None:
    """Writes and submits the reply of one request of a batch."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    arenas = carray(pointer(lane[LANE_ARENAS]), (lane[LANE_ARENA_COUNT],), ARENA)
    table = carray(pointer(lane[LANE_DIRECTORY_TABLE]), (lane[LANE_DIRECTORY_WORDS],), np.int64)
    blob = carray(pointer(lane[LANE_DIRECTORY_BLOB]), (lane[LANE_DIRECTORY_BLOB_BYTES],), np.uint8)
    slot, arena = slots[index], arenas[arena_index]
    block = carray(pointer(arena.output_address), (arena.output_bytes,), np.uint8)
    if slot.method == PREDICT:
        reply_bytes = predict_reply_bytes(table, slot.model, slot.rows, slot.output_mask)
    else:
        reply_bytes = infer_reply_bytes(
            table, slot.model, slot.rows, slot.output_mask, slot.id_bytes, slot.contents, block, slot.row
        )
    if reply_bytes - FRAME_HEADER_BYTES > lane[LANE_MESSAGE_BYTES_MAX]:
        refuse_slot(lane, index, REPLY_OVER_LIMIT)
        return
    address = reserve_reply(lane, index, reply_bytes)
    if address == 0:
        refuse_slot(lane, index, REPLY_TOO_LONG)
        return
    out = carray(pointer(address), (reply_bytes,), np.uint8)
    if slot.method == PREDICT:
        end = write_predict_reply(
            out, 0, reply_bytes, table, blob, slot.model, slot.rows, slot.output_mask, block, slot.row
        )
    else:
        ids = carray(pointer(lane[LANE_IDS]), (lane[LANE_SLOT_COUNT] * ID_BYTES_MAX,), np.uint8)
        end = write_infer_reply(
            out, 0, reply_bytes, table, blob, slot.model, slot.rows, slot.output_mask,
            ids, index * ID_BYTES_MAX, slot.id_bytes, slot.contents, block, slot.row,
        )  # fmt: skip
    if end < 0 or submit_reply(lane, index, end) != 0:
        give_up(lane, index)
        return
    count_answer(lane, slot.method, STATUS_OK, lane[LANE_NOW_NS] - slot.arrived_ns)


@kernel("int64(int64[::1], int64, int64, int64)")
def answer_batch(lane: Words, arena_index: int, first_request: int, now_ns: int) -> int:
    """Answers requests of a batch that came over connections, but for those that were answered already.

    Begins with `first_request` and returns the one to go on with, once what has been written is flushed, or ALL. So
    the replies of a large batch leave while it is being answered, and only a reader that is slow has many waiting.
    """
    lane[LANE_NOW_NS] = now_ns
    arenas = carray(pointer(lane[LANE_ARENAS]), (lane[LANE_ARENA_COUNT],), ARENA)
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    arena = arenas[arena_index]
    requests = carray(pointer(lane[LANE_ARENA_SLOTS]), (arena.first_request + arena.requests,), np.int64)
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    waiting_bytes = counters[REPLY_BYTES]
    for request in range(first_request, arena.requests):
        if counters[REPLY_BYTES] - waiting_bytes > ANSWERED_AT_ONCE_BYTES:
            return request
        index = requests[arena.first_request + request]
        slot = slots[index]
        if slot.state != RUNNING or slot.arena != arena_index:
            continue
        if slot.cancelled != 0:
            # It was run: callers that give up on a slow variant must not hide how slow it is.
            if slot.status == 0:
                count_answered(lane, index, arena.output_address)
            release_slot(lane, index)
        elif slot.connection != NO_CONNECTION:
            count_answered(lane, index, arena.output_address)
            _answer_request(lane, arena_index, index)
    return ALL


@kernel("void(int64[::1], int64[::1], int64, int64)")
def refuse_unrun(lane: Words, refused: Words, count: int, refusal: int) -> None:
    """Tells the first `count` of these slots, where they came over a connection, why they were not run."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    for position in range(min(count, refused.size)):
        if slots[refused[position]].connection != NO_CONNECTION:
            refuse_slot(lane, refused[position], refusal)


@kernel("int64(int64[::1], int64, int64, int64, int64, int64)")
def answer_status(lane: Words, index: int, generation: int, status: int, message: int, message_bytes: int) -> int:
    """A servicer refused a handed call: status 1 to 16 and its escaped message at an address. OK or GONE.

    Releases the slot in any case. A stream that has sent messages already ends with the status alone.
    """
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    if slot.generation != generation:
        return GONE
    if slot.connection == NO_CONNECTION:
        release_slot(lane, index)
        return GONE
    count_answer(lane, slot.method, status, lane[LANE_NOW_NS] - slot.arrived_ns)
    submit_status(lane, index, status, message, message_bytes)
    return OK


@inner("void(int64, int64, int64)")
def _write_frame(address: int, message: int, message_bytes: int) -> None:
    """Writes flag 0, the length and the message at `address`, which has room for them."""
    out = carray(pointer(address), (FRAME_HEADER_BYTES,), np.uint8)
    out[0] = 0
    for byte in range(4):
        out[1 + byte] = (message_bytes >> (24 - 8 * byte)) & 0xFF
    memcpy(address + FRAME_HEADER_BYTES, message, types.uintp(message_bytes))


@kernel("int64(int64[::1], int64, int64, int64, int64, boolean)")
def answer_message(lane: Words, index: int, generation: int, message: int, message_bytes: int, last: bool) -> int:
    """A servicer's reply message at an address: the only one (`last`), or one of a stream. OK, GONE or BUSY.

    The frame's header is put in front here. BUSY: the stream's last message is not sent yet; try again later.
    """
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    if slot.generation != generation:
        return GONE
    if slot.connection == NO_CONNECTION:
        release_slot(lane, index)
        return GONE
    if slot.reply_end > slot.reply_start:
        return BUSY
    frame_bytes = FRAME_HEADER_BYTES + message_bytes
    address = reserve_reply(lane, index, frame_bytes)
    if address == 0:
        if slot.responded == 0:
            refuse_slot(lane, index, REPLY_TOO_LONG)
        return GONE
    _write_frame(address, message, message_bytes)
    slot.reply_open = 0 if last else 1
    if slot.responded == 0:
        drop_request(lane, index)
        count_answer(lane, slot.method, STATUS_OK, lane[LANE_NOW_NS] - slot.arrived_ns)
        if submit_reply(lane, index, frame_bytes) != 0:
            give_up(lane, index)
            return GONE
        return OK
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    connection = connections[slot.connection]
    slot.reply_start = 0
    slot.reply_end = frame_bytes
    slot.progress_ns = lane[LANE_NOW_NS]
    connection.reply_bytes += frame_bytes
    counters[REPLY_BYTES] += frame_bytes
    touch(lane, slot.connection)
    session_resume_data(connection.session, types.int32(slot.stream_id))
    return OK


@kernel("int64(int64[::1], int64, int64, int64, int64, int64)")
def end_stream(lane: Words, index: int, generation: int, status: int, message: int, message_bytes: int) -> int:
    """A streaming reply has sent its last message: the stream ends with this status once all is sent. OK or GONE.

    message: address of the escaped message, kept in the place of the request; longer ones are cut to fit there.
    """
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    if slot.generation != generation or slot.connection == NO_CONNECTION or slot.state != REPLYING:
        return GONE
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    drop_request(lane, index)
    kept = min(message_bytes, slot.request_capacity_bytes)
    memcpy(slot.request_address, message, types.uintp(kept))
    slot.request_bytes = kept
    slot.status = status
    slot.reply_open = 0
    touch(lane, slot.connection)
    session_resume_data(connections[slot.connection].session, types.int32(slot.stream_id))
    return OK
