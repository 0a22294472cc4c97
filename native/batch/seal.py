"""Rows leave the queue: the next batch for the runner, without the rows that nobody waits for any more.

Used by the worker's batcher, once per batch. Always: rows of cancelled or expired requests are squeezed out before the
model sees them, rows that nobody may run reach no model, and requests that were not cancelled are returned, so that
each of them is answered.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from native.batch.commit import pop_ready, push_ready, seal, side_of, sort_ready
from native.batch.layout import ARENA, ARENA_FREE, ARENA_GATHERING, ARENA_READY, ARENA_RUNNING, NO_ARENA, QUEUE
from native.inner import inner
from native.lane.layout import (
    LANE_ARENA_COUNT,
    LANE_ARENA_SLOTS,
    LANE_ARENAS,
    LANE_COUNTERS,
    LANE_DIRECTORY_TABLE,
    LANE_DIRECTORY_WORDS,
    LANE_QUEUE_COUNT,
    LANE_QUEUED_ROWS,
    LANE_QUEUES,
    LANE_READY,
    LANE_READY_COUNTS,
    LANE_READY_HEADS,
    LANE_SEATS,
    LANE_SLOT_COUNT,
    LANE_SLOTS,
    QUEUED,
    RUNNING,
    SLOT,
)
from native.lane.slots import release_slot
from native.plane.counters import COUNTERS_LENGTH, QUEUED_ROWS
from native.plane.routing import NO_SEAT, SEATS_MAX
from native.pointers import pointer
from native.route.follow import follow_routes
from native.route.layout import MAIN, SEAT, TRIAL
from native.wire.directory import (
    HEADER_WORDS,
    MODEL_INPUT_COUNT,
    MODEL_INPUTS_AT,
    MODEL_WORDS,
    TENSOR_COLUMN_OFFSET,
    TENSOR_ROW_BYTES,
    TENSOR_WORDS,
)
from native.wire.kernel import Bytes, Words, int64, kernel


@kernel("int64(int64[::1], int64)")
def next_arena(lane: Words, side: int) -> int:
    """The arena of a side (MAIN or TRIAL) to run next, not taken: the longest sealed, else gathering; or NO_ARENA.

    By the routes as they are now: what waited for a variant that went home is its stable's.
    """
    if follow_routes(lane):
        sort_ready(lane)
    arenas = carray(pointer(lane[LANE_ARENAS]), (lane[LANE_ARENA_COUNT],), ARENA)
    if lane[LANE_READY_COUNTS + side] > 0:
        ready = carray(pointer(lane[LANE_READY]), (2, lane[LANE_ARENA_COUNT]), np.int64)
        return ready[side, lane[LANE_READY_HEADS + side]]
    queues = carray(pointer(lane[LANE_QUEUES]), (lane[LANE_QUEUE_COUNT],), QUEUE)
    best = int64(NO_ARENA)
    for model in range(lane[LANE_QUEUE_COUNT]):
        index = queues[model].gathering
        if index == NO_ARENA or side_of(lane, model) != side:
            continue
        if best == NO_ARENA or arenas[index].opened_ns < arenas[best].opened_ns:
            best = index
    return best


@inner("void(uint8[::1], int64[::1], int64, int64, int64, int64)")
def _move_rows(block: Bytes, table: Words, model: int, source_row: int, target_row: int, rows: int) -> None:
    """Moves rows of every input towards the front of the block; the ranges may overlap."""
    record = HEADER_WORDS + model * MODEL_WORDS
    first = table[record + MODEL_INPUTS_AT]
    for tensor in range(table[record + MODEL_INPUT_COUNT]):
        at = first + tensor * TENSOR_WORDS
        row_bytes = table[at + TENSOR_ROW_BYTES]
        source = table[at + TENSOR_COLUMN_OFFSET] + source_row * row_bytes
        target = table[at + TENSOR_COLUMN_OFFSET] + target_row * row_bytes
        for offset in range(rows * row_bytes):
            block[target + offset] = block[source + offset]


@kernel("int64(int64[::1], int64, int64, int64, int64[::1])")
def take_arena(lane: Words, arena_index: int, now_ns: int, cost_ns: int, refused: Words) -> int:
    """Hands the arena to the runner and returns how many requests are refused; their slots are written to `refused`.

    Those are the expired ones; all of them where the arena's `runs_as` is NO_SEAT then, since nobody may run them.
    now_ns: monotonic. cost_ns: what the batch is expected to take: a request that would be late is not started.
    refused: int64[slots]. A batch may be left with no rows at all; the caller then frees it at once.
    Requests whose stream is gone are released here, since nobody waits for their answer.
    """
    arenas = carray(pointer(lane[LANE_ARENAS]), (lane[LANE_ARENA_COUNT],), ARENA)
    queues = carray(pointer(lane[LANE_QUEUES]), (lane[LANE_QUEUE_COUNT],), QUEUE)
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    arena = arenas[arena_index]
    if arena.state == ARENA_GATHERING:
        seal(lane, arena_index)
    if arena.state != ARENA_READY:
        return NO_ARENA
    # Only the head of a ring is ever taken, which `next_arena` names.
    ready = carray(pointer(lane[LANE_READY]), (2, lane[LANE_ARENA_COUNT]), np.int64)
    side = int64(MAIN)
    if lane[LANE_READY_COUNTS + MAIN] == 0 or ready[MAIN, lane[LANE_READY_HEADS + MAIN]] != arena_index:
        side = int64(TRIAL)
        if lane[LANE_READY_COUNTS + TRIAL] == 0 or ready[TRIAL, lane[LANE_READY_HEADS + TRIAL]] != arena_index:
            return NO_ARENA
    pop_ready(lane, side)
    arena.state = ARENA_RUNNING
    seats = carray(pointer(lane[LANE_SEATS]), (SEATS_MAX,), SEAT)
    arena.runs_as = seats[arena.model].runs_as
    moved = arena.runs_as != arena.model
    nobodys = arena.runs_as == NO_SEAT
    queues[arena.model].waiting_rows -= arena.rows
    lane[LANE_QUEUED_ROWS] -= arena.rows
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    counters[QUEUED_ROWS] = lane[LANE_QUEUED_ROWS]
    requests = carray(pointer(lane[LANE_ARENA_SLOTS]), (arena.first_request + arena.requests,), np.int64)
    first = arena.first_request
    late = arena.deadline_ns != 0 and arena.deadline_ns < now_ns + cost_ns
    if arena.cancelled == 0 and not late and not nobodys:
        for request in range(arena.requests):
            slot = slots[requests[first + request]]
            slot.state = RUNNING
            if moved:
                slot.model = arena.runs_as
                slot.evidence = 0
        return 0
    block = carray(pointer(arena.input_address), (arena.input_bytes,), np.uint8)
    table = carray(pointer(lane[LANE_DIRECTORY_TABLE]), (lane[LANE_DIRECTORY_WORDS],), np.int64)
    kept = 0
    kept_rows = 0
    refused_count = 0
    for request in range(arena.requests):
        index = requests[first + request]
        slot = slots[index]
        if slot.cancelled != 0:
            release_slot(lane, index)
        elif nobodys or (slot.deadline_ns != 0 and slot.deadline_ns < now_ns + cost_ns):
            refused[refused_count] = index
            refused_count += 1
        else:
            if slot.row != kept_rows:
                _move_rows(block, table, arena.model, slot.row, kept_rows, slot.rows)
                slot.row = kept_rows
            slot.state = RUNNING
            if moved:
                slot.model = arena.runs_as
                slot.evidence = 0
            requests[first + kept] = index
            kept += 1
            kept_rows += slot.rows
    arena.requests = kept
    arena.rows = kept_rows
    return refused_count


@kernel("void(int64[::1], int64)")
def put_back(lane: Words, arena_index: int) -> None:
    """A batch that was taken, and whose run came to nothing, waits again, behind what waits already: RUNNING to READY.

    Nothing may write to its output block any more.
    """
    arenas = carray(pointer(lane[LANE_ARENAS]), (lane[LANE_ARENA_COUNT],), ARENA)
    arena = arenas[arena_index]
    if arena.state != ARENA_RUNNING:
        return
    queues = carray(pointer(lane[LANE_QUEUES]), (lane[LANE_QUEUE_COUNT],), QUEUE)
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    requests = carray(pointer(lane[LANE_ARENA_SLOTS]), (arena.first_request + arena.requests,), np.int64)
    arena.state = ARENA_READY
    arena.cancelled = 0
    for request in range(arena.requests):
        slot = slots[requests[arena.first_request + request]]
        slot.state = QUEUED
        slot.model = arena.model
        # Those who left meanwhile told no arena: theirs was running.
        arena.cancelled += slot.cancelled
    queues[arena.model].waiting_rows += arena.rows
    lane[LANE_QUEUED_ROWS] += arena.rows
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    counters[QUEUED_ROWS] = lane[LANE_QUEUED_ROWS]
    push_ready(lane, side_of(lane, arena.model), arena_index)


@kernel("void(int64[::1], int64)")
def free_arena(lane: Words, arena_index: int) -> None:
    """Gives a batch's arena back to its queue, after its requests were answered."""
    arenas = carray(pointer(lane[LANE_ARENAS]), (lane[LANE_ARENA_COUNT],), ARENA)
    queues = carray(pointer(lane[LANE_QUEUES]), (lane[LANE_QUEUE_COUNT],), QUEUE)
    arena = arenas[arena_index]
    arena.state = ARENA_FREE
    arena.requests = 0
    arena.rows = 0
    arena.next_free = queues[arena.model].free
    queues[arena.model].free = arena_index


@kernel("void(int64[::1], int64)")
def note_cancelled(lane: Words, slot_index: int) -> None:
    """A queued request lost its stream: its arena is told, so that taking it squeezes the rows out."""
    arenas = carray(pointer(lane[LANE_ARENAS]), (lane[LANE_ARENA_COUNT],), ARENA)
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    arenas[slots[slot_index].arena].cancelled += 1
