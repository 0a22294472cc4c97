"""Rows enter a batch: a read request's rows are copied to the arena that its model's queue gathers.

Used by the HTTP/2 callbacks (`commit_request`) and by Python callers that bring arrays (`claim_rows`).
Always: rows are written behind the arena's `rows`, which is raised last; a request lies whole in one arena.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from native.batch.layout import ARENA, ARENA_GATHERING, ARENA_READY, NO_ARENA, QUEUE
from native.inner import inner
from native.lane.layout import (
    LANE_ARENA_COUNT,
    LANE_ARENA_SLOTS,
    LANE_ARENAS,
    LANE_COUNTERS,
    LANE_DIRECTORY_TABLE,
    LANE_DIRECTORY_WORDS,
    LANE_IDS,
    LANE_NOW_NS,
    LANE_PARSED,
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
    SLOT,
)
from native.lane.slots import begin_executing
from native.plane.counters import COUNTERS_LENGTH, QUEUED_ROWS
from native.plane.routing import NO_SEAT, SEATS_MAX
from native.pointers import pointer
from native.route.layout import MAIN, ROLE_CANARY, SEAT, TRIAL
from native.wire.codes import ID_BYTES_MAX, NO_ROOM, OK
from native.wire.kernel import Words, copy_bytes, kernel
from native.wire.parsed import (
    PARSED_CONTENTS,
    PARSED_ID_BYTES,
    PARSED_ID_OFFSET,
    PARSED_MODEL,
    PARSED_OUTPUT_MASK,
    PARSED_ROWS,
    PARSED_WORDS,
)
from native.wire.rows import copy_rows


@inner("int64(int64[::1], int64)")
def side_of(lane: Words, model: int) -> int:
    """TRIAL where what waits for this model runs as a canary, else MAIN: as a stable, or it is refused there."""
    seats = carray(pointer(lane[LANE_SEATS]), (SEATS_MAX,), SEAT)
    runs_as = seats[model].runs_as
    return TRIAL if runs_as != NO_SEAT and seats[runs_as].role == ROLE_CANARY else MAIN


@inner("void(int64[::1], int64, int64)")
def push_ready(lane: Words, side: int, arena_index: int) -> None:
    """Puts a sealed arena behind the others of its side. There is room for all arenas on each."""
    arenas = lane[LANE_ARENA_COUNT]
    ready = carray(pointer(lane[LANE_READY]), (2, arenas), np.int64)
    ready[side, (lane[LANE_READY_HEADS + side] + lane[LANE_READY_COUNTS + side]) % arenas] = arena_index
    lane[LANE_READY_COUNTS + side] += 1


@inner("int64(int64[::1], int64)")
def pop_ready(lane: Words, side: int) -> int:
    """Takes the arena out that has waited longest on this side, or NO_ARENA."""
    if lane[LANE_READY_COUNTS + side] == 0:
        return NO_ARENA
    arenas = lane[LANE_ARENA_COUNT]
    ready = carray(pointer(lane[LANE_READY]), (2, arenas), np.int64)
    index = ready[side, lane[LANE_READY_HEADS + side]]
    lane[LANE_READY_HEADS + side] = (lane[LANE_READY_HEADS + side] + 1) % arenas
    lane[LANE_READY_COUNTS + side] -= 1
    return index


@kernel("void(int64[::1])")
def sort_ready(lane: Words) -> None:
    """Puts sealed arenas on the side that their seats have now, after routes have moved."""
    arenas = carray(pointer(lane[LANE_ARENAS]), (lane[LANE_ARENA_COUNT],), ARENA)
    main, trial = lane[LANE_READY_COUNTS + MAIN], lane[LANE_READY_COUNTS + TRIAL]
    for _ in range(main):
        index = pop_ready(lane, MAIN)
        push_ready(lane, side_of(lane, arenas[index].model), index)
    for _ in range(trial):
        index = pop_ready(lane, TRIAL)
        push_ready(lane, side_of(lane, arenas[index].model), index)


@kernel("void(int64[::1], int64)")
def seal(lane: Words, arena_index: int) -> None:
    """Closes a gathering arena: no row is added any more, and it waits for the runner, first come, first served."""
    arenas = carray(pointer(lane[LANE_ARENAS]), (lane[LANE_ARENA_COUNT],), ARENA)
    queues = carray(pointer(lane[LANE_QUEUES]), (lane[LANE_QUEUE_COUNT],), QUEUE)
    arena = arenas[arena_index]
    arena.state = ARENA_READY
    queues[arena.model].gathering = NO_ARENA
    push_ready(lane, side_of(lane, arena.model), arena_index)


@kernel("int64(int64[::1], int64, int64)")
def gathering_arena(lane: Words, model: int, rows: int) -> int:
    """The arena that takes `rows` more rows of this model, or NO_ARENA where its queue is full. May seal one."""
    arenas = carray(pointer(lane[LANE_ARENAS]), (lane[LANE_ARENA_COUNT],), ARENA)
    queues = carray(pointer(lane[LANE_QUEUES]), (lane[LANE_QUEUE_COUNT],), QUEUE)
    queue = queues[model]
    if rows > queue.waiting_rows_max - queue.waiting_rows:
        return NO_ARENA
    index = queue.gathering
    if index != NO_ARENA:
        if rows <= queue.max_rows - arenas[index].rows:
            return index
        if queue.free == NO_ARENA:
            return NO_ARENA
        seal(lane, index)
    index = queue.free
    if index == NO_ARENA:
        return NO_ARENA
    arena = arenas[index]
    arena.runs_as = arena.model
    queue.free = arena.next_free
    queue.gathering = index
    arena.state = ARENA_GATHERING
    arena.rows = 0
    arena.requests = 0
    arena.cancelled = 0
    arena.deadline_ns = 0
    arena.opened_ns = lane[LANE_NOW_NS]
    return index


@kernel("void(int64[::1], int64, int64, int64, int64)")
def add_request(lane: Words, arena_index: int, slot_index: int, model: int, rows: int) -> None:
    """Enters a slot whose rows are written behind the arena's last row: QUEUED from here on."""
    arenas = carray(pointer(lane[LANE_ARENAS]), (lane[LANE_ARENA_COUNT],), ARENA)
    queues = carray(pointer(lane[LANE_QUEUES]), (lane[LANE_QUEUE_COUNT],), QUEUE)
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    arena, slot = arenas[arena_index], slots[slot_index]
    requests = carray(pointer(lane[LANE_ARENA_SLOTS]), (arena.first_request + arena.requests + 1,), np.int64)
    requests[arena.first_request + arena.requests] = slot_index
    slot.state = QUEUED
    slot.model = model
    slot.arena = arena_index
    slot.rows = rows
    slot.row = arena.rows
    if slot.deadline_ns != 0 and (arena.deadline_ns == 0 or slot.deadline_ns < arena.deadline_ns):
        arena.deadline_ns = slot.deadline_ns
    arena.requests += 1
    arena.rows += rows
    queues[model].waiting_rows += rows
    lane[LANE_QUEUED_ROWS] += rows
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    counters[QUEUED_ROWS] = lane[LANE_QUEUED_ROWS]
    begin_executing(lane, slot_index)


@inner("int64(int64[::1], int64)")
def commit_request(lane: Words, slot_index: int) -> int:
    """Copies the rows of the request that was just read (`parsed`) into a batch. OK, or NO_ROOM: the queue is full."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    parsed = carray(pointer(lane[LANE_PARSED]), (PARSED_WORDS,), np.int64)
    table = carray(pointer(lane[LANE_DIRECTORY_TABLE]), (lane[LANE_DIRECTORY_WORDS],), np.int64)
    slot = slots[slot_index]
    model, rows = parsed[PARSED_MODEL], parsed[PARSED_ROWS]
    arena_index = gathering_arena(lane, model, rows)
    if arena_index == NO_ARENA:
        return NO_ROOM
    arenas = carray(pointer(lane[LANE_ARENAS]), (lane[LANE_ARENA_COUNT],), ARENA)
    arena = arenas[arena_index]
    message = carray(pointer(slot.request_address), (slot.request_bytes,), np.uint8)
    block = carray(pointer(arena.input_address), (arena.input_bytes,), np.uint8)
    copied = copy_rows(message, parsed, table, block, arena.rows)
    if copied < 0:
        return copied
    slot.contents = parsed[PARSED_CONTENTS]
    slot.output_mask = parsed[PARSED_OUTPUT_MASK]
    slot.id_bytes = parsed[PARSED_ID_BYTES]
    if slot.id_bytes > 0:
        ids = carray(pointer(lane[LANE_IDS]), (lane[LANE_SLOT_COUNT] * ID_BYTES_MAX,), np.uint8)
        copy_bytes(ids, slot_index * ID_BYTES_MAX, message, parsed[PARSED_ID_OFFSET], slot.id_bytes)
    add_request(lane, arena_index, slot_index, model, rows)
    return OK
