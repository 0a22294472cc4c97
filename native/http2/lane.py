"""The fast lane's memory: what HTTP/2 needs beyond slots and batches, and its kernels as methods.

Used by the worker's fast lane. One thread, the worker's loop, calls into it.
Always: nothing is allocated while requests are served, but large messages and replies, by kernels and within bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from native.batch.memory import BatchMemory, QueueBounds, address_of, aligned_bytes
from native.http2 import answers, binding, callbacks, replies, session
from native.http2.layout import DATA_PROVIDER, NV, SETTINGS_ENTRY
from native.http2.refusals import REFUSAL_COUNT, REFUSAL_HEADER_COUNT, REFUSALS, STATUS_HEADER_COUNT
from native.http2.setup import CALLBACKS, make_callbacks, make_option
from native.lane import layout
from native.wire.directory import ModelDirectory
from native.wire.kernel import Words
from native.wire.metadata import method_table

RECEIVE_BYTES = 256 * 1024
STREAM_WINDOW_BYTES = 1024 * 1024


@dataclass(frozen=True)
class LaneLimits:
    """Bounds of a lane, as configured. Times in ns, sizes in bytes; see docs/reference/configuration.md."""

    connections_max: int = 4096
    slots_max: int = 8192
    streams_per_connection_max: int = 1024
    message_bytes_max: int = 4 << 20
    header_bytes_max: int = 16384
    headers_max: int = 128
    reply_bytes_per_connection_max: int = 16 << 20
    reply_bytes_max: int = 256 << 20
    assembling_bytes_per_connection_max: int = 16 << 20
    assembling_bytes_max: int = 256 << 20
    resets_sent_max: int = 1000
    outbound_frames_max: int = 10_000
    empty_data_frames_max: int = 1000
    priority_frames_max: int = 1000
    settings_ack_timeout_ns: int = 10 * 10**9
    stalled_timeout_ns: int = 10 * 10**9
    connection_age_max_ns: int = 0
    handoffs_max: int = 256


class _Headers:
    """Header blocks as nghttp2 takes them; keeps the texts alive that they point into."""

    def __init__(self) -> None:
        self._texts: list[npt.NDArray[np.uint8]] = []

    def _text(self, text: str) -> tuple[int, int]:
        encoded = np.frombuffer(text.encode("ascii") + b"\0", dtype=np.uint8).copy()
        self._texts.append(encoded)
        return address_of(encoded), encoded.size - 1

    def block(self, *headers: tuple[str, str], copy_last_value: bool = False) -> npt.NDArray[Any]:
        """NV[headers]. copy_last_value: the last value is filled in per call, so nghttp2 has to copy it."""
        block = np.zeros(len(headers), dtype=NV)
        for position, (name, value) in enumerate(headers):
            entry = block[position]
            entry["name"], entry["name_bytes"] = self._text(name)
            entry["value"], entry["value_bytes"] = self._text(value)
            entry["flags"] = binding.NV_FLAG_NO_COPY_NAME | binding.NV_FLAG_NO_COPY_VALUE
        if copy_last_value:
            block[-1]["flags"] = binding.NV_FLAG_NO_COPY_NAME
        return block


class Lane(BatchMemory):
    """The fast lane's memory and kernels. paths: of the methods, the two that kernels read first."""

    def __init__(
        self,
        directory: ModelDirectory,
        queues: Sequence[QueueBounds],
        paths: Sequence[str],
        counters: Words,
        limits: LaneLimits,
    ) -> None:
        super().__init__(
            directory, queues, counters, slots_max=limits.slots_max, connections_max=limits.connections_max
        )
        self.limits = limits
        self.outbox = aligned_bytes(layout.OUTBOX_BYTES)
        self.inbox = aligned_bytes(RECEIVE_BYTES)
        self.handed = np.zeros(limits.slots_max, dtype=np.int64)
        self.segments = np.zeros((limits.connections_max, layout.SEGMENT_WORDS), dtype=np.int64)
        self._paths_seen = aligned_bytes(limits.connections_max * layout.PATH_SEEN_BYTES)
        self._provider = np.zeros(1, dtype=DATA_PROVIDER)
        self._piece = np.zeros(1, dtype=np.int64)
        self._path_spans, self._path_text = method_table(paths)
        self._make_headers()
        self._make_session_memory()
        self._fill_addresses(len(paths))
        self._fill_limits()
        self.connections["user"][:, 0] = address_of(self.words)
        self.connections["user"][:, 1] = np.arange(limits.connections_max)
        self._free_connections = list(range(limits.connections_max - 1, -1, -1))

    def _make_headers(self) -> None:
        headers = self._headers = _Headers()
        content = ("content-type", "application/grpc")
        self._response_headers = headers.block((":status", "200"), content)
        self._trailers = headers.block(("grpc-status", "0"))
        self._refusal_headers = np.zeros((REFUSAL_COUNT, REFUSAL_HEADER_COUNT), dtype=NV)
        for row, refusal in zip(self._refusal_headers, REFUSALS, strict=True):
            row[:] = headers.block(
                (":status", str(refusal.http_status)),
                content,
                ("grpc-status", str(refusal.status)),
                ("grpc-message", refusal.message),
                ("grpc-accept-encoding", "identity,gzip"),
            )
        self._status_headers = np.zeros((17, STATUS_HEADER_COUNT), dtype=NV)
        for status, row in enumerate(self._status_headers):
            row[:] = headers.block(
                (":status", "200"), content, ("grpc-status", str(status)), ("grpc-message", ""), copy_last_value=True
            )
        self._scratch_headers = np.zeros(STATUS_HEADER_COUNT, dtype=NV)

    def _make_session_memory(self) -> None:
        self._settings = np.zeros(session.SETTINGS_COUNT, dtype=SETTINGS_ENTRY)
        self._settings["id"] = (
            binding.SETTINGS_MAX_CONCURRENT_STREAMS,
            binding.SETTINGS_INITIAL_WINDOW_SIZE,
            binding.SETTINGS_MAX_HEADER_LIST_SIZE,
        )
        self._settings["value"] = (
            self.limits.streams_per_connection_max,
            STREAM_WINDOW_BYTES,
            self.limits.header_bytes_max,
        )
        self._callbacks = make_callbacks(*(getattr(callbacks, name).address for name in CALLBACKS))
        self._option = make_option(self.limits.resets_sent_max)

    def _fill_addresses(self, method_count: int) -> None:
        self.fill_words(
            {
                layout.LANE_OUTBOX: address_of(self.outbox),
                layout.LANE_HANDED: address_of(self.handed),
                layout.LANE_SEGMENTS: address_of(self.segments),
                layout.LANE_CALLBACKS: self._callbacks,
                layout.LANE_OPTION: self._option,
                layout.LANE_SETTINGS: address_of(self._settings),
                layout.LANE_READ_CALLBACK: replies.read_reply.address,
                layout.LANE_RESPONSE_HEADERS: address_of(self._response_headers),
                layout.LANE_TRAILERS: address_of(self._trailers),
                layout.LANE_REFUSAL_HEADERS: address_of(self._refusal_headers),
                layout.LANE_STATUS_HEADERS: address_of(self._status_headers),
                layout.LANE_NV_SCRATCH: address_of(self._scratch_headers),
                layout.LANE_PATHS_SEEN: address_of(self._paths_seen),
                layout.LANE_PROVIDER: address_of(self._provider),
                layout.LANE_PIECE: address_of(self._piece),
                layout.LANE_PATH_SPANS: address_of(self._path_spans),
                layout.LANE_METHOD_COUNT: method_count,
                layout.LANE_PATH_TEXT: address_of(self._path_text),
                layout.LANE_PATH_TEXT_BYTES: self._path_text.size,
            }
        )

    def _fill_limits(self) -> None:
        limits = self.limits
        self.fill_words(
            {
                layout.LANE_MESSAGE_BYTES_MAX: limits.message_bytes_max,
                layout.LANE_STREAMS_MAX: limits.streams_per_connection_max,
                layout.LANE_HEADER_BYTES_MAX: limits.header_bytes_max,
                layout.LANE_HEADERS_MAX: limits.headers_max,
                layout.LANE_REPLY_BYTES_MAX: limits.reply_bytes_per_connection_max,
                layout.LANE_REPLY_BYTES_ALL_MAX: limits.reply_bytes_max,
                layout.LANE_ASSEMBLING_BYTES_MAX: limits.assembling_bytes_per_connection_max,
                layout.LANE_ASSEMBLING_BYTES_ALL_MAX: limits.assembling_bytes_max,
                layout.LANE_RESETS_SENT_MAX: limits.resets_sent_max,
                layout.LANE_OUTBOUND_FRAMES_MAX: limits.outbound_frames_max,
                layout.LANE_EMPTY_DATA_MAX: limits.empty_data_frames_max,
                layout.LANE_PRIORITY_MAX: limits.priority_frames_max,
                layout.LANE_SETTINGS_ACK_NS_MAX: limits.settings_ack_timeout_ns,
                layout.LANE_STALLED_NS_MAX: limits.stalled_timeout_ns,
                layout.LANE_CONNECTION_AGE_NS_MAX: limits.connection_age_max_ns,
                layout.LANE_HANDED_MAX: limits.handoffs_max,
                layout.LANE_WINDOW_BYTES: max(2 * STREAM_WINDOW_BYTES, limits.assembling_bytes_per_connection_max),
            }
        )

    def open(self, now_ns: int) -> int | None:
        """Opens a connection with a session: its index, or None where no more are allowed."""
        if not self._free_connections:
            return None
        index = self._free_connections.pop()
        if session.open_connection(self.words, index, now_ns) != 0:
            session.close_connection(self.words, index)
            self._free_connections.append(index)
            return None
        return index

    def close(self, connection: int) -> None:
        """The connection's transport is gone. Its index may name another connection from here on."""
        session.close_connection(self.words, connection)
        self._free_connections.append(connection)

    @property
    def connection_count(self) -> int:
        return self.limits.connections_max - len(self._free_connections)

    def answer_status(self, slot: int, generation: int, status: int, message: bytes) -> int:
        """See `answers.answer_status`; message: percent-encoded."""
        text = np.frombuffer(message or b"\0", dtype=np.uint8)
        return int(answers.answer_status(self.words, slot, generation, status, address_of(text), len(message)))

    def answer_message(self, slot: int, generation: int, message: bytes, *, last: bool) -> int:
        """See `answers.answer_message`."""
        content = np.frombuffer(message or b"\0", dtype=np.uint8)
        return int(answers.answer_message(self.words, slot, generation, address_of(content), len(message), last))

    def end_stream(self, slot: int, generation: int, status: int, message: bytes) -> int:
        """See `answers.end_stream`; message: percent-encoded."""
        text = np.frombuffer(message or b"\0", dtype=np.uint8)
        return int(answers.end_stream(self.words, slot, generation, status, address_of(text), len(message)))
