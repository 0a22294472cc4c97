"""Queues and arenas: where rows wait for a batch.

Each served model has one queue and a fixed number of arenas. An arena is one batch: its input block receives rows, its
output block receives what the model makes of them, both laid out by the model directory.

    FREE -> GATHERING -> READY -> RUNNING -> FREE

Always: at most one arena of a queue gathers; `rows` counts rows written, never more than the queue's `max_rows`;
`requests` slots are named in the arena's part of LANE_ARENA_SLOTS, in the order of their rows; once READY no row is
added. Written by the commit and seal kernels, on the worker's loop; the runner reads a RUNNING arena and nothing else.
"""

from __future__ import annotations

from typing import Final

import numpy as np

ARENA_FREE: Final = 0
ARENA_GATHERING: Final = 1
ARENA_READY: Final = 2
ARENA_RUNNING: Final = 3

NO_ARENA: Final = -1

QUEUE = np.dtype(
    [
        ("gathering", np.int64),  # arena, or NO_ARENA
        ("free", np.int64),  # first of the free arenas, or NO_ARENA
        ("max_rows", np.int64),
        ("waiting_rows", np.int64),
        ("waiting_rows_max", np.int64),
    ],
    align=True,
)

# Words of an arena, all of them int64, as Python reads them once per batch.
ARENA_STATE: Final = 0
ARENA_MODEL: Final = 1
ARENA_ROWS: Final = 2
ARENA_REQUESTS: Final = 3
ARENA_OPENED_NS: Final = 10
ARENA_RUNS_AS: Final = 13
ARENA_WORDS: Final = 14

ARENA = np.dtype(
    [
        ("state", np.int64),
        ("model", np.int64),
        ("rows", np.int64),
        ("requests", np.int64),
        ("first_request", np.int64),  # its part of LANE_ARENA_SLOTS
        ("input_address", np.int64),
        ("input_bytes", np.int64),
        ("output_address", np.int64),
        ("output_bytes", np.int64),
        ("next_free", np.int64),
        ("opened_ns", np.int64),  # when its first row came
        ("cancelled", np.int64),  # requests of it that were cancelled since
        ("deadline_ns", np.int64),  # the earliest of its requests, 0 where none has one
        # The model that runs it: another where its traffic went while it waited, NO_SEAT where nobody may.
        ("runs_as", np.int64),
    ],
    align=True,
)
assert ARENA.itemsize == ARENA_WORDS * 8
assert ARENA.names is not None
_READ = (ARENA_STATE, ARENA_MODEL, ARENA_ROWS, ARENA_REQUESTS, ARENA_OPENED_NS, ARENA_RUNS_AS)
assert [ARENA.names[word] for word in _READ] == ["state", "model", "rows", "requests", "opened_ns", "runs_as"]
