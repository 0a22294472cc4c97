"""The memory that rows, calls and batches live in: one worker's, allocated once and owned here.

Used by the worker's batcher; the fast lane's `native.http2.lane.Lane` adds what HTTP/2 needs. Needs no libnghttp2.
Always: every array that a kernel reaches through the block of addresses is an attribute of this object, so it lives as
long as the object; one thread, the worker's loop, calls kernels on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from native.batch.layout import ARENA, ARENA_FREE, ARENA_WORDS, NO_ARENA, QUEUE
from native.lane import layout
from native.wire.codes import ID_BYTES_MAX
from native.wire.directory import ModelDirectory
from native.wire.kernel import Words
from native.wire.parsed import PARSED_WORDS

BLOCK_ALIGNMENT_BYTES = 64


Columns = tuple[tuple[npt.NDArray[Any], ...], tuple[npt.NDArray[Any], ...]]


@dataclass(frozen=True)
class QueueBounds:
    """How much of one model may wait. waiting_rows_max: rows; arenas: batches, at least 2: one runs, one gathers."""

    arenas: int
    waiting_rows_max: int


def address_of(array: npt.NDArray[Any]) -> int:
    """The address of an array's first byte. Whoever passes it on keeps the array alive."""
    return int(array.ctypes.data)


def aligned_bytes(size_bytes: int) -> npt.NDArray[np.uint8]:
    """uint8[size_bytes], 64-byte aligned. Pages that are never touched cost nothing."""
    block = np.empty(size_bytes + BLOCK_ALIGNMENT_BYTES, dtype=np.uint8)
    skip = -address_of(block) % BLOCK_ALIGNMENT_BYTES
    return block[skip : skip + size_bytes]


class BatchMemory:
    """Slots, queues and arenas of one worker.

    directory: of the served models; queues: bounds for each of them, in the same order; counters:
    int64[COUNTERS_LENGTH], the worker's private vector.
    """

    def __init__(
        self,
        directory: ModelDirectory,
        queues: Sequence[QueueBounds],
        counters: Words,
        *,
        slots_max: int,
        connections_max: int = 1,
    ) -> None:
        assert len(queues) == len(directory.models)
        self.directory = directory
        self.counters = counters
        self.words: Words = np.zeros(layout.LANE_WORDS, dtype=np.int64)
        self.connections = np.zeros(connections_max, dtype=layout.CONNECTION)
        self.slots = np.zeros(slots_max, dtype=layout.SLOT)
        # The lowest index is on top of the stack, so that few slots stay warm in the caches.
        self._free_slots = np.arange(slots_max - 1, -1, -1, dtype=np.int64)
        self._request_bytes = aligned_bytes(slots_max * layout.REQUEST_INLINE_BYTES)
        self._reply_bytes = aligned_bytes(slots_max * layout.REPLY_INLINE_BYTES)
        self._ids = np.zeros((slots_max, ID_BYTES_MAX), dtype=np.uint8)
        self.finished = np.zeros(slots_max, dtype=np.int64)
        self.expired = np.zeros(slots_max, dtype=np.int64)
        self._touched = np.zeros(connections_max, dtype=np.int64)
        self._parsed = np.zeros(PARSED_WORDS, dtype=np.int64)
        self._make_arenas(queues)
        self.fill_words(
            {
                layout.LANE_CONNECTIONS: address_of(self.connections),
                layout.LANE_CONNECTION_COUNT: self.connections.size,
                layout.LANE_SLOTS: address_of(self.slots),
                layout.LANE_SLOT_COUNT: self.slots.size,
                layout.LANE_FREE_SLOTS: address_of(self._free_slots),
                layout.LANE_FREE_SLOT_COUNT: self._free_slots.size,
                layout.LANE_REQUEST_BYTES: address_of(self._request_bytes),
                layout.LANE_REPLY_BYTES: address_of(self._reply_bytes),
                layout.LANE_IDS: address_of(self._ids),
                layout.LANE_COUNTERS: address_of(self.counters),
                layout.LANE_TOUCHED: address_of(self._touched),
                layout.LANE_PARSED: address_of(self._parsed),
                layout.LANE_DIRECTORY_TABLE: address_of(directory.table),
                layout.LANE_DIRECTORY_WORDS: directory.table.size,
                layout.LANE_DIRECTORY_BLOB: address_of(directory.blob),
                layout.LANE_DIRECTORY_BLOB_BYTES: directory.blob.size,
                layout.LANE_QUEUES: address_of(self.queues),
                layout.LANE_QUEUE_COUNT: self.queues.size,
                layout.LANE_ARENAS: address_of(self.arenas),
                layout.LANE_ARENA_COUNT: self.arenas.size,
                layout.LANE_ARENA_SLOTS: address_of(self._arena_slots),
                layout.LANE_READY: address_of(self._ready),
                layout.LANE_FINISHED: address_of(self.finished),
            }
        )

    def fill_words(self, values: dict[int, int]) -> None:
        """Sets words of the block that kernels start from."""
        for word, value in values.items():
            self.words[word] = value

    def _make_arenas(self, bounds: Sequence[QueueBounds]) -> None:
        models = self.directory.models
        counts = [bound.arenas if self.directory.kernel_ok(index) else 0 for index, bound in enumerate(bounds)]
        self.queues = np.zeros(len(models), dtype=QUEUE)
        self.arenas = np.zeros(sum(counts), dtype=ARENA)
        self._ready = np.zeros(self.arenas.size, dtype=np.int64)
        self._blocks: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]] = []
        index = requests = 0
        for model, (bound, count) in enumerate(zip(bounds, counts, strict=True)):
            max_rows = models[model].max_rows
            self.queues[model] = (NO_ARENA, NO_ARENA, max_rows, 0, bound.waiting_rows_max)
            for _ in range(count):
                inputs = aligned_bytes(self.directory.input_block_bytes(model))
                outputs = aligned_bytes(self.directory.output_block_bytes(model))
                self._blocks.append((inputs, outputs))
                arena = self.arenas[index]
                arena["state"], arena["model"], arena["first_request"] = ARENA_FREE, model, requests
                arena["input_address"], arena["input_bytes"] = address_of(inputs), inputs.size
                arena["output_address"], arena["output_bytes"] = address_of(outputs), outputs.size
                arena["next_free"] = self.queues[model]["free"]
                self.queues[model]["free"] = index
                index += 1
                requests += max_rows
        self._arena_slots = np.empty(requests, dtype=np.int64)
        # Plain ints for who reads a word or two once per batch: a field of a structured array costs ten times as much.
        self.arena_words = self.arenas.view(np.int64).reshape(self.arenas.size, ARENA_WORDS).data
        # Made when first used: most arenas of a long queue never are.
        self._columns: list[Columns | None] = [None] * self.arenas.size

    def arena_columns(self, arena: int) -> Columns:
        """[max_rows, ...] views of an arena's inputs and outputs, in declared order."""
        kept = self._columns[arena]
        if kept is None:
            model = int(self.arenas[arena]["model"])
            inputs, outputs = self._blocks[arena]
            kept = self.directory.input_columns(model, inputs), self.directory.output_columns(model, outputs)
            self._columns[arena] = kept
        return kept

    def arena_requests(self, arena: int) -> list[int]:
        """The slots of an arena's requests, in the order of their rows."""
        entry = self.arenas[arena]
        first = int(entry["first_request"])
        return self._arena_slots[first : first + int(entry["requests"])].tolist()

    def rows_of(self, slot: int) -> tuple[int, int]:
        """(first row, rows) of a slot's request in its arena."""
        entry = self.slots[slot]
        return int(entry["row"]), int(entry["rows"])

    @property
    def slots_in_use(self) -> int:
        return int(self.slots.size - self.words[layout.LANE_FREE_SLOT_COUNT])
