"""The table of everything a worker counts: one row of an int64 vector for each metric.

Kernels take the offsets (plain ints, frozen into compiled code), control exports the rows to Prometheus. To add a
counter, add a row here: `layout` makes room for it and its digest keeps processes of two builds apart.
Always: rows do not overlap, cover the vector without a gap, and every offset below is inside its row.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import Final


class Kind(StrEnum):
    """How a row is read: counters and histograms only grow, gauges move both ways."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Label:
    """A label and its values in the order of their cells; the last label of a row varies fastest."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A metric: `length` cells from `offset` on.

    A counter or gauge has a cell for each combination of label values. A histogram has a cell for each bucket, not
    cumulated, then one for the sum. Bucket b holds what is at most `bounds[b]`; the last one holds all the rest.
    `unit` is what one count is in the exported unit (1e-9 for nanoseconds exported as seconds).
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[Label, ...]
    offset: int
    length: int
    bounds: tuple[int, ...] = ()
    unit: float = 1.0

    @property
    def stop(self) -> int:
        return self.offset + self.length


_rows: list[Row] = []


def _count(name: str, kind: Kind, help: str, *labels: Label) -> int:
    """Adds a counter or a gauge and returns its offset."""
    offset = _rows[-1].stop if _rows else 0
    _rows.append(Row(name, kind, help, labels, offset, prod(len(label.values) for label in labels)))
    return offset


def _histogram(name: str, help: str, bounds: tuple[int, ...], unit: float) -> int:
    """Adds a histogram: len(bounds) + 1 buckets and the sum."""
    offset = _rows[-1].stop if _rows else 0
    _rows.append(Row(name, Kind.HISTOGRAM, help, (), offset, len(bounds) + 2, bounds, unit))
    return offset


METHODS: Final = ("predict", "model_infer", "other")
METHOD_PREDICT: Final = 0
METHOD_MODEL_INFER: Final = 1
METHOD_OTHER: Final = 2

STATUSES: Final = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
STATUS_COUNT: Final = 17

CUTOFF_REASONS: Final = (
    "settings_ack_timeout",
    "stalled_reply",
    "stalled_request",
    "resets_sent",
    "header_bytes",
    "header_count",
    "outbound_frames",
    "empty_data_frames",
    "priority_frames",
    "reply_bytes",
    "protocol_error",
    "callback_error",
    "connections_max",
    "connection_age",
    "bad_preface",
)
REFUSAL_REASONS: Final = (
    "queue_full",
    "slots_full",
    "message_too_long",
    "deadline",
    "assembling_bytes",
    "too_many_streams",
    "handoffs_full",
)
BATCH_PLACES: Final = ("inline", "threaded", "trial")

LATENCY_BUCKETS: Final = 32
LATENCY_FIRST_BITS: Final = 10  # bucket b counts latencies below 2^(b + 10) ns: 1 us, 2 us, ... and the rest
ROWS_BUCKETS: Final = 17  # bucket b counts batches of at most 2^b rows: 1, 2, ... 65,536

# A request's cell is REQUESTS + method * STATUS_COUNT + status.
REQUESTS: Final = _count(
    "roost_requests",
    Kind.COUNTER,
    "Calls answered, by method and gRPC status",
    Label("method", METHODS),
    Label("status", STATUSES),
)
# The bucket is LATENCY + latency_bucket(ns) (native.plane.buckets), the sum lies at LATENCY_SUM_NS.
LATENCY: Final = _histogram(
    "roost_request_latency_seconds",
    "From a call's first header to its reply's being handed to the connection",
    tuple(1 << (bucket + LATENCY_FIRST_BITS) for bucket in range(LATENCY_BUCKETS - 1)),
    1e-9,
)
LATENCY_SUM_NS: Final = LATENCY + LATENCY_BUCKETS
BATCH_ROWS: Final = _histogram(
    "roost_batch_rows", "Rows in a batch", tuple(1 << bucket for bucket in range(ROWS_BUCKETS - 1)), 1.0
)
BATCH_ROWS_SUM: Final = BATCH_ROWS + ROWS_BUCKETS

BATCHES: Final = _count("roost_batches", Kind.COUNTER, "Batches run, by where they ran", Label("where", BATCH_PLACES))
BATCHES_INLINE: Final = BATCHES
BATCHES_THREADED: Final = BATCHES + 1
BATCHES_TRIAL: Final = BATCHES + 2
ROWS: Final = _count("roost_rows", Kind.COUNTER, "Rows predicted")

CONNECTIONS: Final = _count("roost_connections", Kind.GAUGE, "Connections open")
SLOTS_IN_USE: Final = _count("roost_slots_in_use", Kind.GAUGE, "Calls that hold a slot")
QUEUED_ROWS: Final = _count("roost_queued_rows", Kind.GAUGE, "Rows that wait for a batch")
ASSEMBLING_BYTES: Final = _count("roost_assembling_bytes", Kind.GAUGE, "Bytes of messages not complete yet")
REPLY_BYTES: Final = _count("roost_reply_bytes", Kind.GAUGE, "Bytes of replies not sent yet")

CONNECTIONS_ACCEPTED: Final = _count("roost_connections_accepted", Kind.COUNTER, "Connections accepted")
BYTES_RECEIVED: Final = _count("roost_received_bytes", Kind.COUNTER, "Bytes read from sockets")
BYTES_SENT: Final = _count("roost_sent_bytes", Kind.COUNTER, "Bytes handed to sockets")
SOCKET_READS: Final = _count("roost_socket_reads", Kind.COUNTER, "Reads from sockets")
HANDOFFS: Final = _count("roost_handoffs", Kind.COUNTER, "Calls handed to the Python servicers")
CANCELLED: Final = _count("roost_cancelled", Kind.COUNTER, "Calls that their client cancelled or left")

LATE_EXCUSED: Final = _count(
    "roost_late_excused", Kind.COUNTER, "Late answers that are no evidence, since the worker wanted for processor time"
)

RECORDED_OUTCOMES: Final = ("written", "dropped", "lost")
RECORDED_ROWS: Final = _count(
    "roost_recorded_rows",
    Kind.COUNTER,
    "Rows chosen to be recorded, by what became of them",
    Label("outcome", RECORDED_OUTCOMES),
)
RECORDED_WRITTEN: Final = RECORDED_ROWS
RECORDED_DROPPED: Final = RECORDED_ROWS + 1
RECORDED_LOST: Final = RECORDED_ROWS + 2

CUTOFFS: Final = _count(
    "roost_cutoffs", Kind.COUNTER, "Connections closed by a limit, by reason", Label("reason", CUTOFF_REASONS)
)
CUTOFF_SETTINGS_ACK_TIMEOUT: Final = CUTOFFS + 0
CUTOFF_STALLED_REPLY: Final = CUTOFFS + 1
CUTOFF_STALLED_REQUEST: Final = CUTOFFS + 2
CUTOFF_RESETS_SENT: Final = CUTOFFS + 3
CUTOFF_HEADER_BYTES: Final = CUTOFFS + 4
CUTOFF_HEADER_COUNT: Final = CUTOFFS + 5
CUTOFF_OUTBOUND_FRAMES: Final = CUTOFFS + 6
CUTOFF_EMPTY_DATA_FRAMES: Final = CUTOFFS + 7
CUTOFF_PRIORITY_FRAMES: Final = CUTOFFS + 8
CUTOFF_REPLY_BYTES: Final = CUTOFFS + 9
CUTOFF_PROTOCOL_ERROR: Final = CUTOFFS + 10
CUTOFF_CALLBACK_ERROR: Final = CUTOFFS + 11
CUTOFF_CONNECTIONS_MAX: Final = CUTOFFS + 12
CUTOFF_CONNECTION_AGE: Final = CUTOFFS + 13
CUTOFF_BAD_PREFACE: Final = CUTOFFS + 14

REFUSALS: Final = _count(
    "roost_refusals", Kind.COUNTER, "Calls refused by a bound, by reason", Label("reason", REFUSAL_REASONS)
)
REFUSAL_QUEUE_FULL: Final = REFUSALS + 0
REFUSAL_SLOTS_FULL: Final = REFUSALS + 1
REFUSAL_MESSAGE_TOO_LONG: Final = REFUSALS + 2
REFUSAL_DEADLINE: Final = REFUSALS + 3
REFUSAL_ASSEMBLING_BYTES: Final = REFUSALS + 4
REFUSAL_TOO_MANY_STREAMS: Final = REFUSALS + 5
REFUSAL_HANDOFFS_FULL: Final = REFUSALS + 6

ROWS_OF_TABLE: Final = tuple(_rows)
COUNTERS_LENGTH: Final = ROWS_OF_TABLE[-1].stop
TABLE_DIGEST: Final = hashlib.sha256(repr(ROWS_OF_TABLE).encode()).digest()

assert len(STATUSES) == STATUS_COUNT, "gRPC has the codes 0 to 16"
assert LATENCY_SUM_NS == BATCH_ROWS - 1, "the sum is a histogram's last cell"
assert RECORDED_LOST == RECORDED_ROWS + len(RECORDED_OUTCOMES) - 1, "an outcome without a constant"
assert CUTOFF_BAD_PREFACE == CUTOFFS + len(CUTOFF_REASONS) - 1, "a reason without a constant"
assert REFUSAL_HANDOFFS_FULL == REFUSALS + len(REFUSAL_REASONS) - 1, "a reason without a constant"
