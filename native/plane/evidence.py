"""Evidence: what became of requests, counted by the seat that answered and the weights that stood.

A worker counts in private cells and publishes those that changed, once per batch, each under a sequence of its own.
Used by the lane's kernels (`open_cell`, `publish_cell`, `first_event`, `first_request`) and by control
(`EvidenceReader`, `clear_first_events`).
Always: one writer a cell; a cell that is given to other weights starts at zero; counts of one cell only grow, over
restarts of their worker too, so that a reader keeps the newest copy and never adds two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from native.plane.atomics import (
    fence_acquire,
    fence_release,
    fetch_or,
    int64,
    load_acquire,
    load_relaxed,
    store_relaxed,
    store_release,
)
from native.plane.layout import Plane, Words
from native.plane.routing import (
    CELL_ANSWERED,
    CELL_ERRORS,
    CELL_ERRORS_ALL,
    CELL_FAILED,
    CELL_GENERATION,
    CELL_NON_FINITE,
    CELL_NON_FINITE_ALL,
    CELL_REQUESTS,
    CELL_ROWS,
    CELL_SEQUENCE,
    CELL_SHADOW_ERRORS,
    CELL_SHADOW_NON_FINITE,
    CELL_SHADOW_SKIPPED,
    CELL_SHADOWED,
    CELL_TIMEOUTS,
    CELL_TIMEOUTS_ALL,
    CELL_UNITS,
    CELL_WEIGHT_EPOCH,
    CELL_WORDS,
    CELLS,
    CELLS_KEPT,
    FIRST_EVENTS,
    FIRST_EVENTS_BITS,
    FIRST_EVENTS_WORDS,
    MODELS_MAX,
    ROUTING_WORDS,
    SEATS_MAX,
    UNITS,
    UNITS_BITS,
    UNITS_WORDS,
)

CELLS_COUNT = SEATS_MAX * CELLS_KEPT
READ_TRIES = 100


def private_cells(worker_routing: Words) -> Words:
    """A worker's own cells, int64[CELLS_COUNT * CELL_WORDS]: its predecessor's counts go on."""
    cells = worker_routing[CELLS : CELLS + CELLS_COUNT * CELL_WORDS].copy()
    cells[CELL_SEQUENCE::CELL_WORDS] = 0
    return cells


@njit("int64(int64[::1], int64, int64, int64)", nogil=True, cache=True, error_model="numpy")
def open_cell(cells: Words, seat: int, generation: int, weight_epoch: int) -> int:
    """Offset of the cell for this artifact under these weights, emptied where earlier ones had it.

    cells: int64[CELLS_COUNT * CELL_WORDS], private. -1 for no such seat, and for a straggler, split CELLS_KEPT or more
    changes of weight ago: its cell is a later one's now.
    """
    if seat < 0 or seat >= SEATS_MAX or cells.size < CELLS_COUNT * CELL_WORDS:
        return -1
    at = (seat * CELLS_KEPT + (weight_epoch & (CELLS_KEPT - 1))) * CELL_WORDS
    if cells[at + CELL_GENERATION] == generation and cells[at + CELL_WEIGHT_EPOCH] > weight_epoch:
        return -1
    if cells[at + CELL_GENERATION] != generation or cells[at + CELL_WEIGHT_EPOCH] != weight_epoch:
        for word in range(CELL_GENERATION, CELL_WORDS):
            cells[at + word] = 0
        cells[at + CELL_GENERATION] = generation
        cells[at + CELL_WEIGHT_EPOCH] = weight_epoch
    return at


@njit("void(int64[::1], int64[::1], int64)", nogil=True, cache=True, error_model="numpy")
def publish_cell(cells: Words, worker_routing: Words, at: int) -> None:
    """Commits one private cell, at an offset that `open_cell` gave, to the worker's block."""
    if at < 0 or at > cells.size - CELL_WORDS or at > worker_routing.size - CELLS - CELL_WORDS:
        return
    shared = CELLS + at
    sequence = load_relaxed(worker_routing, shared + CELL_SEQUENCE)
    sequence += sequence & 1  # odd: a predecessor was killed while it wrote
    store_relaxed(worker_routing, shared + CELL_SEQUENCE, sequence + 1)
    fence_release()
    for word in range(CELL_GENERATION, CELL_WORDS):
        store_relaxed(worker_routing, shared + word, cells[at + word])
    store_release(worker_routing, shared + CELL_SEQUENCE, sequence + 2)


@njit("int64(int64[::1], int64[:,::1])", nogil=True, cache=True, error_model="numpy")
def copy_cells(worker_routing: Words, out: Words) -> int:
    """Copies all cells in use to rows of `out`, the seat in the sequence's place. How many; -1: `out` is too small.

    out: int64[CELLS_COUNT, CELL_WORDS].
    """
    if (
        worker_routing.size < CELLS + CELLS_COUNT * CELL_WORDS
        or out.shape[0] < CELLS_COUNT
        or out.shape[1] < CELL_WORDS
    ):
        return -1
    count = 0
    for cell in range(CELLS_COUNT):
        at = CELLS + cell * CELL_WORDS
        whole = False
        for _ in range(READ_TRIES):
            before = load_acquire(worker_routing, at + CELL_SEQUENCE)
            for word in range(1, CELL_WORDS):
                out[count, word] = load_relaxed(worker_routing, at + word)
            fence_acquire()
            if before & 1 == 0 and load_relaxed(worker_routing, at + CELL_SEQUENCE) == before:
                whole = True
                break
        # A cell that was torn all the time is left out: its writer died in it, or the next look gets it.
        if whole and out[count, CELL_GENERATION] != 0:
            out[count, CELL_SEQUENCE] = cell // CELLS_KEPT
            count += 1
            if count == CELLS_COUNT:
                break
    return count


@njit("int64(int64[::1], int64, int64)", nogil=True, cache=True, error_model="numpy")
def _set_bit(routing: Words, table: int, bit: int) -> int:
    """1 where the bit was not set yet, and now is. Only then is the cache line written, which all workers share."""
    at = table + (bit >> 6)
    mask = int64(1) << (bit & 63)
    if load_relaxed(routing, at) & mask:
        return 0
    return 0 if fetch_or(routing, at, mask) & mask else 1


@njit("int64(int64[::1], int64, int64)", nogil=True, cache=True, error_model="numpy")
def first_event(routing: Words, model: int, key_hash: int) -> int:
    """1 where no key with this hash had an event in the model's rollout before, else 0; notes that it has had one now.

    A bit for each of FIRST_EVENTS_BITS hashes, all workers' together: of keys that share a bit only one counts, in
    whichever arm, which thins both alike.
    """
    if model < 0 or model >= MODELS_MAX or routing.size < ROUTING_WORDS:
        return 0
    return _set_bit(routing, FIRST_EVENTS + model * FIRST_EVENTS_WORDS, key_hash & (FIRST_EVENTS_BITS - 1))


@njit("int64(int64[::1], int64, int64)", nogil=True, cache=True, error_model="numpy")
def first_request(routing: Words, model: int, key_hash: int) -> int:
    """1 where the model's canary has answered no key with this hash before, else 0; notes that it has now.

    Of keys that share a bit only one counts: a canary seems to have met fewer keys, never more. The stable's keys are
    not noted, or a key that a higher weight moves to the canary would be none of the canary's.
    """
    if model < 0 or model >= MODELS_MAX or routing.size < ROUTING_WORDS:
        return 0
    return _set_bit(routing, UNITS + model * UNITS_WORDS, key_hash & (UNITS_BITS - 1))


def clear_first_events(plane: Plane, model: int) -> None:
    """Forgets which keys had an event, and which the canary has met: a rollout of this model begins.

    Control's to do, before its first route is published; not where evidence goes on, since its keys are counted.
    """
    for table, words in ((FIRST_EVENTS, FIRST_EVENTS_WORDS), (UNITS, UNITS_WORDS)):
        at = table + model * words
        plane.routing[at : at + words] = 0


@dataclass(frozen=True)
class Cell:
    """Counts of one worker: up to timeouts_all as evidence, the rest for show. See `native.plane.routing`.

    errors, non_finite, timeouts: first events of their keys. errors_all and so on: every event.
    """

    worker: int
    seat: int
    generation: int
    weight_epoch: int
    requests: int
    errors: int
    non_finite: int
    timeouts: int
    units: int
    errors_all: int
    non_finite_all: int
    timeouts_all: int
    answered: int
    failed: int
    rows: int
    shadowed: int
    shadow_skipped: int
    shadow_errors: int
    shadow_non_finite: int


class EvidenceReader:
    """Reads every worker's cells. Used by control, a few times a second."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._out: npt.NDArray[np.int64] = np.zeros((CELLS_COUNT, CELL_WORDS), dtype=np.int64)

    def read(self, weight_epochs: Sequence[int] | None = None) -> Iterator[Cell]:
        """All cells in use, of workers that are gone too. The newest copy of a cell replaces the older one.

        weight_epochs: of these only. To make all of them is 5 us each, and there may be thousands.
        """
        if weight_epochs is not None and not weight_epochs:
            return
        for worker in range(self._plane.workers):
            count = copy_cells(self._plane.block(worker).routing, self._out)
            rows = self._out[: max(count, 0)]
            if weight_epochs is not None:
                rows = rows[np.isin(rows[:, CELL_WEIGHT_EPOCH], weight_epochs)]
            for row in rows.tolist():
                yield Cell(
                    worker, row[CELL_SEQUENCE], row[CELL_GENERATION], row[CELL_WEIGHT_EPOCH],
                    row[CELL_REQUESTS], row[CELL_ERRORS], row[CELL_NON_FINITE], row[CELL_TIMEOUTS],
                    row[CELL_UNITS], row[CELL_ERRORS_ALL], row[CELL_NON_FINITE_ALL], row[CELL_TIMEOUTS_ALL],
                    row[CELL_ANSWERED], row[CELL_FAILED], row[CELL_ROWS],
                    row[CELL_SHADOWED], row[CELL_SHADOW_SKIPPED], row[CELL_SHADOW_ERRORS], row[CELL_SHADOW_NON_FINITE],
                )  # fmt: skip
