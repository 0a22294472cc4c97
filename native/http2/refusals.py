"""What kernels refuse by themselves, and in which words: everything that is decided before a servicer could look at it.

One row a refusal; kernels use its index. The lane turns the table into header blocks once, at start.
Always: a refusal is one HEADERS frame that ends the stream. Messages are plain ASCII, so that they need no escaping
but for the percent sign, which none contains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from native.plane.counters import (
    REFUSAL_ASSEMBLING_BYTES,
    REFUSAL_DEADLINE,
    REFUSAL_HANDOFFS_FULL,
    REFUSAL_MESSAGE_TOO_LONG,
    REFUSAL_QUEUE_FULL,
    REFUSAL_SLOTS_FULL,
    REFUSAL_TOO_MANY_STREAMS,
)

INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 3, 4, 8, 12, 13, 14


@dataclass(frozen=True)
class Refusal:
    """status: gRPC's code. counter: offset of the counter that it raises besides the one by status, or 0."""

    status: int
    message: str
    http_status: int = 200
    counter: int = 0


REFUSALS: Final = (
    Refusal(INVALID_ARGUMENT, ":method: expected POST. gRPC calls are POST requests.", http_status=405),
    Refusal(
        INVALID_ARGUMENT,
        "content-type: expected application/grpc, alone or followed by + or ;. Use a gRPC client.",
        http_status=415,
    ),
    Refusal(
        INVALID_ARGUMENT,
        "grpc-timeout: expected 1 to 8 digits and a unit (H, M, S, m, u or n), such as 250m.",
    ),
    Refusal(
        UNIMPLEMENTED,
        "grpc-encoding: unknown compression. Send identity or gzip, as grpc-accept-encoding says.",
    ),
    Refusal(
        RESOURCE_EXHAUSTED,
        "metadata: longer than limits.header_bytes_max or more than limits.headers_max. Send less metadata.",
    ),
    Refusal(
        RESOURCE_EXHAUSTED,
        "call: all slots of this server are taken (limits.slots_max). Retry with backoff.",
        counter=REFUSAL_SLOTS_FULL,
    ),
    Refusal(
        RESOURCE_EXHAUSTED,
        "call: too many calls of this connection are in work (limits.streams_per_connection_max). Wait for replies.",
        counter=REFUSAL_TOO_MANY_STREAMS,
    ),
    Refusal(
        RESOURCE_EXHAUSTED,
        "message: longer than limits.message_bytes_max. Send fewer rows a call.",
        counter=REFUSAL_MESSAGE_TOO_LONG,
    ),
    Refusal(
        RESOURCE_EXHAUSTED,
        "message: too many bytes are being received (limits.assembling_bytes_max). Retry with backoff.",
        counter=REFUSAL_ASSEMBLING_BYTES,
    ),
    Refusal(INTERNAL, "message: the frame's first byte must be 0 or 1 (compressed)."),
    Refusal(INTERNAL, "message: the frame says compressed, but the call has no grpc-encoding."),
    Refusal(INTERNAL, "message: cut short: the stream ended before the announced length."),
    Refusal(UNIMPLEMENTED, "message: expected exactly one message in a unary call, got none."),
    Refusal(UNIMPLEMENTED, "message: expected exactly one message in a unary call, got more bytes behind it."),
    Refusal(
        RESOURCE_EXHAUSTED,
        "model: its queue is full (batching.queue_rows_max). Retry with backoff.",
        counter=REFUSAL_QUEUE_FULL,
    ),
    Refusal(
        RESOURCE_EXHAUSTED,
        "call: too many calls wait for the general path (limits.handoffs_max). Retry with backoff.",
        counter=REFUSAL_HANDOFFS_FULL,
    ),
    Refusal(
        DEADLINE_EXCEEDED,
        "deadline: passed before the batch could run. Allow more time or send less at once.",
        counter=REFUSAL_DEADLINE,
    ),
    Refusal(
        RESOURCE_EXHAUSTED,
        "reply: too many bytes wait to be read (limits.reply_bytes_per_connection_max, limits.reply_bytes_max). "
        "Read replies as they come, or ask for fewer rows a call.",
    ),
    Refusal(
        RESOURCE_EXHAUSTED,
        "reply: longer than limits.message_bytes_max. Send fewer rows in a call, or ask for fewer outputs.",
    ),
    Refusal(
        UNAVAILABLE,
        "model: the version that was to answer lost its traffic before it ran this call. Retry: another one answers.",
    ),
)

NOT_POST: Final = 0
CONTENT_TYPE: Final = 1
TIMEOUT_MALFORMED: Final = 2
ENCODING: Final = 3
METADATA_TOO_LONG: Final = 4
SLOTS_FULL: Final = 5
TOO_MANY_STREAMS: Final = 6
MESSAGE_TOO_LONG: Final = 7
ASSEMBLING_FULL: Final = 8
FLAG_UNKNOWN: Final = 9
FLAG_WITHOUT_ENCODING: Final = 10
MESSAGE_CUT_SHORT: Final = 11
MESSAGE_MISSING: Final = 12
MESSAGE_TAIL: Final = 13
QUEUE_FULL: Final = 14
HANDOFFS_FULL: Final = 15
DEADLINE_PASSED: Final = 16
REPLY_TOO_LONG: Final = 17
REPLY_OVER_LIMIT: Final = 18
NO_TRAFFIC: Final = 19
REFUSAL_COUNT: Final = 20

REFUSAL_HEADER_COUNT: Final = 5
STATUS_HEADER_COUNT: Final = 4

assert len(REFUSALS) == REFUSAL_COUNT
assert all(refusal.message.isascii() and "%" not in refusal.message for refusal in REFUSALS)
# Kernels read these two columns.
REFUSAL_STATUSES: Final = tuple(refusal.status for refusal in REFUSALS)
REFUSAL_COUNTERS: Final = tuple(refusal.counter for refusal in REFUSALS)
