"""The lane: all memory of one worker's fast lane, allocated once and owned here, and its kernels as methods.

Used by the worker's fast lane and batcher. One thread, the worker's loop, calls into it.
Always: every array that a kernel reaches through the lane's block of addresses is an attribute of this object, so it
lives as long as the lane; nothing is allocated while requests are served, but large messages and replies, by kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from native.batch.layout import ARENA, ARENA_FREE, NO_ARENA, QUEUE
from native.http2 import answers, binding, callbacks, replies, session
from native.http2.layout import DATA_PROVIDER, NV, SETTINGS_ENTRY
from native.http2.refusals import REFUSAL_COUNT, REFUSAL_HEADER_COUNT, REFUSALS, STATUS_HEADER_COUNT
from native.http2.setup import CALLBACKS, make_callbacks, make_option
from native.lane import layout
from native.wire.codes import ID_BYTES_MAX
from native.wire.directory import ModelDirectory
from native.wire.kernel import Words
from native.wire.metadata import method_table
from native.wire.parsed import PARSED_WORDS

BLOCK_ALIGNMENT_BYTES = 64
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


@dataclass(frozen=True)
class QueueBounds:
    """How many rows of one model may wait: `arenas` batches, `waiting_rows_max` rows in all."""

    arenas: int
    waiting_rows_max: int


def _address(array: npt.NDArray[Any]) -> int:
    return int(array.ctypes.data)


def _aligned(size_bytes: int) -> npt.NDArray[np.uint8]:
    """uint8[size_bytes], 64-byte aligned, untouched pages cost nothing."""
    block = np.empty(size_bytes + BLOCK_ALIGNMENT_BYTES, dtype=np.uint8)
    skip = -_address(block) % BLOCK_ALIGNMENT_BYTES
    return block[skip : skip + size_bytes]


class _Headers:
    """Header blocks as nghttp2 takes them; keeps the texts alive that they point into."""

    def __init__(self) -> None:
        self._texts: list[npt.NDArray[np.uint8]] = []

    def _text(self, text: str) -> tuple[int, int]:
        encoded = np.frombuffer(text.encode("ascii") + b"\0", dtype=np.uint8).copy()
        self._texts.append(encoded)
        return _address(encoded), encoded.size - 1

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


class Lane:
    """The fast lane's memory and kernels.

    directory: of the served models; queues: bounds for each of them, in the same order; paths: of the methods, the two
    that kernels read first; counters: int64[COUNTERS_LENGTH], the worker's private vector.
    """

    def __init__(
        self,
        directory: ModelDirectory,
        queues: Sequence[QueueBounds],
        paths: Sequence[str],
        counters: Words,
        limits: LaneLimits,
    ) -> None:
        assert len(queues) == len(directory.models)
        self.directory = directory
        self.counters = counters
        self.limits = limits
        self.words: Words = np.zeros(layout.LANE_WORDS, dtype=np.int64)
        self.connections = np.zeros(limits.connections_max, dtype=layout.CONNECTION)
        self.slots = np.zeros(limits.slots_max, dtype=layout.SLOT)
        # The lowest index is on top of the stack, so that few slots stay warm in the caches.
        self._free_slots = np.arange(limits.slots_max - 1, -1, -1, dtype=np.int64)
        self._request_bytes = _aligned(limits.slots_max * layout.REQUEST_INLINE_BYTES)
        self._reply_bytes = _aligned(limits.slots_max * layout.REPLY_INLINE_BYTES)
        self.outbox = _aligned(layout.OUTBOX_BYTES)
        self.inbox = _aligned(RECEIVE_BYTES)
        self.handed = np.zeros(limits.slots_max, dtype=np.int64)
        self.finished = np.zeros(limits.slots_max, dtype=np.int64)
        self.expired = np.zeros(limits.slots_max, dtype=np.int64)
        self._touched = np.zeros(limits.connections_max, dtype=np.int64)
        self.segments = np.zeros((limits.connections_max, layout.SEGMENT_WORDS), dtype=np.int64)
        self._parsed = np.zeros(PARSED_WORDS, dtype=np.int64)
        self._provider = np.zeros(1, dtype=DATA_PROVIDER)
        self._piece = np.zeros(1, dtype=np.int64)
        self._ids = np.zeros((limits.slots_max, ID_BYTES_MAX), dtype=np.uint8)
        self._path_spans, self._path_text = method_table(paths)
        self._make_headers()
        self._make_batches(queues)
        self._make_session_memory()
        self._fill_words(len(paths))
        self.connections["user"][:, 0] = _address(self.words)
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

    def _make_batches(self, bounds: Sequence[QueueBounds]) -> None:
        models = self.directory.models
        counts = [bound.arenas if self.directory.kernel_ok(index) else 0 for index, bound in enumerate(bounds)]
        self.queues = np.zeros(max(len(models), 1), dtype=QUEUE)
        self.arenas = np.zeros(max(sum(counts), 1), dtype=ARENA)
        self._ready = np.zeros(self.arenas.size, dtype=np.int64)
        self._blocks: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]] = []
        index = requests = 0
        for model, (bound, count) in enumerate(zip(bounds, counts, strict=True)):
            max_rows = models[model].max_rows
            self.queues[model] = (NO_ARENA, NO_ARENA, max_rows, 0, bound.waiting_rows_max)
            for _ in range(count):
                inputs = _aligned(self.directory.input_block_bytes(model))
                outputs = _aligned(self.directory.output_block_bytes(model))
                self._blocks.append((inputs, outputs))
                arena = self.arenas[index]
                arena["state"], arena["model"], arena["first_request"] = ARENA_FREE, model, requests
                arena["input_address"], arena["input_bytes"] = _address(inputs), inputs.size
                arena["output_address"], arena["output_bytes"] = _address(outputs), outputs.size
                arena["next_free"] = self.queues[model]["free"]
                self.queues[model]["free"] = index
                index += 1
                requests += max_rows
        for empty in range(len(models), self.queues.size):
            self.queues[empty] = (NO_ARENA, NO_ARENA, 0, 0, 0)
        self._arena_slots = np.empty(max(requests, 1), dtype=np.int64)

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

    def _fill_words(self, method_count: int) -> None:
        limits, words = self.limits, self.words
        values = {
            layout.LANE_CONNECTIONS: _address(self.connections),
            layout.LANE_CONNECTION_COUNT: self.connections.size,
            layout.LANE_SLOTS: _address(self.slots),
            layout.LANE_SLOT_COUNT: self.slots.size,
            layout.LANE_FREE_SLOTS: _address(self._free_slots),
            layout.LANE_FREE_SLOT_COUNT: self._free_slots.size,
            layout.LANE_REQUEST_BYTES: _address(self._request_bytes),
            layout.LANE_REPLY_BYTES: _address(self._reply_bytes),
            layout.LANE_COUNTERS: _address(self.counters),
            layout.LANE_OUTBOX: _address(self.outbox),
            layout.LANE_HANDED: _address(self.handed),
            layout.LANE_TOUCHED: _address(self._touched),
            layout.LANE_SEGMENTS: _address(self.segments),
            layout.LANE_CALLBACKS: self._callbacks,
            layout.LANE_OPTION: self._option,
            layout.LANE_SETTINGS: _address(self._settings),
            layout.LANE_READ_CALLBACK: replies.read_reply.address,
            layout.LANE_RESPONSE_HEADERS: _address(self._response_headers),
            layout.LANE_TRAILERS: _address(self._trailers),
            layout.LANE_REFUSAL_HEADERS: _address(self._refusal_headers),
            layout.LANE_STATUS_HEADERS: _address(self._status_headers),
            layout.LANE_NV_SCRATCH: _address(self._scratch_headers),
            layout.LANE_PROVIDER: _address(self._provider),
            layout.LANE_PIECE: _address(self._piece),
            layout.LANE_IDS: _address(self._ids),
            layout.LANE_PATH_SPANS: _address(self._path_spans),
            layout.LANE_METHOD_COUNT: method_count,
            layout.LANE_PATH_TEXT: _address(self._path_text),
            layout.LANE_PATH_TEXT_BYTES: self._path_text.size,
            layout.LANE_PARSED: _address(self._parsed),
            layout.LANE_DIRECTORY_TABLE: _address(self.directory.table),
            layout.LANE_DIRECTORY_WORDS: self.directory.table.size,
            layout.LANE_DIRECTORY_BLOB: _address(self.directory.blob),
            layout.LANE_DIRECTORY_BLOB_BYTES: self.directory.blob.size,
            layout.LANE_QUEUES: _address(self.queues),
            layout.LANE_QUEUE_COUNT: self.queues.size,
            layout.LANE_ARENAS: _address(self.arenas),
            layout.LANE_ARENA_COUNT: self.arenas.size,
            layout.LANE_ARENA_SLOTS: _address(self._arena_slots),
            layout.LANE_READY: _address(self._ready),
            layout.LANE_FINISHED: _address(self.finished),
            layout.LANE_MESSAGE_BYTES_MAX: limits.message_bytes_max,
            layout.LANE_STREAMS_MAX: limits.streams_per_connection_max,
            layout.LANE_HEADER_BYTES_MAX: limits.header_bytes_max,
            layout.LANE_HEADERS_MAX: limits.headers_max,
            layout.LANE_REPLY_BYTES_MAX: limits.reply_bytes_per_connection_max,
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
        for word, value in values.items():
            words[word] = value

    # --- Connections ---------------------------------------------------------------------------------------------
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

    @property
    def slots_in_use(self) -> int:
        return int(self.slots.size - self.words[layout.LANE_FREE_SLOT_COUNT])

    # --- Batches -------------------------------------------------------------------------------------------------
    def arena_columns(
        self, arena: int
    ) -> tuple[tuple[npt.NDArray[Any], ...], tuple[npt.NDArray[Any], ...]]:
        """[max_rows, ...] views of an arena's inputs and outputs, in declared order."""
        model = int(self.arenas[arena]["model"])
        inputs, outputs = self._blocks[arena]
        return self.directory.input_columns(model, inputs), self.directory.output_columns(model, outputs)

    def answer_status(self, slot: int, generation: int, status: int, message: bytes) -> int:
        """See `answers.answer_status`; message: percent-encoded."""
        text = np.frombuffer(message, dtype=np.uint8)
        return int(answers.answer_status(self.words, slot, generation, status, _address(text), text.size))

    def answer_message(self, slot: int, generation: int, message: bytes, *, last: bool) -> int:
        """See `answers.answer_message`."""
        content = np.frombuffer(message, dtype=np.uint8)
        return int(answers.answer_message(self.words, slot, generation, _address(content), content.size, last))
