"""What nghttp2 calls while it reads and writes a session: C functions, compiled.

Used by `session`, which gives their addresses to nghttp2. `user` is the address of two words: the lane, and the index
of the connection. Always: a callback never raises; it returns 0, or an error code that ends the stream or the session.
"""

from __future__ import annotations

import numpy as np
from numba import carray, cfunc, types

from native.batch.seal import note_cancelled
from native.http2.binding import (
    CATEGORY_REQUEST,
    DATA,
    ERR_CALLBACK_FAILURE,
    FLAG_ACK,
    FLAG_END_STREAM,
    FLAG_NONE,
    GOAWAY,
    HEADERS,
    NO_ERROR,
    ON_DATA_CHUNK_RECV,
    ON_FRAME,
    ON_FRAME_NOT_SEND,
    ON_HEADER,
    ON_STREAM_CLOSE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    session_consume,
    session_get_stream_remote_close,
    session_get_stream_user_data,
    submit_rst_stream,
)
from native.http2.layout import FRAME
from native.http2.requests import append_chunk, begin_request, end_request, reset_headers
from native.inner import inner
from native.lane.layout import (
    ASSEMBLING,
    CONNECTION,
    ENCODING_GZIP,
    ENCODING_IDENTITY,
    ENCODING_UNKNOWN,
    LANE_CONNECTION_COUNT,
    LANE_CONNECTIONS,
    LANE_EMPTY_DATA_MAX,
    LANE_HEADER_BYTES_MAX,
    LANE_HEADERS_MAX,
    LANE_METHOD_COUNT,
    LANE_PATH_SPANS,
    LANE_PATH_TEXT,
    LANE_PATH_TEXT_BYTES,
    LANE_PATHS_SEEN,
    LANE_PRIORITY_MAX,
    LANE_RESETS_SENT_MAX,
    LANE_SLOT_COUNT,
    LANE_SLOTS,
    LANE_WORDS,
    NO_SLOT,
    PATH_SEEN_BYTES,
    SLOT,
)
from native.lane.slots import abandon_slot, drop_reply
from native.plane.counters import (
    CUTOFF_EMPTY_DATA_FRAMES,
    CUTOFF_HEADER_BYTES,
    CUTOFF_HEADER_COUNT,
    CUTOFF_PRIORITY_FRAMES,
    CUTOFF_PROTOCOL_ERROR,
    CUTOFF_RESETS_SENT,
)
from native.pointers import pointer
from native.route.layout import PIN_CANARY, PIN_STABLE, PIN_UNKNOWN
from native.route.split import key_hash
from native.wire.codes import NO_METHOD
from native.wire.kernel import Bytes, Words, copy_bytes, int32, int64, kernel
from native.wire.metadata import content_type_ok, method_of, timeout_ns

# Beyond its limit a header list is refused in words; beyond this multiple the peer is after something else.
HEADER_LIMIT_MULTIPLE = 4


def _text(text: str) -> Bytes:
    return np.frombuffer(text.encode(), dtype=np.uint8).copy()


PATH, METHOD, POST = _text(":path"), _text(":method"), _text("POST")
CONTENT_TYPE_NAME, TIMEOUT_NAME, ENCODING_NAME = _text("content-type"), _text("grpc-timeout"), _text("grpc-encoding")
IDENTITY, GZIP = _text("identity"), _text("gzip")
KEY_NAME, PIN_NAME, RETRY_NAME = _text("roost-routing-key"), _text("roost-variant"), _text("grpc-previous-rpc-attempts")
STABLE, CANARY, NO_ATTEMPT = _text("stable"), _text("canary"), _text("0")


@kernel  # no signature: a constant array is of a type of its own, read-only
def _same(left: Bytes, right: Bytes) -> bool:
    if left.size != right.size:
        return False
    for index in range(left.size):
        if left[index] != right[index]:
            return False
    return True


@inner("int64(int64[::1], int64, int64, int64)")
def _slot_of(lane: Words, connection_index: int, session: int, stream_id: int) -> int:
    """The slot that a stream's user data names, if it is that stream's still, or NO_SLOT."""
    index = session_get_stream_user_data(session, int32(stream_id)) - 1
    if index < 0 or index >= lane[LANE_SLOT_COUNT]:
        return NO_SLOT
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    return index if slot.connection == connection_index and slot.stream_id == stream_id else NO_SLOT


@inner("int64(int64[::1], int64, int64, int64)")
def _cut(lane: Words, connection_index: int, reason: int, code: int) -> int:
    """Marks the connection for cutting off, with the counter of the reason; gives `code` back for the callback."""
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    if connections[connection_index].cutoff == 0:
        connections[connection_index].cutoff = reason
    return code


@inner("int64(int64[::1], int64, uint8[::1], uint8[::1])")
def take_header(lane: Words, connection_index: int, name: Bytes, value: Bytes) -> int:
    """One header of a request: counted, and read where it decides what happens to the call."""
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    connection = connections[connection_index]
    connection.header_count += 1
    connection.header_bytes += name.size + value.size + 32  # as RFC 9113, 6.5.2 counts a header list
    if connection.header_bytes > HEADER_LIMIT_MULTIPLE * lane[LANE_HEADER_BYTES_MAX]:
        return _cut(lane, connection_index, CUTOFF_HEADER_BYTES, ERR_CALLBACK_FAILURE)
    if connection.header_count > HEADER_LIMIT_MULTIPLE * lane[LANE_HEADERS_MAX]:
        return _cut(lane, connection_index, CUTOFF_HEADER_COUNT, ERR_CALLBACK_FAILURE)
    if name.size == 5 and _same(name, PATH):
        spans = carray(pointer(lane[LANE_PATH_SPANS]), (2 * lane[LANE_METHOD_COUNT],), np.int64)
        text = carray(pointer(lane[LANE_PATH_TEXT]), (lane[LANE_PATH_TEXT_BYTES],), np.uint8)
        connection.header_method = method_of(value, 0, value.size, spans, text)
        if connection.header_method == NO_METHOD:
            seen = carray(pointer(lane[LANE_PATHS_SEEN]), (lane[LANE_CONNECTION_COUNT] * PATH_SEEN_BYTES,), np.uint8)
            connection.header_path_bytes = min(value.size, PATH_SEEN_BYTES)
            copy_bytes(seen, connection_index * PATH_SEEN_BYTES, value, 0, connection.header_path_bytes)
    elif name.size == 7 and _same(name, METHOD):
        connection.header_post = 1 if _same(value, POST) else 0
    elif name.size == 12 and _same(name, CONTENT_TYPE_NAME):
        connection.header_content_type = 1 if content_type_ok(value, 0, value.size) else 0
    elif name.size == 12 and _same(name, TIMEOUT_NAME):
        connection.header_timeout_ns = timeout_ns(value, 0, value.size)
    elif name.size == 13 and _same(name, ENCODING_NAME):
        if _same(value, IDENTITY):
            connection.header_encoding = ENCODING_IDENTITY
        elif _same(value, GZIP):
            connection.header_encoding = ENCODING_GZIP
        else:
            connection.header_encoding = ENCODING_UNKNOWN
    elif name.size == 13 and _same(name, PIN_NAME):
        if _same(value, STABLE):
            connection.header_pin = PIN_STABLE
        elif _same(value, CANARY):
            connection.header_pin = PIN_CANARY
        else:
            connection.header_pin = PIN_UNKNOWN
    elif name.size == 17 and _same(name, KEY_NAME):
        connection.header_keyed = 1 if value.size > 0 else 0
        connection.header_key_hash = key_hash(value, 0, value.size)
    elif name.size == 26 and _same(name, RETRY_NAME):
        connection.header_retry = 0 if _same(value, NO_ATTEMPT) else 1
    return 0


@inner("int64(int64[::1], int64, int64, int64)")
def _end_of_stream(lane: Words, connection_index: int, session: int, stream_id: int) -> int:
    index = _slot_of(lane, connection_index, session, stream_id)
    if index == NO_SLOT:
        return 0
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    return end_request(lane, index) if slots[index].state == ASSEMBLING else 0


@inner("int64(int64[::1], int64, int64, int64)")
def take_frame(lane: Words, connection_index: int, session: int, frame_address: int) -> int:
    """A whole frame has come: requests begin and end here, and what costs the peer nothing is counted."""
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    connection = connections[connection_index]
    frame = carray(pointer(frame_address), (1,), FRAME)[0]
    kind, flags, stream_id = int64(frame.type), int64(frame.flags), int64(frame.stream_id)
    if kind == DATA:
        if flags & FLAG_END_STREAM:
            return _end_of_stream(lane, connection_index, session, stream_id)
        if frame.payload_bytes <= int64(frame.detail):
            connection.empty_data_frames += 1
            if connection.empty_data_frames > lane[LANE_EMPTY_DATA_MAX]:
                return _cut(lane, connection_index, CUTOFF_EMPTY_DATA_FRAMES, ERR_CALLBACK_FAILURE)
    elif kind == HEADERS:
        if frame.category == CATEGORY_REQUEST:
            result = begin_request(lane, connection_index, stream_id)
            if result != 0:
                return result
        if flags & FLAG_END_STREAM:
            return _end_of_stream(lane, connection_index, session, stream_id)
    elif kind == SETTINGS:
        if flags & FLAG_ACK:
            connection.settings_sent_ns = 0
    elif kind == PRIORITY:
        connection.priority_frames += 1
        if connection.priority_frames > lane[LANE_PRIORITY_MAX]:
            return _cut(lane, connection_index, CUTOFF_PRIORITY_FRAMES, ERR_CALLBACK_FAILURE)
    return 0


@inner("int64(int64[::1], int64, int64, int64, int64, int64)")
def take_chunk(lane: Words, connection_index: int, session: int, stream_id: int, source: int, count: int) -> int:
    """Bytes of a DATA frame: kept where a call still wants them, consumed in any case."""
    index = _slot_of(lane, connection_index, session, stream_id)
    if index != NO_SLOT:
        slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
        if slots[index].state == ASSEMBLING:
            append_chunk(lane, index, source, count)
    # Whatever was kept lies within its reserved room, so the window may open again.
    return session_consume(session, int32(stream_id), np.uintp(count))


@inner("int64(int64[::1], int64, int64, int64)")
def close_stream(lane: Words, connection_index: int, session: int, stream_id: int) -> int:
    """A stream is gone, by whatever end: its slot is freed, or left to the work that holds it."""
    index = _slot_of(lane, connection_index, session, stream_id)
    if index != NO_SLOT and abandon_slot(lane, index) == 1:
        note_cancelled(lane, index)
    return 0


@cfunc(ON_FRAME, cache=True)
def on_begin_headers(session: int, frame: int, user: int) -> int:
    words = carray(pointer(user), (2,), np.int64)
    reset_headers(carray(pointer(words[0]), (LANE_WORDS,), np.int64), words[1])
    return 0


@cfunc(ON_HEADER, cache=True)
def on_header(
    session: int, frame: int, name: int, name_bytes: int, value: int, value_bytes: int, flags: int, user: int
) -> int:
    words = carray(pointer(user), (2,), np.int64)
    lane = carray(pointer(words[0]), (LANE_WORDS,), np.int64)
    name_array = carray(pointer(name), (int64(name_bytes),), np.uint8)
    value_array = carray(pointer(value), (int64(value_bytes),), np.uint8)
    return int32(take_header(lane, words[1], name_array, value_array))


@cfunc(ON_FRAME, cache=True)
def on_frame_recv(session: int, frame: int, user: int) -> int:
    words = carray(pointer(user), (2,), np.int64)
    lane = carray(pointer(words[0]), (LANE_WORDS,), np.int64)
    return int32(take_frame(lane, words[1], session, frame))


@cfunc(ON_DATA_CHUNK_RECV, cache=True)
def on_data_chunk_recv(session: int, flags: int, stream_id: int, source: int, count: int, user: int) -> int:
    words = carray(pointer(user), (2,), np.int64)
    lane = carray(pointer(words[0]), (LANE_WORDS,), np.int64)
    return int32(take_chunk(lane, words[1], session, int64(stream_id), source, int64(count)))


@cfunc(ON_STREAM_CLOSE, cache=True)
def on_stream_close(session: int, stream_id: int, error_code: int, user: int) -> int:
    words = carray(pointer(user), (2,), np.int64)
    lane = carray(pointer(words[0]), (LANE_WORDS,), np.int64)
    return int32(close_stream(lane, words[1], session, int64(stream_id)))


@inner("int64(int64[::1], int64, int64)")
def count_reset(lane: Words, connection_index: int, error_code: int) -> int:
    """Counts resets that this side sends for cause: a peer that provokes them again and again is cut off."""
    if error_code == NO_ERROR:
        return 0
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    connection = connections[connection_index]
    connection.resets_sent += 1
    if connection.resets_sent > lane[LANE_RESETS_SENT_MAX]:
        return _cut(lane, connection_index, CUTOFF_RESETS_SENT, ERR_CALLBACK_FAILURE)
    return 0


@cfunc(ON_FRAME, cache=True)
def on_frame_send(session: int, frame: int, user: int) -> int:
    """A frame has left. Behind an answer that came before the whole request, the peer is told to stop sending.

    That reset can't be submitted together with the answer: nghttp2 then drops the answer.
    """
    header = carray(pointer(frame), (1,), FRAME)[0]
    kind = int64(header.type)
    if kind == HEADERS and int64(header.flags) & FLAG_END_STREAM:
        stream_id = int32(header.stream_id)
        if session_get_stream_remote_close(session, stream_id) == 0:
            submit_rst_stream(session, types.uint8(FLAG_NONE), stream_id, types.uint32(NO_ERROR))
    elif kind == RST_STREAM:
        words = carray(pointer(user), (2,), np.int64)
        lane = carray(pointer(words[0]), (LANE_WORDS,), np.int64)
        return int32(count_reset(lane, words[1], int64(header.detail)))
    elif kind == GOAWAY and int64(header.error_code) != NO_ERROR:
        # nghttp2 itself has had enough of this peer; what it says to it still goes out.
        words = carray(pointer(user), (2,), np.int64)
        lane = carray(pointer(words[0]), (LANE_WORDS,), np.int64)
        return int32(_cut(lane, words[1], CUTOFF_PROTOCOL_ERROR, 0))
    return 0


@cfunc(ON_FRAME_NOT_SEND, cache=True)
def on_frame_not_send(session: int, frame: int, error_code: int, user: int) -> int:
    """A reply's headers could not be sent, because its stream is on its way out: its bytes are given back now."""
    header = carray(pointer(frame), (1,), FRAME)[0]
    if int64(header.type) == HEADERS:
        words = carray(pointer(user), (2,), np.int64)
        lane = carray(pointer(words[0]), (LANE_WORDS,), np.int64)
        index = _slot_of(lane, words[1], session, int64(header.stream_id))
        if index != NO_SLOT:
            drop_reply(lane, index)
    return 0
