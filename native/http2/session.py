"""Sessions: opening one for a connection, feeding it what a socket read, taking what a socket should send, ending it.

Used by the fast lane's protocol. All calls are made on the worker's loop, none from within a callback.
Always: a session is deleted here only, after every slot of its connection was given back or cut loose, so that no late
batch can name it.
"""

from __future__ import annotations

import numpy as np
from numba import carray, types

from native.batch.commit import sort_ready
from native.batch.seal import note_cancelled
from native.http2.binding import (
    CANCEL,
    ERR_BAD_CLIENT_MAGIC,
    FLAG_NONE,
    NO_ERROR,
    session_del,
    session_get_last_proc_stream_id,
    session_get_outbound_queue_size,
    session_mem_recv,
    session_mem_send,
    session_server_new2,
    session_set_local_window_size,
    session_want_read,
    session_want_write,
    submit_goaway,
    submit_rst_stream,
    submit_settings,
    submit_shutdown_notice,
)
from native.http2.layout import SEND_PIECE_BYTES_MAX
from native.inner import inner
from native.lane.layout import (
    ASSEMBLING,
    CONNECTION,
    CONNECTION_CLOSING,
    CONNECTION_FREE,
    CONNECTION_OPEN,
    LANE_CALLBACK_ERRORS,
    LANE_CALLBACKS,
    LANE_CONNECTION_AGE_NS_MAX,
    LANE_CONNECTION_COUNT,
    LANE_CONNECTIONS,
    LANE_COUNTERS,
    LANE_NOW_NS,
    LANE_OPTION,
    LANE_OUTBOUND_FRAMES_MAX,
    LANE_OUTBOX,
    LANE_PIECE,
    LANE_SEGMENT_COUNT,
    LANE_SEGMENTS,
    LANE_SETTINGS,
    LANE_SETTINGS_ACK_NS_MAX,
    LANE_SLOT_COUNT,
    LANE_SLOTS,
    LANE_STALLED_NS_MAX,
    LANE_TOUCHED,
    LANE_TOUCHED_COUNT,
    LANE_WINDOW_BYTES,
    NO_SLOT,
    OUTBOX_BYTES,
    REPLYING,
    SEGMENT_WORDS,
    SLOT,
)
from native.lane.slots import abandon_slot, touch
from native.plane.counters import (
    BYTES_RECEIVED,
    BYTES_SENT,
    CONNECTIONS,
    CONNECTIONS_ACCEPTED,
    COUNTERS_LENGTH,
    CUTOFF_BAD_PREFACE,
    CUTOFF_CALLBACK_ERROR,
    CUTOFF_CONNECTION_AGE,
    CUTOFF_OUTBOUND_FRAMES,
    CUTOFF_PROTOCOL_ERROR,
    CUTOFF_SETTINGS_ACK_TIMEOUT,
    CUTOFF_STALLED_REPLY,
    CUTOFF_STALLED_REQUEST,
    SOCKET_READS,
)
from native.pointers import memcpy, pointer
from native.route.follow import follow_routes
from native.wire.kernel import Words, int64, kernel

SETTINGS_COUNT = 3
GOAWAY_NOTICE, GOAWAY_FINAL = 1, 2
# What `receive` and `flush` answer, as bits.
MORE = 1  # the outbox was full: flush again
CLOSE = 2  # the connection has ended: close its transport
# Why a segment is its connection's last: it was said and read to the end, or a limit ended it.
GOODBYE, CUT_OFF = 1, 2

CONNECTION_BYTES = CONNECTION.itemsize
assert CONNECTION.fields is not None
USER_OFFSET = int(CONNECTION.fields["user"][1])
SESSION_OFFSET = int(CONNECTION.fields["session"][1])
# Between the notice and the final GOAWAY: more than a round trip, so that calls under way still count.
GOAWAY_PAUSE_NS = 500_000_000


@kernel("int64(int64[::1], int64, int64)")
def open_connection(lane: Words, connection_index: int, now_ns: int) -> int:
    """Makes the session of an accepted connection and queues its SETTINGS. 0, or nghttp2's error."""
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    connection = connections[connection_index]
    lane[LANE_NOW_NS] = now_ns
    generation = connection.generation + 1
    user = lane[LANE_CONNECTIONS] + connection_index * CONNECTION_BYTES + USER_OFFSET
    session_field = lane[LANE_CONNECTIONS] + connection_index * CONNECTION_BYTES + SESSION_OFFSET
    result = session_server_new2(session_field, lane[LANE_CALLBACKS], user, lane[LANE_OPTION])
    if result != 0:
        return result
    connection.state = CONNECTION_OPEN
    connection.generation = generation
    connection.cutoff = 0
    connection.paused = 0
    connection.first_slot = NO_SLOT
    connection.slots = 0
    connection.executing = 0
    connection.assembling_bytes = 0
    connection.reply_bytes = 0
    connection.progress_ns = now_ns
    connection.resets_sent = 0
    connection.empty_data_frames = 0
    connection.priority_frames = 0
    connection.opened_ns = now_ns
    connection.settings_sent_ns = now_ns
    connection.goaway = 0
    counters[CONNECTIONS] += 1
    counters[CONNECTIONS_ACCEPTED] += 1
    opened, flags = connection.session, types.uint8(FLAG_NONE)
    result = submit_settings(opened, flags, lane[LANE_SETTINGS], types.uintp(SETTINGS_COUNT))
    if result == 0:
        window_bytes = types.int32(lane[LANE_WINDOW_BYTES])
        result = session_set_local_window_size(opened, flags, types.int32(0), window_bytes)
    touch(lane, connection_index)
    return result


@kernel("void(int64[::1], int64)")
def close_connection(lane: Words, connection_index: int) -> None:
    """The transport is gone: every call of the connection is abandoned, then the session is deleted."""
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    connection = connections[connection_index]
    if connection.state == CONNECTION_FREE:
        return
    while connection.first_slot != NO_SLOT:
        index = connection.first_slot
        if abandon_slot(lane, index) == 1:
            note_cancelled(lane, index)
    session_del(connection.session)
    connection.session = 0
    connection.state = CONNECTION_FREE
    connection.generation += 1
    if connection.cutoff != 0:
        counters[connection.cutoff] += 1
        connection.cutoff = 0
    counters[CONNECTIONS] -= 1


@kernel("void(int64[::1], int64, int64)")
def cut_off(lane: Words, connection_index: int, reason: int) -> None:
    """Ends a connection for a reason, which is counted when it is closed. The first reason stands."""
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    connection = connections[connection_index]
    if connection.state == CONNECTION_OPEN and connection.cutoff == 0:
        connection.cutoff = reason
        touch(lane, connection_index)


@kernel("int64(int64[::1], int64, int64, int64, int64)")
def receive(lane: Words, connection_index: int, source: int, count: int, now_ns: int) -> int:
    """Feeds `count` bytes at `source` to the session; its callbacks do the rest. 0, or CLOSE."""
    if connection_index < 0 or connection_index >= lane[LANE_CONNECTION_COUNT]:
        return CLOSE
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    connection = connections[connection_index]
    if connection.state != CONNECTION_OPEN:
        return CLOSE
    lane[LANE_NOW_NS] = now_ns
    counters[SOCKET_READS] += 1
    counters[BYTES_RECEIVED] += count
    if follow_routes(lane):
        sort_ready(lane)
    errors = lane[LANE_CALLBACK_ERRORS]
    taken = session_mem_recv(connection.session, source, types.uintp(count))
    touch(lane, connection_index)
    if lane[LANE_CALLBACK_ERRORS] != errors:
        cut_off(lane, connection_index, CUTOFF_CALLBACK_ERROR)
    elif taken == ERR_BAD_CLIENT_MAGIC:
        cut_off(lane, connection_index, CUTOFF_BAD_PREFACE)
    elif taken < 0 or taken != count:
        cut_off(lane, connection_index, CUTOFF_PROTOCOL_ERROR)
    elif session_get_outbound_queue_size(connection.session) > np.uintp(lane[LANE_OUTBOUND_FRAMES_MAX]):
        cut_off(lane, connection_index, CUTOFF_OUTBOUND_FRAMES)
    return 0


@inner("int64(int64[::1], int64, int64)")
def _drain_session(lane: Words, connection_index: int, start: int) -> int:
    """Moves what the session wants to send into the outbox from `start` on; the end, negative where more is left.

    A full outbox ends it early: the result is then -end - 1.
    """
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    connection = connections[connection_index]
    piece = carray(pointer(lane[LANE_PIECE]), (1,), np.int64)
    end = start
    while True:
        if OUTBOX_BYTES - end < SEND_PIECE_BYTES_MAX:
            return -end - 1
        count = session_mem_send(connection.session, lane[LANE_PIECE])
        if count == 0:
            return end
        if count < 0 or count > SEND_PIECE_BYTES_MAX:
            if connection.cutoff == 0:
                connection.cutoff = CUTOFF_PROTOCOL_ERROR
            return end
        memcpy(lane[LANE_OUTBOX] + end, piece[0], types.uintp(count))
        end += count


@kernel("int64(int64[::1])")
def flush_touched(lane: Words) -> int:
    """Fills the outbox with what the touched connections have to send. MORE where it was full, else 0.

    Leaves one segment (connection, start, end, close) in LANE_SEGMENTS for each connection with bytes to send or to
    be closed. A paused connection sends nothing until its socket has room, but is closed where it was cut off.
    """
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    touched = carray(pointer(lane[LANE_TOUCHED]), (lane[LANE_CONNECTION_COUNT],), np.int64)
    segments = carray(pointer(lane[LANE_SEGMENTS]), (lane[LANE_CONNECTION_COUNT], SEGMENT_WORDS), np.int64)
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    count = int64(0)
    end = int64(0)
    full = False
    while lane[LANE_TOUCHED_COUNT] > 0 and not full:
        index = touched[lane[LANE_TOUCHED_COUNT] - 1]
        connection = connections[index]
        start = end
        if connection.state == CONNECTION_OPEN and connection.paused == 0:
            errors = lane[LANE_CALLBACK_ERRORS]
            end = _drain_session(lane, index, start)
            if end < 0:
                full = True
                end = -end - 1
            if lane[LANE_CALLBACK_ERRORS] != errors and connection.cutoff == 0:
                connection.cutoff = CUTOFF_CALLBACK_ERROR
        if not full:
            lane[LANE_TOUCHED_COUNT] -= 1
            connection.touched = 0
        close = int64(0)
        if connection.state == CONNECTION_OPEN:
            over = session_want_read(connection.session) == 0 and session_want_write(connection.session) == 0
            if connection.cutoff != 0 or over:
                connection.state = CONNECTION_CLOSING
                close = CUT_OFF if connection.cutoff != 0 else GOODBYE
        if end > start or close != 0:
            segments[count, 0] = index
            segments[count, 1] = start
            segments[count, 2] = end
            segments[count, 3] = close
            count += 1
            counters[BYTES_SENT] += end - start
    lane[LANE_SEGMENT_COUNT] = count
    return MORE if full else 0


@kernel("void(int64[::1], int64, int64)")
def go_away(lane: Words, connection_index: int, step: int) -> None:
    """Tells the peer to leave: GOAWAY_NOTICE (finish what you send), later GOAWAY_FINAL (nothing new counts)."""
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    connection = connections[connection_index]
    if connection.state != CONNECTION_OPEN or connection.goaway >= step:
        return
    connection.goaway = step
    connection.goaway_ns = lane[LANE_NOW_NS]
    if step == GOAWAY_NOTICE:
        submit_shutdown_notice(connection.session)
    else:
        last = session_get_last_proc_stream_id(connection.session)
        submit_goaway(connection.session, types.uint8(FLAG_NONE), last, types.uint32(NO_ERROR), 0, types.uintp(0))
    touch(lane, connection_index)


@inner("void(int64[::1], int64)")
def _check_calls(lane: Words, connection_index: int) -> None:
    """Resets calls of a connection whose peer neither sends the rest of its message nor takes its reply."""
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    connection = connections[connection_index]
    index = connection.first_slot
    while index != NO_SLOT:
        slot = slots[index]
        following = slot.next
        if lane[LANE_NOW_NS] - slot.progress_ns > lane[LANE_STALLED_NS_MAX]:
            # A stuck socket is `tick`'s to judge: no reset would get through.
            unsent = slot.state == REPLYING and (slot.reply_end > slot.reply_start or slot.reply_open == 0)
            unsent = unsent and connection.paused == 0
            if unsent or slot.state == ASSEMBLING:
                counters[CUTOFF_STALLED_REPLY if unsent else CUTOFF_STALLED_REQUEST] += 1
                slot.progress_ns = lane[LANE_NOW_NS]
                submit_rst_stream(
                    connection.session, types.uint8(FLAG_NONE), types.int32(slot.stream_id), types.uint32(CANCEL)
                )
                touch(lane, connection_index)
        index = following


@kernel("void(int64[::1], int64, int64)")
def tick(lane: Words, now_ns: int, age_jitter_ns: int) -> None:
    """Once a second: what only time shows. Silent peers are cut off, counts that bound a rate are halved.

    age_jitter_ns: added to the age limit, so that connections made together do not leave together.
    """
    lane[LANE_NOW_NS] = now_ns
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    for index in range(lane[LANE_CONNECTION_COUNT]):
        connection = connections[index]
        if connection.state != CONNECTION_OPEN:
            continue
        connection.empty_data_frames //= 2
        connection.priority_frames //= 2
        # Slowly, so that a long connection is not cut off for what a peer got wrong over days.
        connection.resets_sent = max(connection.resets_sent - 1, 0)
        if connection.settings_sent_ns != 0 and (now_ns - connection.settings_sent_ns > lane[LANE_SETTINGS_ACK_NS_MAX]):
            cut_off(lane, index, CUTOFF_SETTINGS_ACK_TIMEOUT)
            continue
        if connection.paused != 0 and now_ns - connection.paused_ns > lane[LANE_STALLED_NS_MAX]:
            cut_off(lane, index, CUTOFF_STALLED_REPLY)
            continue
        age_max = lane[LANE_CONNECTION_AGE_NS_MAX]
        if (
            age_max > 0
            and connection.goaway == 0
            and (now_ns - connection.opened_ns > age_max + (age_jitter_ns * (index % 16)) // 16)
        ):
            counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
            counters[CUTOFF_CONNECTION_AGE] += 1
            go_away(lane, index, GOAWAY_NOTICE)
        elif connection.goaway == GOAWAY_NOTICE and now_ns - connection.goaway_ns > GOAWAY_PAUSE_NS:
            go_away(lane, index, GOAWAY_FINAL)
        _check_calls(lane, index)
