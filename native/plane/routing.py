"""Seats, routes and evidence: where they lie in the plane. Offsets only; `layout` gives each part its views.

A **seat** holds one artifact: the same index names it in the plane, in every worker's model directory, queues and
arenas. A **route** says which seats answer for a model, and with which weights. **Evidence** counts what became of
requests, by the seat that answered and the weights under which they were split.

| part | words | written by | read by |
| --- | --- | --- | --- |
| EPOCH | the current route table's number | control | workers, once per socket read |
| SEATS_SEQUENCE | odd while control changes seats | control | workers |
| BANNED | a seat's generation that crashed a worker | parent | workers, control |
| seats | what each seat shall hold | control (the parent, before anything is started) | workers |
| tables | route tables, a ring by epoch | control (the parent, the first one) | workers |
| decisions | why each table is what it is, a ring | control | control, after a crash |
| first events | a bit for each key that had an event, by model | workers (atomic or), control clears | workers |
| units | a bit for each key that the canary has answered, by model | workers (atomic or), control clears | workers |

Always: a table is written before the epoch that names it and not touched again until every worker that serves has seen
a later one; a seat's generation grows with every artifact that it holds, and counts belong to (seat, generation).
A table also carries a checksum and its own epoch: a reader that was held up too long sees that and looks again.
"""

from __future__ import annotations

from typing import Final

LINE_WORDS: Final = 8

SEATS_MAX: Final = 128
MODELS_MAX: Final = 64  # of settings.models, by their place there
NO_SEAT: Final = -1
PPM: Final = 1_000_000

# --- The server's part, behind the blocks of all workers -------------------------------------------------------------
EPOCH: Final = 0
SEATS_SEQUENCE: Final = LINE_WORDS
BANNED: Final = 2 * LINE_WORDS
SEATS: Final = BANNED + SEATS_MAX

# A seat's record.
SEAT_GENERATION: Final = 0  # 0: never used
SEAT_WANTED: Final = 1  # WANTED_EMPTY or WANTED_LOADED
SEAT_MODEL: Final = 2  # index into settings.models
SEAT_DIGEST: Final = 4  # 32 bytes
SEAT_VERSION: Final = 8  # SEAT_VERSION_BYTES of text, ended by a zero byte
SEAT_VERSION_BYTES: Final = 24
SEAT_WORDS: Final = 2 * LINE_WORDS
WANTED_EMPTY: Final = 0
WANTED_LOADED: Final = 1

TABLES: Final = SEATS + SEATS_MAX * SEAT_WORDS
TABLES_COUNT: Final = 16
TABLE_EPOCH: Final = 0
TABLE_CHECKSUM: Final = 1
TABLE_ROUTES: Final = LINE_WORDS
# A route, one for each model. Seats are NO_SEAT where there is none; generations are then 0.
ROUTE_REVISION: Final = 0  # the decision that made it
ROUTE_STABLE: Final = 1
ROUTE_STABLE_GENERATION: Final = 2
ROUTE_CANARY: Final = 3
ROUTE_CANARY_GENERATION: Final = 4
ROUTE_SHADOW: Final = 5
ROUTE_SHADOW_GENERATION: Final = 6
ROUTE_LAST_SAFE: Final = 7
ROUTE_LAST_SAFE_GENERATION: Final = 8
ROUTE_CANARY_PPM: Final = 9  # 0 to PPM
ROUTE_SALT: Final = 10  # the rollout's, any int64
ROUTE_WEIGHT_EPOCH: Final = 11  # grows whenever seats or weights of this model change: evidence is kept by it
ROUTE_FLAGS: Final = 12
ROUTE_WORDS: Final = 2 * LINE_WORDS
ROUTE_PIN_ALLOWED: Final = 1  # callers may choose the variant by metadata

TABLE_WORDS: Final = TABLE_ROUTES + MODELS_MAX * ROUTE_WORDS

DECISIONS: Final = TABLES + TABLES_COUNT * TABLE_WORDS
DECISIONS_COUNT: Final = 128
DECISION_SEQUENCE: Final = 0  # its number, from 1; 0: none
DECISION_BYTES: Final = 1
DECISION_CHECKSUM: Final = 2
DECISION_TEXT: Final = LINE_WORDS
DECISION_TEXT_BYTES: Final = 4096 - 64
DECISION_WORDS: Final = 512

FIRST_EVENTS: Final = DECISIONS + DECISIONS_COUNT * DECISION_WORDS
FIRST_EVENTS_BITS: Final = 65_536
FIRST_EVENTS_WORDS: Final = FIRST_EVENTS_BITS // 64

# 128 KiB a model, and memory only where a canary had keyed traffic. Keys that share a bit count once, so the table
# bounds what a canary can show: at a weight of 1 % it has 10,000 of these bits, and passes by the cap at 4,000.
UNITS: Final = FIRST_EVENTS + MODELS_MAX * FIRST_EVENTS_WORDS
UNITS_BITS: Final = 1_048_576
UNITS_WORDS: Final = UNITS_BITS // 64

ROUTING_WORDS: Final = UNITS + MODELS_MAX * UNITS_WORDS

# --- A worker's part, in its block -----------------------------------------------------------------------------------
SEEN_EPOCH: Final = 0
# What runs now: seat + 1, or 0, and its generation, stored before each Run. MAIN: the worker's loop and runner.
# TRIAL: the thread in which canaries and shadows run.
RUNNING_MAIN: Final = LINE_WORDS
RUNNING_MAIN_GENERATION: Final = LINE_WORDS + 1
RUNNING_TRIAL: Final = LINE_WORDS + 2
RUNNING_TRIAL_GENERATION: Final = LINE_WORDS + 3
# The watchdog's last victim, and how many there were.
HUNG_SEAT: Final = LINE_WORDS + 4
HUNG_GENERATION: Final = LINE_WORDS + 5
HUNG_COUNT: Final = LINE_WORDS + 6

STATES: Final = 2 * LINE_WORDS  # for each seat: SEAT_STATE_*, and the generation that it speaks of
STATE_WORDS: Final = 2
SEAT_STATE_EMPTY: Final = 0
SEAT_STATE_LOADING: Final = 1
SEAT_STATE_READY: Final = 2
SEAT_STATE_FAILED: Final = 3

# Why the last load failed: seat, generation, bytes of text, text. Written before the seat's state says FAILED.
FAILURE: Final = STATES + SEATS_MAX * STATE_WORDS
FAILURE_SEAT: Final = FAILURE
FAILURE_GENERATION: Final = FAILURE + 1
FAILURE_BYTES: Final = FAILURE + 2
FAILURE_TEXT: Final = FAILURE + LINE_WORDS
FAILURE_TEXT_BYTES: Final = 512
FAILURE_WORDS: Final = LINE_WORDS + FAILURE_TEXT_BYTES // 8

# Evidence: for each seat a ring of cells by weight epoch.
CELLS: Final = FAILURE + FAILURE_WORDS
CELLS_KEPT: Final = 16
CELL_SEQUENCE: Final = 0  # odd while its worker writes
CELL_GENERATION: Final = 1
CELL_WEIGHT_EPOCH: Final = 2
CELL_REQUESTS: Final = 3  # that count as evidence: not pinned, no retry, dispatched
CELL_ERRORS: Final = 4  # of those: the run failed. A key's first event only, where the request had a key
CELL_NON_FINITE: Final = 5
CELL_TIMEOUTS: Final = 6
CELL_UNITS: Final = 7  # of the requests, a canary's: one for each key, and each one without a key
CELL_ERRORS_ALL: Final = 8  # as CELL_ERRORS and so on, whether the key had an event before or not
CELL_NON_FINITE_ALL: Final = 9
CELL_TIMEOUTS_ALL: Final = 10
CELL_ANSWERED: Final = 11  # all requests that this seat answered, whatever they were
CELL_FAILED: Final = 12
CELL_ROWS: Final = 13
CELL_SHADOWED: Final = 14  # rows that ran here as a shadow, and what became of them
CELL_SHADOW_SKIPPED: Final = 15
CELL_SHADOW_ERRORS: Final = 16
CELL_SHADOW_NON_FINITE: Final = 17
CELL_WORDS: Final = 3 * LINE_WORDS

WORKER_ROUTING_WORDS: Final = CELLS + SEATS_MAX * CELLS_KEPT * CELL_WORDS

# What becomes of a request that counts as evidence.
EVENT_NONE: Final = 0
EVENT_ERROR: Final = 1
EVENT_NON_FINITE: Final = 2
EVENT_TIMEOUT: Final = 3

assert CELL_ERRORS == CELL_REQUESTS + EVENT_ERROR, "an event's cell word is CELL_REQUESTS + EVENT"
assert CELL_TIMEOUTS == CELL_REQUESTS + EVENT_TIMEOUT, "an event's cell word is CELL_REQUESTS + EVENT"
assert CELL_ERRORS_ALL == CELL_UNITS + EVENT_ERROR, "each event's cell word is CELL_UNITS + EVENT"
assert CELL_TIMEOUTS_ALL == CELL_UNITS + EVENT_TIMEOUT, "each event's cell word is CELL_UNITS + EVENT"
assert CELL_SHADOW_NON_FINITE < CELL_WORDS
assert FIRST_EVENTS_BITS & (FIRST_EVENTS_BITS - 1) == 0 == UNITS_BITS & (UNITS_BITS - 1), (
    "a hash's low bits are its bit"
)
assert SEAT_VERSION + SEAT_VERSION_BYTES // 8 <= SEAT_WORDS
assert DECISION_TEXT * 8 + DECISION_TEXT_BYTES == DECISION_WORDS * 8
for _start in (SEATS, TABLES, DECISIONS, FIRST_EVENTS, UNITS, ROUTING_WORDS, FAILURE, CELLS, WORKER_ROUTING_WORDS):
    assert _start % LINE_WORDS == 0, "no two parts share a cache line"
