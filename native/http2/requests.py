"""A call on its way in: its headers, its message's bytes, its end.

Used by the callbacks. Each function answers 0 or an nghttp2 error code, which the callback returns.
Always: a length that a peer announces meets its bound before a byte is kept; whatever a kernel can't read goes whole
to the Python servicers; the bytes of a refused stream are consumed, so that its neighbours' windows stay open.
"""

from __future__ import annotations

import numpy as np
from numba import carray, types

from native.batch.commit import commit_request
from native.http2.binding import session_set_stream_user_data
from native.http2.refusals import (
    ASSEMBLING_FULL,
    CONTENT_TYPE,
    DEADLINE_PASSED,
    ENCODING,
    FLAG_UNKNOWN,
    FLAG_WITHOUT_ENCODING,
    HANDOFFS_FULL,
    MESSAGE_CUT_SHORT,
    MESSAGE_MISSING,
    MESSAGE_TAIL,
    MESSAGE_TOO_LONG,
    METADATA_TOO_LONG,
    NOT_POST,
    QUEUE_FULL,
    SLOTS_FULL,
    TIMEOUT_MALFORMED,
    TOO_MANY_STREAMS,
)
from native.http2.replies import refuse_slot, refuse_stream
from native.inner import inner
from native.lane.layout import (
    CONNECTION,
    ENCODING_IDENTITY,
    ENCODING_UNKNOWN,
    HANDED,
    LANE_ASSEMBLING_BYTES,
    LANE_ASSEMBLING_BYTES_ALL_MAX,
    LANE_ASSEMBLING_BYTES_MAX,
    LANE_CONNECTION_COUNT,
    LANE_CONNECTIONS,
    LANE_COUNTERS,
    LANE_DIRECTORY_BLOB,
    LANE_DIRECTORY_BLOB_BYTES,
    LANE_DIRECTORY_TABLE,
    LANE_DIRECTORY_WORDS,
    LANE_HANDED,
    LANE_HANDED_COUNT,
    LANE_HANDED_IN_FLIGHT,
    LANE_HANDED_MAX,
    LANE_HEADER_BYTES_MAX,
    LANE_HEADERS_MAX,
    LANE_MESSAGE_BYTES_MAX,
    LANE_NOW_NS,
    LANE_PARSED,
    LANE_PATHS_SEEN,
    LANE_SLOT_COUNT,
    LANE_SLOTS,
    LANE_STREAMS_MAX,
    LENGTH_UNKNOWN,
    NO_SLOT,
    PATH_SEEN_BYTES,
    SLOT,
)
from native.lane.slots import begin_executing, claim_slot, drop_request
from native.plane.counters import ASSEMBLING_BYTES, COUNTERS_LENGTH, HANDOFFS
from native.plane.routing import NO_SEAT
from native.pointers import malloc, memcpy, pointer
from native.route.choose import choose_seat
from native.route.layout import PIN_NONE
from native.route.split import key_hash
from native.wire.codes import BAD_FLAG, BAD_TIMEOUT, FRAME_HEADER_BYTES, HAND_OVER, NEED_MORE, NO_METHOD, OK, TOO_LONG
from native.wire.directory import HEADER_WORDS, KERNEL_OK, MODEL_FLAGS, MODEL_MAX_ROWS, MODEL_ROUTE, MODEL_WORDS
from native.wire.frames import frame_flag, frame_length
from native.wire.infer_reader import read_infer
from native.wire.kernel import Bytes, Words, int64
from native.wire.parsed import (
    PARSED_MODEL,
    PARSED_ROUTING_KEY_BYTES,
    PARSED_ROUTING_KEY_OFFSET,
    PARSED_ROWS,
    PARSED_VERSION_NAMED,
    PARSED_WORDS,
)
from native.wire.predict_reader import read_predict

# The two methods that kernels read, by their place in the table of paths.
PREDICT = 0
MODEL_INFER = 1
NO_TIMEOUT = -1


@inner("void(int64[::1], int64)")
def reset_headers(lane: Words, connection_index: int) -> None:
    """A header block begins, of a request or of its trailers."""
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    connection = connections[connection_index]
    connection.header_bytes = 0
    connection.header_count = 0
    connection.header_method = NO_METHOD
    connection.header_path_bytes = 0
    connection.header_post = 0
    connection.header_content_type = 0
    connection.header_timeout_ns = NO_TIMEOUT
    connection.header_encoding = ENCODING_IDENTITY
    connection.header_keyed = 0
    connection.header_key_hash = 0
    connection.header_pin = PIN_NONE
    connection.header_retry = 0


@inner("int64(int64[::1], int64)")
def _refusal_of_headers(lane: Words, connection_index: int) -> int:
    """Index of the refusal that a request's headers deserve, or -1."""
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    connection = connections[connection_index]
    if connection.header_bytes > lane[LANE_HEADER_BYTES_MAX] or connection.header_count > lane[LANE_HEADERS_MAX]:
        return METADATA_TOO_LONG
    if connection.header_post == 0:
        return NOT_POST
    if connection.header_content_type == 0:
        return CONTENT_TYPE
    if connection.header_timeout_ns == BAD_TIMEOUT:
        return TIMEOUT_MALFORMED
    if connection.header_encoding == ENCODING_UNKNOWN:
        return ENCODING
    if connection.header_timeout_ns == 0:
        return DEADLINE_PASSED
    if connection.executing >= lane[LANE_STREAMS_MAX]:
        return TOO_MANY_STREAMS
    return -1


@inner("void(int64[::1], int64)")
def hand_over(lane: Words, index: int) -> None:
    """Gives a complete call to the Python servicers, or refuses it where too many wait for them."""
    if lane[LANE_HANDED_IN_FLIGHT] >= lane[LANE_HANDED_MAX]:
        refuse_slot(lane, index, HANDOFFS_FULL)
        return
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    handed = carray(pointer(lane[LANE_HANDED]), (lane[LANE_SLOT_COUNT],), np.int64)
    handed[lane[LANE_HANDED_COUNT]] = index
    lane[LANE_HANDED_COUNT] += 1
    lane[LANE_HANDED_IN_FLIGHT] += 1
    slots[index].state = HANDED
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    counters[HANDOFFS] += 1
    begin_executing(lane, index)


@inner("int64(int64[::1], int64, int64)")
def begin_request(lane: Words, connection_index: int, stream_id: int) -> int:
    """A request's headers are complete: claims its slot, or refuses it."""
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    connection = connections[connection_index]
    refusal = _refusal_of_headers(lane, connection_index)
    index = int64(NO_SLOT)
    if refusal < 0:
        index = claim_slot(lane, connection_index)
        if index == NO_SLOT:
            refusal = SLOTS_FULL
    if refusal >= 0:
        refuse_stream(lane, connection.session, stream_id, connection.header_method, refusal)
        return 0
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    slot.stream_id = stream_id
    slot.method = connection.header_method
    slot.encoding = connection.header_encoding
    slot.keyed = connection.header_keyed
    slot.key_hash = connection.header_key_hash
    slot.pin = connection.header_pin
    slot.evidence = 1 - connection.header_retry
    if connection.header_timeout_ns > 0:
        # Both are non-negative; a sum beyond int64 would be negative and is as good as no deadline.
        deadline_ns = lane[LANE_NOW_NS] + connection.header_timeout_ns
        slot.deadline_ns = deadline_ns if deadline_ns > 0 else 0
    result = session_set_stream_user_data(connection.session, types.int32(stream_id), index + 1)
    if connection.header_method == NO_METHOD and result == 0:
        # A servicer words the answer, which names the path: that takes the message's place, and no message is kept.
        seen = lane[LANE_PATHS_SEEN] + connection_index * PATH_SEEN_BYTES
        memcpy(slot.request_address, seen, types.uintp(connection.header_path_bytes))
        slot.request_bytes = connection.header_path_bytes
        hand_over(lane, index)
    return result


@inner("boolean(int64[::1], int64, int64)")
def _reserve_request(lane: Words, index: int, total_bytes: int) -> bool:
    """Makes room for a whole message of `total_bytes`, within the bounds of the connection and of the worker."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    if total_bytes <= slot.request_capacity_bytes:
        return True
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    connection = connections[slot.connection]
    if total_bytes > lane[LANE_ASSEMBLING_BYTES_MAX] - connection.assembling_bytes:
        return False
    if total_bytes > lane[LANE_ASSEMBLING_BYTES_ALL_MAX] - lane[LANE_ASSEMBLING_BYTES]:
        return False
    address = malloc(types.uintp(total_bytes))
    if address == 0:
        return False
    memcpy(address, slot.request_address, types.uintp(slot.request_bytes))
    slot.request_address = address
    slot.request_capacity_bytes = total_bytes
    connection.assembling_bytes += total_bytes
    lane[LANE_ASSEMBLING_BYTES] += total_bytes
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    counters[ASSEMBLING_BYTES] = lane[LANE_ASSEMBLING_BYTES]
    return True


@inner("int64(int64[::1], int64, int64, int64)")
def append_chunk(lane: Words, index: int, source: int, count: int) -> int:
    """More bytes of a request's message: kept in its slot, or the call is refused. `source` holds `count` bytes."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    slot.progress_ns = lane[LANE_NOW_NS]
    taken = int64(0)
    if slot.message_bytes == LENGTH_UNKNOWN:
        # Only the frame's header first: nothing else is kept before its length has met the bound.
        taken = min(count, FRAME_HEADER_BYTES - slot.request_bytes)
        memcpy(slot.request_address + slot.request_bytes, source, types.uintp(taken))
        slot.request_bytes += taken
        header = carray(pointer(slot.request_address), (slot.request_bytes,), np.uint8)
        flag = frame_flag(header, 0, slot.request_bytes)
        if flag == BAD_FLAG:
            refuse_slot(lane, index, FLAG_UNKNOWN)
            return 0
        length = frame_length(header, 0, slot.request_bytes, lane[LANE_MESSAGE_BYTES_MAX])
        if length == NEED_MORE:
            return 0
        if length == TOO_LONG:
            refuse_slot(lane, index, MESSAGE_TOO_LONG)
            return 0
        slot.compressed = flag
        if flag == 1 and slot.encoding == ENCODING_IDENTITY:
            refuse_slot(lane, index, FLAG_WITHOUT_ENCODING)
            return 0
        if not _reserve_request(lane, index, length + FRAME_HEADER_BYTES):
            refuse_slot(lane, index, ASSEMBLING_FULL)
            return 0
        slot.message_bytes = length
    left = count - taken
    if left > slot.message_bytes + FRAME_HEADER_BYTES - slot.request_bytes:
        refuse_slot(lane, index, MESSAGE_TAIL)
        return 0
    if left > 0:
        memcpy(slot.request_address + slot.request_bytes, source + taken, types.uintp(left))
        slot.request_bytes += left
    return 0


@inner("int64(int64[::1], int64, uint8[::1], int64[::1], int64[::1])")
def _choose(lane: Words, index: int, message: Bytes, table: Words, parsed: Words) -> int:
    """Puts the model that answers the request just read in place of the one that its name found. OK or HAND_OVER."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    if parsed[PARSED_ROUTING_KEY_BYTES] > 0:
        slot.keyed = 1
        slot.key_hash = key_hash(message, parsed[PARSED_ROUTING_KEY_OFFSET], parsed[PARSED_ROUTING_KEY_BYTES])
    found = parsed[PARSED_MODEL]
    wanted = found if parsed[PARSED_VERSION_NAMED] == 1 else int64(NO_SEAT)
    seat = choose_seat(lane, index, table[HEADER_WORDS + found * MODEL_WORDS + MODEL_ROUTE], wanted)
    if seat < 0:
        return HAND_OVER
    if seat != found:
        # Of one route, so of one signature; but a batch of the other may hold fewer rows, or none that kernels carry.
        record = HEADER_WORDS + seat * MODEL_WORDS
        if table[record + MODEL_FLAGS] & KERNEL_OK == 0 or parsed[PARSED_ROWS] > table[record + MODEL_MAX_ROWS]:
            return HAND_OVER
        parsed[PARSED_MODEL] = seat
    return OK


@inner("int64(int64[::1], int64)")
def end_request(lane: Words, index: int) -> int:
    """The peer has ended its side of the call: the message is read into a batch, handed over, or refused."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    if slot.request_bytes == 0:
        refuse_slot(lane, index, MESSAGE_MISSING)
        return 0
    if slot.message_bytes == LENGTH_UNKNOWN or slot.request_bytes < slot.message_bytes + FRAME_HEADER_BYTES:
        refuse_slot(lane, index, MESSAGE_CUT_SHORT)
        return 0
    code = int64(HAND_OVER)
    if slot.compressed == 0 and slot.method <= MODEL_INFER:
        message = carray(pointer(slot.request_address), (slot.request_bytes,), np.uint8)
        table = carray(pointer(lane[LANE_DIRECTORY_TABLE]), (lane[LANE_DIRECTORY_WORDS],), np.int64)
        blob = carray(pointer(lane[LANE_DIRECTORY_BLOB]), (lane[LANE_DIRECTORY_BLOB_BYTES],), np.uint8)
        parsed = carray(pointer(lane[LANE_PARSED]), (PARSED_WORDS,), np.int64)
        if slot.method == PREDICT:
            code = read_predict(message, FRAME_HEADER_BYTES, slot.request_bytes, table, blob, parsed)
        else:
            code = read_infer(message, FRAME_HEADER_BYTES, slot.request_bytes, table, blob, parsed)
        if code == OK:
            code = _choose(lane, index, message, table, parsed)
        if code == OK:
            code = commit_request(lane, index)
            if code == OK:
                drop_request(lane, index)
            elif code != HAND_OVER:
                refuse_slot(lane, index, QUEUE_FULL)
                return 0
    if code != OK:
        hand_over(lane, index)
    return 0
