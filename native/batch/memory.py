"""The memory that rows, calls and batches live in: one worker's, owned here.

Used by the worker's batcher; the fast lane's `native.http2.lane.Lane` adds what HTTP/2 needs. Needs no libnghttp2.
Always: every array that a kernel reaches through the block of addresses is an attribute of this object, so it lives as
long as the object; one thread, the worker's loop, calls kernels on it and puts models into places, never both at once.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from native.batch.commit import sort_ready
from native.batch.layout import ARENA, ARENA_FREE, ARENA_WORDS, NO_ARENA, QUEUE
from native.lane import layout
from native.plane.evidence import CELLS_COUNT, private_cells
from native.plane.routing import MODELS_MAX, NO_SEAT, SEATS_MAX, TABLE_WORDS
from native.route.follow import settle_seats, take_routes
from native.route.layout import ROUTE, SEAT
from native.wire.codes import ID_BYTES_MAX
from native.wire.directory import ModelDirectory, WireModel
from native.wire.kernel import Words
from native.wire.parsed import PARSED_WORDS

BLOCK_ALIGNMENT_BYTES = 64
PLACES = ("stable", "canary", "shadow", "last_safe")  # of a route


# Until a judge says otherwise, no answer is late.
AGE_LIMIT_NS = 1 << 62

Block = npt.NDArray[np.uint8]
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


def aligned_blocks(count: int, size_bytes: int) -> npt.NDArray[np.uint8]:
    """uint8[count, size_bytes], each block 64-byte aligned: size_bytes is a multiple of that.

    A mapping of its own: pages that are never touched cost nothing, all others are the system's again once nobody
    refers to it. Without huge pages, of which the first byte of a block would take two megabytes, and NumPy asks for
    them. Raises OSError where the system refuses it.
    """
    assert size_bytes % BLOCK_ALIGNMENT_BYTES == 0, size_bytes
    mapping = mmap.mmap(-1, count * size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without huge pages
        mapping.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(mapping, dtype=np.uint8).reshape(count, size_bytes)


def _blocks_of(directory: ModelDirectory, seat: int, bounds: QueueBounds) -> tuple[Block, Block] | None:
    """What a place's arenas keep inputs and outputs in; None where kernels can't carry its rows."""
    if not directory.kernel_ok(seat):
        return None
    sizes = directory.input_block_bytes(seat), directory.output_block_bytes(seat)
    try:
        inputs, outputs = (aligned_blocks(bounds.arenas, size) for size in sizes)
    except OSError as error:
        raise ValueError(
            f"{directory.model(seat).name}: the system has no {bounds.arenas * sum(sizes):,} bytes for its batches "
            f"({error}). Lower batching.queue_bytes_max, or queue_rows_max."
        ) from error
    return inputs, outputs


class BatchMemory:
    """Slots, queues and arenas of one worker, and the routes that say which of its models answers.

    directory: of the models served first; queues: bounds for each of them, in the same order; counters:
    int64[COUNTERS_LENGTH], the worker's private vector. Without `attach_routes` each of these models answers for its
    own name, for good.
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
        assert len(queues) == len(directory.places) <= SEATS_MAX
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
        self.refused = np.zeros(slots_max, dtype=np.int64)
        self._touched = np.zeros(connections_max, dtype=np.int64)
        self._parsed = np.zeros(PARSED_WORDS, dtype=np.int64)
        self.queues = np.zeros(SEATS_MAX, dtype=QUEUE)
        self.queues["gathering"] = self.queues["free"] = NO_ARENA
        self.arenas = np.zeros(0, dtype=ARENA)
        self._blocks: list[tuple[Block, Block] | None] = []
        # Made when first used: most arenas of a long queue never are.
        self._columns: list[Columns | None] = []
        self._spans: list[int] = []  # requests that fit into each arena's list
        self._arenas_of: list[list[int]] = [[] for _ in range(SEATS_MAX)]
        self._spare: list[int] = []
        self._arena_slots = np.zeros(0, dtype=np.int64)
        self._ready = np.zeros((2, 0), dtype=np.int64)
        self.seats = np.zeros(SEATS_MAX, dtype=SEAT)
        self.seats["runs_as"] = np.arange(SEATS_MAX)
        self.routes = np.zeros(MODELS_MAX, dtype=ROUTE)
        for place in PLACES:
            self.routes[place] = NO_SEAT
        self.routes["whole"] = 1
        self._route_table = np.zeros(TABLE_WORDS, dtype=np.int64)
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
                layout.LANE_QUEUES: address_of(self.queues),
                layout.LANE_FINISHED: address_of(self.finished),
                layout.LANE_SEATS: address_of(self.seats),
                layout.LANE_ROUTES: address_of(self.routes),
                layout.LANE_ROUTE_TABLE: address_of(self._route_table),
                layout.LANE_AGE_LIMIT_NS: AGE_LIMIT_NS,
            }
        )
        self._point_at_arenas()
        self._take_directory(directory)
        for seat, (model, bounds) in enumerate(zip(directory.places, queues, strict=True)):
            if model is not None:
                self._make_queue(seat, bounds, _blocks_of(directory, seat, bounds))
                self._route_alone(seat, directory.route_of(seat))
        settle_seats(self.words)

    def fill_words(self, values: dict[int, int]) -> None:
        """Sets words of the block that kernels start from."""
        for word, value in values.items():
            self.words[word] = value

    # --- Models come and go --------------------------------------------------------------------------------------
    def set_model(self, seat: int, model: WireModel, bounds: QueueBounds) -> None:
        """Puts a model into a vacant place. Nothing is sent there before `set_ready` and a route that names it.

        Raises ValueError, and nothing has changed, where the system has no memory for its batches.
        """
        assert not self._arenas_of[seat], seat
        places = list(self.directory.places) + [None] * (seat + 1 - len(self.directory.places))
        assert places[seat] is None, seat
        places[seat] = model
        directory = ModelDirectory(places)
        blocks = _blocks_of(directory, seat, bounds)
        self._take_directory(directory)
        self._make_queue(seat, bounds, blocks)
        self._settle()

    def remove_model(self, seat: int) -> list[Block]:
        """Makes a place vacant. Nothing of it may be under way (`busy`).

        Its memory, which goes as this list does: to give pages back takes as long as they are many.
        """
        assert not self.busy(seat), seat
        self.set_ready(seat, 0)
        places = list(self.directory.places)
        places[seat] = None
        self._take_directory(ModelDirectory(places))
        blocks = [block for arena in self._arenas_of[seat] for block in self._blocks[arena] or ()]
        for arena in self._arenas_of[seat]:
            self._blocks[arena] = self._columns[arena] = None
        for address in ("input_address", "output_address"):
            self.arenas[address][self._arenas_of[seat]] = 0
        self._spare += self._arenas_of[seat]
        self._arenas_of[seat] = []
        self.queues[seat] = (NO_ARENA, NO_ARENA, 0, 0, 0)
        self._settle()
        return blocks

    def busy(self, seat: int) -> bool:
        """True while rows of the place wait or run, also where another model runs them."""
        taken = self.arenas["state"] != ARENA_FREE
        return bool(taken[self._arenas_of[seat]].any() or taken[self.arenas["runs_as"] == seat].any())

    def set_ready(self, seat: int, generation: int) -> None:
        """This very artifact can answer here from now on; generation 0: none can. Routes are looked at again."""
        self.seats[seat]["generation"] = generation
        take_routes(self.words)
        sort_ready(self.words)

    # --- Routes --------------------------------------------------------------------------------------------------
    def attach_routes(self, plane_routing: Words, worker_routing: Words, seed: int) -> None:
        """From now on the plane's routes decide, and evidence is counted. seed: this worker's own, for keyless traffic.

        plane_routing: int64[ROUTING_WORDS], worker_routing: int64[WORKER_ROUTING_WORDS], both shared and kept alive
        here. Models that were put in before are ready once `set_ready` says so.
        """
        self._plane_routing, self._worker_routing = plane_routing, worker_routing
        self._cells = private_cells(worker_routing)
        self._dirty_cells = np.zeros(CELLS_COUNT, dtype=np.int64)
        self.seats["generation"] = 0
        for place in PLACES:
            self.routes[place] = NO_SEAT
        self.fill_words(
            {
                layout.LANE_PLANE_ROUTING: address_of(plane_routing),
                layout.LANE_WORKER_ROUTING: address_of(worker_routing),
                layout.LANE_WORKER_SEED: seed,
                layout.LANE_CELLS: address_of(self._cells),
                layout.LANE_DIRTY_CELLS: address_of(self._dirty_cells),
            }
        )
        self._settle()

    def _settle(self) -> None:
        """Seats have other roles: what waits for them, on which side, and what replies call them."""
        settle_seats(self.words)
        sort_ready(self.words)

    def _route_alone(self, seat: int, model: int) -> None:
        """Without a plane: the first model of a route is its stable."""
        if self.routes[model]["stable"] == NO_SEAT:
            self.routes[model]["stable"] = seat
        self.seats[seat]["generation"] = 1

    # --- Memory --------------------------------------------------------------------------------------------------
    def _take_directory(self, directory: ModelDirectory) -> None:
        self.directory = directory
        self.fill_words(
            {
                layout.LANE_QUEUE_COUNT: len(directory.places),
                layout.LANE_DIRECTORY_TABLE: address_of(directory.table),
                layout.LANE_DIRECTORY_WORDS: directory.table.size,
                layout.LANE_DIRECTORY_BLOB: address_of(directory.blob),
                layout.LANE_DIRECTORY_BLOB_BYTES: directory.blob.size,
            }
        )

    def _make_queue(self, seat: int, bounds: QueueBounds, blocks: tuple[Block, Block] | None) -> None:
        """Gives a place its queue and arenas; one that kernels can't carry rows for gets none. blocks: `_blocks_of`."""
        max_rows = self.directory.model(seat).max_rows
        self.queues[seat] = (NO_ARENA, NO_ARENA, max_rows, 0, bounds.waiting_rows_max)
        if blocks is None:
            return
        # Field by field, not arena by arena: this is the loop's time, and there are dozens of them.
        taken = self._take_arenas(bounds.arenas, max_rows)
        inputs, outputs = blocks
        for index, of_inputs, of_outputs in zip(taken, inputs, outputs, strict=True):
            self._blocks[index] = of_inputs, of_outputs
        self._arenas_of[seat] = taken
        arenas, number = self.arenas, np.arange(len(taken))
        arenas["state"][taken], arenas["model"][taken], arenas["runs_as"][taken] = ARENA_FREE, seat, seat
        for what, its in (("input", inputs), ("output", outputs)):
            arenas[f"{what}_address"][taken] = address_of(its) + its.shape[1] * number
            arenas[f"{what}_bytes"][taken] = its.shape[1]
        arenas["next_free"][taken] = [*taken[1:], NO_ARENA]
        self.queues[seat]["free"] = taken[0]

    def _take_arenas(self, count: int, max_rows: int) -> list[int]:
        """Spare arenas whose lists hold max_rows requests, and new ones where there are too few."""
        taken = [index for index in self._spare if self._spans[index] >= max_rows][:count]
        self._spare = sorted(set(self._spare) - set(taken))
        missing = count - len(taken)
        if missing:
            span = 1 << (max_rows - 1).bit_length()
            first = self.arenas.size
            added = np.zeros(missing, dtype=ARENA)
            added["first_request"] = self._arena_slots.size + span * np.arange(missing)
            self.arenas = np.concatenate([self.arenas, added])
            self._arena_slots = np.concatenate([self._arena_slots, np.zeros(missing * span, dtype=np.int64)])
            self._blocks += [None] * missing
            self._columns += [None] * missing
            self._spans += [span] * missing
            self._point_at_arenas()
            taken += range(first, first + missing)
        return taken

    def _point_at_arenas(self) -> None:
        """After the arenas have moved: rings with room for all of them, and addresses."""
        count = self.arenas.size
        ready = np.zeros((2, count), dtype=np.int64)
        for side in (0, 1):
            head, waiting = layout.LANE_READY_HEADS + side, int(self.words[layout.LANE_READY_COUNTS + side])
            places = (int(self.words[head]) + np.arange(waiting)) % max(self._ready.shape[1], 1)
            ready[side, :waiting] = self._ready[side, places]
            self.words[head] = 0
        self._ready = ready
        # Plain ints for who reads a word or two once per batch: a field of a structured array costs ten times as much.
        self.arena_words = self.arenas.view(np.int64).reshape(count, ARENA_WORDS).data
        self.fill_words(
            {
                layout.LANE_ARENAS: address_of(self.arenas),
                layout.LANE_ARENA_COUNT: count,
                layout.LANE_ARENA_SLOTS: address_of(self._arena_slots),
                layout.LANE_READY: address_of(self._ready),
            }
        )

    def arena_columns(self, arena: int) -> Columns:
        """[max_rows, ...] views of an arena's inputs and outputs, in declared order."""
        kept = self._columns[arena]
        if kept is None:
            model = int(self.arenas[arena]["model"])
            blocks = self._blocks[arena]
            assert blocks is not None, arena
            kept = self.directory.input_columns(model, blocks[0]), self.directory.output_columns(model, blocks[1])
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
