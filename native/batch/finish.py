"""A batch has run: counting it, and finding the Python callers among those who wait for it.

Used by the worker's batcher. Calls that came over the fast lane are answered by `native.http2.answers`, before this.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from native.batch.layout import ARENA
from native.batch.seal import free_arena
from native.lane.layout import (
    LANE_ARENA_COUNT,
    LANE_ARENA_SLOTS,
    LANE_ARENAS,
    LANE_COUNTERS,
    LANE_FINISHED,
    LANE_SLOT_COUNT,
    LANE_SLOTS,
    NO_CONNECTION,
    RUNNING,
    SLOT,
)
from native.lane.slots import release_slot
from native.plane.buckets import rows_bucket
from native.plane.counters import BATCH_ROWS, BATCH_ROWS_SUM, COUNTERS_LENGTH, ROWS
from native.pointers import pointer
from native.route.outcomes import count_answered, publish_evidence
from native.wire.kernel import Words, int64, kernel


@kernel("void(int64[::1], int64, int64)")
def finish_arena(lane: Words, arena_index: int, where: int) -> None:
    """Counts a batch whose callers were told, publishes evidence, and frees the arena. where: a counter, BATCHES_*."""
    arenas = carray(pointer(lane[LANE_ARENAS]), (lane[LANE_ARENA_COUNT],), ARENA)
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    rows = arenas[arena_index].rows
    counters[where] += 1
    counters[ROWS] += rows
    counters[BATCH_ROWS + rows_bucket(rows)] += 1
    counters[BATCH_ROWS_SUM] += rows
    publish_evidence(lane)
    free_arena(lane, arena_index)


@kernel("int64(int64[::1], int64)")
def collect_finished(lane: Words, arena_index: int) -> int:
    """Number of Python callers' slots in the batch, which are written to LANE_FINISHED; abandoned ones are released.

    A slot whose `status` says that its run failed was counted as that.
    """
    arenas = carray(pointer(lane[LANE_ARENAS]), (lane[LANE_ARENA_COUNT],), ARENA)
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    finished = carray(pointer(lane[LANE_FINISHED]), (lane[LANE_SLOT_COUNT],), np.int64)
    arena = arenas[arena_index]
    requests = carray(pointer(lane[LANE_ARENA_SLOTS]), (arena.first_request + arena.requests,), np.int64)
    count = int64(0)
    for request in range(arena.requests):
        index = requests[arena.first_request + request]
        slot = slots[index]
        # A slot that was answered already may be a newer call's by now: `arena` and `state` tell.
        if slot.state != RUNNING or slot.arena != arena_index or slot.connection != NO_CONNECTION:
            continue
        if slot.status == 0:
            # Abandoned or not, it was run: see `answers.answer_batch`.
            count_answered(lane, index, arena.output_address)
        if slot.cancelled != 0:
            release_slot(lane, index)
        else:
            finished[count] = index
            count += 1
    return count
