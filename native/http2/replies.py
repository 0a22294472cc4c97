"""Replies on their way out: submitting them, feeding them to nghttp2, and refusing.

Used by the request callbacks and by the answer kernels. A reply's bytes lie in its slot's memory, bounded per
connection, until nghttp2 asks for them in `read_reply`, which may be seconds later, when the peer opens its window.
Always: whoever submits has checked that the stream is still tied to the slot (`slot.connection`).
"""

from __future__ import annotations

import numpy as np
from numba import carray, cfunc, types

from native.http2.binding import (
    DATA_FLAG_EOF,
    DATA_FLAG_NO_END_STREAM,
    ERR_DEFERRED,
    ERR_STREAM,
    FLAG_NONE,
    INTERNAL_ERROR,
    READ_DATA,
    session_set_stream_user_data,
    submit_response,
    submit_rst_stream,
    submit_trailer,
)
from native.http2.layout import DATA_PROVIDER, NV, NV_BYTES
from native.http2.refusals import (
    REFUSAL_COUNT,
    REFUSAL_COUNTERS,
    REFUSAL_HEADER_COUNT,
    REFUSAL_STATUSES,
    STATUS_HEADER_COUNT,
)
from native.inner import inner
from native.lane.layout import (
    CONNECTION,
    HANDED,
    LANE_CONNECTION_COUNT,
    LANE_CONNECTIONS,
    LANE_COUNTERS,
    LANE_HANDED_IN_FLIGHT,
    LANE_NOW_NS,
    LANE_NV_SCRATCH,
    LANE_PROVIDER,
    LANE_READ_CALLBACK,
    LANE_REFUSAL_HEADERS,
    LANE_REPLY_BYTES_ALL_MAX,
    LANE_REPLY_BYTES_MAX,
    LANE_RESPONSE_HEADERS,
    LANE_SLOT_COUNT,
    LANE_SLOTS,
    LANE_STATUS_HEADERS,
    LANE_TRAILERS,
    LANE_WORDS,
    NO_CONNECTION,
    REPLYING,
    SLOT,
)
from native.lane.slots import drop_reply, end_executing, release_slot, touch
from native.plane.buckets import latency_bucket
from native.plane.counters import (
    COUNTERS_LENGTH,
    CUTOFF_REPLY_BYTES,
    LATENCY,
    LATENCY_SUM_NS,
    METHOD_OTHER,
    REPLY_BYTES,
    REQUESTS,
    STATUS_COUNT,
)
from native.pointers import malloc, memcpy, pointer
from native.wire.kernel import Words, int64, kernel

STATUSES_OF_REFUSALS = np.array(REFUSAL_STATUSES, dtype=np.int64)
COUNTERS_OF_REFUSALS = np.array(REFUSAL_COUNTERS, dtype=np.int64)
assert STATUSES_OF_REFUSALS.size == COUNTERS_OF_REFUSALS.size == REFUSAL_COUNT
# Larger than any reply, so that sizes computed from it stay far from the end of int64.
REPLY_BYTES_CEILING = 1 << 40
# A reader at its bound is behind; one that also took no byte for so long does not read.
# Of a call that was refused before anything was done for it: fast refusals must not make a server look fast.
NO_LATENCY = -1
UNREAD_NS_MAX = 500_000_000


@inner("void(int64[::1], int64, int64, int64)")
def count_answer(lane: Words, method: int, status: int, latency_ns: int) -> None:
    """Counts an answered call by method and status, and its latency, unless that is NO_LATENCY."""
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    kind = method if 0 <= method < METHOD_OTHER else METHOD_OTHER
    counters[REQUESTS + kind * STATUS_COUNT + status] += 1
    if latency_ns != NO_LATENCY:
        counters[LATENCY + latency_bucket(latency_ns)] += 1
        counters[LATENCY_SUM_NS] += latency_ns


@inner("void(int64[::1], int64, int64, int64, int64)")
def refuse_stream(lane: Words, session: int, stream_id: int, method: int, refusal: int) -> None:
    """Ends a stream that has no slot (any more) with a refusal."""
    headers = lane[LANE_REFUSAL_HEADERS] + refusal * REFUSAL_HEADER_COUNT * NV_BYTES
    session_set_stream_user_data(session, types.int32(stream_id), 0)
    submit_response(session, types.int32(stream_id), headers, types.uintp(REFUSAL_HEADER_COUNT), 0)
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    if COUNTERS_OF_REFUSALS[refusal] != 0:
        counters[COUNTERS_OF_REFUSALS[refusal]] += 1
    count_answer(lane, method, STATUSES_OF_REFUSALS[refusal], NO_LATENCY)


@inner("void(int64[::1], int64, int64)")
def refuse_slot(lane: Words, index: int, refusal: int) -> None:
    """Ends a slot's call with a refusal and releases the slot. Where its stream is gone, just releases it."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    if slot.connection != NO_CONNECTION:
        connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
        connection = connections[slot.connection]
        touch(lane, slot.connection)
        stream_id, method, session = slot.stream_id, slot.method, connection.session
        release_slot(lane, index)
        refuse_stream(lane, session, stream_id, method, refusal)
    else:
        release_slot(lane, index)


@inner("int64(int64[::1], int64, int64)")
def reserve_reply(lane: Words, index: int, reply_bytes: int) -> int:
    """Makes room for a reply in the slot's memory: its address, or 0 where a bound on replies is met.

    A reader that is at its bound and has taken nothing for UNREAD_NS_MAX is cut off; one that reads is only refused.
    The slot must be tied to a connection.
    """
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    connection = connections[slot.connection]
    if reply_bytes < 0 or reply_bytes > REPLY_BYTES_CEILING:
        return 0
    if reply_bytes > lane[LANE_REPLY_BYTES_MAX] - connection.reply_bytes:
        idle_ns = lane[LANE_NOW_NS] - connection.progress_ns
        if connection.reply_bytes > 0 and idle_ns > UNREAD_NS_MAX and connection.cutoff == 0:
            connection.cutoff = CUTOFF_REPLY_BYTES
            touch(lane, slot.connection)
        return 0
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    if reply_bytes > lane[LANE_REPLY_BYTES_ALL_MAX] - counters[REPLY_BYTES]:
        return 0
    if reply_bytes > slot.reply_capacity_bytes:
        address = malloc(types.uintp(reply_bytes))
        if address == 0:
            return 0
        slot.reply_address = address
        slot.reply_capacity_bytes = reply_bytes
    return slot.reply_address


@kernel("void(int64[::1], int64)")
def give_up(lane: Words, index: int) -> None:
    """A reply that libnghttp2 did not take, for lack of memory: the stream is reset and no longer names the slot."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    if slot.connection != NO_CONNECTION:
        connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
        session, stream_id = connections[slot.connection].session, types.int32(slot.stream_id)
        session_set_stream_user_data(session, stream_id, 0)
        submit_rst_stream(session, types.uint8(FLAG_NONE), stream_id, types.uint32(INTERNAL_ERROR))
        touch(lane, slot.connection)
    release_slot(lane, index)


@inner("int64(int64[::1], int64, int64)")
def submit_reply(lane: Words, index: int, reply_bytes: int) -> int:
    """Answers a slot's call with the message frame of `reply_bytes` that lies in its memory. 0, or nghttp2's error."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    connection = connections[slot.connection]
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    slot.reply_start = 0
    slot.reply_end = reply_bytes
    if connection.reply_bytes == 0:
        connection.progress_ns = lane[LANE_NOW_NS]
    connection.reply_bytes += reply_bytes
    counters[REPLY_BYTES] += reply_bytes
    slot.progress_ns = lane[LANE_NOW_NS]
    if slot.state == HANDED:
        lane[LANE_HANDED_IN_FLIGHT] -= 1
    slot.state = REPLYING
    slot.responded = 1
    end_executing(lane, index)
    touch(lane, slot.connection)
    provider = carray(pointer(lane[LANE_PROVIDER]), (1,), DATA_PROVIDER)
    provider[0].source = index
    provider[0].read_callback = lane[LANE_READ_CALLBACK]
    return submit_response(
        connection.session,
        types.int32(slot.stream_id),
        lane[LANE_RESPONSE_HEADERS],
        types.uintp(2),
        lane[LANE_PROVIDER],
    )


@inner("void(int64[::1], int64, int64, int64)")
def _fill_status_headers(lane: Words, status: int, message_address: int, message_bytes: int) -> None:
    """Puts the headers of a status into the scratch block, the message last."""
    static = carray(pointer(lane[LANE_STATUS_HEADERS]), (STATUS_COUNT, STATUS_HEADER_COUNT), NV)
    scratch = carray(pointer(lane[LANE_NV_SCRATCH]), (STATUS_HEADER_COUNT,), NV)
    for header in range(STATUS_HEADER_COUNT):
        scratch[header].name = static[status, header].name
        scratch[header].value = static[status, header].value
        scratch[header].name_bytes = static[status, header].name_bytes
        scratch[header].value_bytes = static[status, header].value_bytes
        scratch[header].flags = static[status, header].flags
    scratch[STATUS_HEADER_COUNT - 1].value = message_address
    scratch[STATUS_HEADER_COUNT - 1].value_bytes = message_bytes


@inner("void(int64[::1], int64, int64)")
def _submit_trailers(lane: Words, index: int, session: int) -> None:
    """Ends a reply: `grpc-status: 0`, or what a stream of replies ended with."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    stream_id = types.int32(slot.stream_id)
    if slot.status == 0:
        submit_trailer(session, stream_id, lane[LANE_TRAILERS], types.uintp(1))
        return
    _fill_status_headers(lane, slot.status, slot.request_address, slot.request_bytes)
    # The last two of the block, without `:status` and `content-type`, which were sent with the first message.
    submit_trailer(session, stream_id, lane[LANE_NV_SCRATCH] + 2 * NV_BYTES, types.uintp(2))


@inner("int64(int64[::1], int64, int64, int64, int64)")
def submit_status(lane: Words, index: int, status: int, message_address: int, message_bytes: int) -> int:
    """Answers a slot's call with a status and an escaped message, and releases the slot. 0, or nghttp2's error.

    nghttp2 copies the message, so it may go when this returns.
    """
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    connection = connections[slot.connection]
    _fill_status_headers(lane, status, message_address, message_bytes)
    count = STATUS_HEADER_COUNT if message_bytes > 0 else STATUS_HEADER_COUNT - 1
    touch(lane, slot.connection)
    session, stream_id = connection.session, types.int32(slot.stream_id)
    session_set_stream_user_data(session, stream_id, 0)
    result = submit_response(session, stream_id, lane[LANE_NV_SCRATCH], types.uintp(count), 0)
    release_slot(lane, index)
    return result


@inner("int64(int64[::1], int64, int64, int64, int64, int64, int64, int64)")
def _fill(
    lane: Words,
    connection_index: int,
    index: int,
    session: int,
    stream_id: int,
    target: int,
    room: int,
    data_flags: int,
) -> int:
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    if slot.state != REPLYING or slot.connection != connection_index or slot.stream_id != stream_id:
        return ERR_STREAM
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    connection = connections[connection_index]
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    count = min(slot.reply_end - slot.reply_start, room)
    if count == 0 and slot.reply_open == 1:
        return ERR_DEFERRED
    memcpy(target, slot.reply_address + slot.reply_start, types.uintp(count))
    slot.reply_start += count
    slot.progress_ns = lane[LANE_NOW_NS]
    connection.progress_ns = lane[LANE_NOW_NS]
    connection.reply_bytes -= count
    counters[REPLY_BYTES] -= count
    if slot.reply_start == slot.reply_end:
        drop_reply(lane, index)
        if slot.reply_open == 0:
            flags = carray(pointer(data_flags), (1,), np.uint32)
            flags[0] |= np.uint32(DATA_FLAG_EOF | DATA_FLAG_NO_END_STREAM)
            _submit_trailers(lane, index, session)
    return count


@cfunc(READ_DATA, cache=True)
def read_reply(session: int, stream_id: int, target: int, room: int, data_flags: int, source: int, user: int) -> int:
    """nghttp2 asks for the next bytes of a reply. Ends the stream with `grpc-status: 0` behind the last of them."""
    words = carray(pointer(user), (2,), np.int64)
    lane = carray(pointer(words[0]), (LANE_WORDS,), np.int64)
    index = carray(pointer(source), (1,), np.int64)[0]
    if index < 0 or index >= lane[LANE_SLOT_COUNT]:
        return ERR_STREAM
    return _fill(lane, words[1], index, session, int64(stream_id), target, int64(room), data_flags)
