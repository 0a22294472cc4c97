"""The lane's memory: one block of addresses, a table of connections, a table of slots.

All of it is allocated by `lane.Lane` in Python, which keeps the owners alive, and reached in kernels through the one
address that nghttp2 hands back as `user_data`. One thread, the worker's loop, touches any of it.

A slot is one call. It is claimed when the request's headers are complete and freed when its stream is closed *and* its
work has ended, whichever comes last:

    FREE -> ASSEMBLING -> QUEUED -> RUNNING -> REPLYING -> FREE      a prediction that kernels read
                       -> HANDED -----------> REPLYING -> FREE      a call for the Python servicers

Always: a slot in QUEUED, RUNNING or HANDED is owned by that work, and a stream that closes meanwhile only marks it
cancelled and cuts the tie to its connection; `generation` grows with every claim, so that an old name of a slot is
recognised. `executing` of a connection counts its slots in those three states even after their streams were reset: it
is what bounds a peer that opens and resets streams.
"""

from __future__ import annotations

from typing import Final

import numpy as np

# --- The lane block: int64 words ------------------------------------------------------------------------------------
LANE_CONNECTIONS: Final = 0  # address of the table of connections
LANE_CONNECTION_COUNT: Final = 1
LANE_SLOTS: Final = 2  # address of the table of slots
LANE_SLOT_COUNT: Final = 3
LANE_FREE_SLOTS: Final = 4  # address of int64[slots]: the stack of free slots
LANE_FREE_SLOT_COUNT: Final = 5
LANE_REQUEST_BYTES: Final = 6  # address of uint8[slots, REQUEST_INLINE_BYTES]
LANE_REPLY_BYTES: Final = 7  # address of uint8[slots, REPLY_INLINE_BYTES]
LANE_COUNTERS: Final = 8  # address of the worker's private counters
LANE_OUTBOX: Final = 9  # address of uint8[OUTBOX_BYTES]: bytes that leave for sockets
LANE_NOW_NS: Final = 10  # monotonic time of the socket read or batch being handled
LANE_HANDED: Final = 11  # address of int64[slots]: slots for the Python servicers
LANE_HANDED_COUNT: Final = 12
LANE_HANDED_IN_FLIGHT: Final = 13
LANE_TOUCHED: Final = 14  # address of int64[connections]: connections with something to send
LANE_TOUCHED_COUNT: Final = 15
LANE_SEGMENTS: Final = 16  # address of int64[connections, 4]: (connection, start, end in the outbox, close)
LANE_SEGMENT_COUNT: Final = 17
LANE_CALLBACKS: Final = 18  # nghttp2_session_callbacks *
LANE_OPTION: Final = 19  # nghttp2_option *
LANE_SETTINGS: Final = 20  # nghttp2_settings_entry[SETTINGS_COUNT]
LANE_READ_CALLBACK: Final = 21  # address of the data source's read callback
LANE_RESPONSE_HEADERS: Final = 22  # nghttp2_nv[2]: of a reply that has a message
LANE_TRAILERS: Final = 23  # nghttp2_nv[1]: grpc-status: 0
LANE_REFUSAL_HEADERS: Final = 24  # nghttp2_nv[REFUSAL_COUNT, REFUSAL_HEADER_COUNT]
LANE_STATUS_HEADERS: Final = 25  # nghttp2_nv[17, STATUS_HEADER_COUNT]: the last one's value, grpc-message, is unset
LANE_PATH_SPANS: Final = 26  # address of int64: offset and length of each method's path in the text
LANE_METHOD_COUNT: Final = 27
LANE_PARSED: Final = 28  # address of int64[PARSED_WORDS]
LANE_DIRECTORY_TABLE: Final = 29
LANE_DIRECTORY_WORDS: Final = 30
LANE_DIRECTORY_BLOB: Final = 31
LANE_DIRECTORY_BLOB_BYTES: Final = 32
LANE_QUEUES: Final = 33  # address of the table of models' queues (native.batch.layout)
LANE_QUEUE_COUNT: Final = 34
LANE_ARENAS: Final = 35  # address of the table of arenas
LANE_ARENA_COUNT: Final = 36
LANE_ARENA_SLOTS: Final = 37  # address of int64: the requests of all arenas
LANE_READY: Final = (
    38  # address of int64[2, arenas]: sealed arenas in the order of sealing, a ring for MAIN, one for TRIAL
)
LANE_READY_HEADS: Final = 39  # and 40
LANE_FINISHED: Final = 41  # address of int64[slots]: answered slots that belong to no connection
LANE_CALLBACK_ERRORS: Final = 44  # exceptions that escaped a callback, set by `sys.unraisablehook`
LANE_ASSEMBLING_BYTES: Final = 45
LANE_QUEUED_ROWS: Final = 46
LANE_PATH_TEXT: Final = 47
LANE_PATH_TEXT_BYTES: Final = 64
LANE_NV_SCRATCH: Final = 65  # nghttp2_nv[STATUS_HEADER_COUNT], filled for one call
LANE_PROVIDER: Final = 66  # nghttp2_data_provider, filled for one call
# Limits, as configured.
LANE_MESSAGE_BYTES_MAX: Final = 48
LANE_STREAMS_MAX: Final = 49
LANE_HEADER_BYTES_MAX: Final = 50
LANE_HEADERS_MAX: Final = 51
LANE_REPLY_BYTES_MAX: Final = 52  # per connection
LANE_ASSEMBLING_BYTES_MAX: Final = 53  # per connection
LANE_ASSEMBLING_BYTES_ALL_MAX: Final = 54
LANE_RESETS_SENT_MAX: Final = 55
LANE_OUTBOUND_FRAMES_MAX: Final = 56
LANE_EMPTY_DATA_MAX: Final = 57
LANE_PRIORITY_MAX: Final = 58
LANE_SETTINGS_ACK_NS_MAX: Final = 59
LANE_STALLED_NS_MAX: Final = 60
LANE_CONNECTION_AGE_NS_MAX: Final = 61
LANE_HANDED_MAX: Final = 62
LANE_WINDOW_BYTES: Final = 63  # connection-level receive window
LANE_PIECE: Final = 67  # address of the pointer that nghttp2_session_mem_send fills
LANE_IDS: Final = 68  # address of uint8[slots, ID_BYTES_MAX]: what callers name their requests
LANE_PATHS_SEEN: Final = 69  # address of uint8[connections, PATH_SEEN_BYTES]: paths that name no method
LANE_REPLY_BYTES_ALL_MAX: Final = 70  # of all connections together
LANE_READY_COUNTS: Final = 71  # and 72
# Routes (native.route).
LANE_SEATS: Final = 73  # address of the table of seats
LANE_ROUTES: Final = 74  # address of the table of routes, one for each model
LANE_PLANE_ROUTING: Final = 75  # address of the plane's routing words, or 0: every model has one seat, for good
LANE_WORKER_ROUTING: Final = 76  # address of this worker's routing words in the plane
LANE_ROUTE_TABLE: Final = 77  # address of int64[TABLE_WORDS]: scratch for a table
LANE_EPOCH: Final = 78  # of the table that routes were taken from
LANE_WORKER_SEED: Final = 79
LANE_CELLS: Final = 80  # address of the private cells of evidence, or 0: nothing is counted
LANE_DIRTY_CELLS: Final = 81  # address of int64[cells]: offsets of cells that changed
LANE_DIRTY_COUNT: Final = 82
LANE_AGE_LIMIT_NS: Final = 83
LANE_SHADOWS: Final = 84  # models that have a shadow which is ready here
LANE_STRAIN: Final = 85  # one of STRAIN_*: what lateness says about whoever answers
LANE_WORDS: Final = 86
PATH_SEEN_BYTES: Final = 128

STRAIN_NONE: Final = 0  # threads get the processor when they want it: who is late is to blame
STRAIN_BUSY: Final = 1  # they do not: a late answer is no evidence
STRAIN_LATE: Final = 2  # and answers were late for it: one in time is no evidence for anybody, either

# --- Slots ----------------------------------------------------------------------------------------------------------
FREE: Final = 0
ASSEMBLING: Final = 1
QUEUED: Final = 2
RUNNING: Final = 3
HANDED: Final = 4
REPLYING: Final = 5

NO_CONNECTION: Final = -1
NO_SLOT: Final = -1

REQUEST_INLINE_BYTES: Final = 1024
REPLY_INLINE_BYTES: Final = 512

# How a message's length is known: not yet (the 5 bytes of its frame have not come).
LENGTH_UNKNOWN: Final = -1

ENCODING_IDENTITY: Final = 0
ENCODING_GZIP: Final = 1
ENCODING_UNKNOWN: Final = 2

SLOT = np.dtype(
    [
        ("state", np.int64),
        ("generation", np.int64),
        ("cancelled", np.int64),
        ("connection", np.int64),
        ("executing_of", np.int64),  # connection whose `executing` counts this slot, or NO_CONNECTION
        ("executing_generation", np.int64),
        ("next", np.int64),  # of the connection's list of slots
        ("previous", np.int64),
        ("stream_id", np.int64),
        ("method", np.int64),
        ("encoding", np.int64),
        ("arrived_ns", np.int64),
        ("deadline_ns", np.int64),  # 0: none
        ("progress_ns", np.int64),  # when a byte of it last moved
        ("request_address", np.int64),
        ("request_capacity_bytes", np.int64),
        ("request_bytes", np.int64),
        ("message_bytes", np.int64),  # as the frame announces, or LENGTH_UNKNOWN
        ("compressed", np.int64),
        ("reply_address", np.int64),
        ("reply_capacity_bytes", np.int64),
        ("reply_start", np.int64),
        ("reply_end", np.int64),
        ("reply_open", np.int64),  # 1: more messages will follow (server streaming)
        ("responded", np.int64),  # 1: response headers are submitted
        ("status", np.int64),
        ("model", np.int64),
        ("rows", np.int64),
        ("arena", np.int64),
        ("row", np.int64),  # first row in its arena
        ("contents", np.int64),
        ("output_mask", np.int64),
        ("id_bytes", np.int64),
        # How the call was routed (native.route).
        ("route", np.int64),
        ("weight_epoch", np.int64),
        ("keyed", np.int64),  # 1: it has a routing key
        ("key_hash", np.int64),
        ("pin", np.int64),
        ("evidence", np.int64),  # 1: the split alone decides who answers, and it is no retry
    ],
    align=True,
)

# --- Connections ----------------------------------------------------------------------------------------------------
CONNECTION_FREE: Final = 0
CONNECTION_OPEN: Final = 1
CONNECTION_CLOSING: Final = 2  # cut off or finished: nothing more is read, Python closes the transport

CONNECTION = np.dtype(
    [
        ("user", np.int64, (2,)),  # what nghttp2 hands to callbacks: the lane's address, this connection's index
        ("state", np.int64),
        ("generation", np.int64),
        ("session", np.int64),
        ("cutoff", np.int64),  # the counter's offset of the reason why it is cut off, or 0
        ("paused", np.int64),  # 1: the socket's buffer is full
        ("paused_ns", np.int64),  # when the peer last took a byte of it
        ("touched", np.int64),  # 1: on the list of LANE_TOUCHED; outlives the connection, as the entry there does
        ("first_slot", np.int64),
        ("slots", np.int64),  # slots tied to this connection
        ("executing", np.int64),
        ("assembling_bytes", np.int64),
        ("reply_bytes", np.int64),
        ("progress_ns", np.int64),  # when a byte of a reply last left, or the first one came to wait
        ("resets_sent", np.int64),
        ("empty_data_frames", np.int64),
        ("priority_frames", np.int64),
        ("opened_ns", np.int64),
        ("settings_sent_ns", np.int64),  # 0 once the peer has acknowledged
        ("goaway", np.int64),  # 0 none, 1 notice sent, 2 final GOAWAY sent
        ("goaway_ns", np.int64),
        # Headers of the request being read; blocks of two streams never interleave.
        ("header_bytes", np.int64),
        ("header_count", np.int64),
        ("header_method", np.int64),
        ("header_path_bytes", np.int64),  # of the path, where it names no method
        ("header_post", np.int64),
        ("header_content_type", np.int64),
        ("header_timeout_ns", np.int64),
        ("header_encoding", np.int64),
        ("header_keyed", np.int64),
        ("header_key_hash", np.int64),
        ("header_pin", np.int64),
        ("header_retry", np.int64),
    ],
    align=True,
)

SEGMENT_WORDS: Final = 4
OUTBOX_BYTES: Final = 1 << 20
