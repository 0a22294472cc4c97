"""Where things lie in the plane, and how a process makes or attaches it.

The parent creates the memfd and hands its number on; control and workers attach. Uses numpy only, since the parent
imports no compiler. Always: the size is sealed (a shrunken mapping would be a SIGBUS), blocks of two workers share no
cache line, and a process built from another table is refused.

Writers of a worker's block: the parent while no process of that worker lives, its process while it does. The parent's
line of each block and the first page's words are the parent's alone.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from native.plane.counters import COUNTERS_LENGTH, ROWS_OF_TABLE, TABLE_DIGEST, Kind
from native.plane.routing import (
    CELL_SEQUENCE,
    CELL_WORDS,
    CELLS,
    HUNG_COUNT,
    MODELS_MAX,
    ROUTING_WORDS,
    SEATS_MAX,
    STATES,
    WORKER_ROUTING_WORDS,
)

Words = npt.NDArray[np.int64]

MAGIC: Final = int.from_bytes(b"ROOSTPLN", "little")
LAYOUT_VERSION: Final = 6
WORKERS_MAX: Final = 64
WORD_BYTES: Final = 8
CACHE_LINE_BYTES: Final = 64
LINE_WORDS: Final = CACHE_LINE_BYTES // WORD_BYTES

# The plane's own words, written by the parent.
PLANE_MAGIC: Final = 0
PLANE_VERSION: Final = 1
PLANE_DIGEST: Final = 2
PLANE_BYTES: Final = 3
PLANE_PARENT_PID: Final = 4
PLANE_WORKERS: Final = 5
PLANE_STARTED_UTC_NS: Final = 6
PLANE_CONTROL_PID: Final = 8
PLANE_CONTROL_RESTARTS: Final = 9
PLANE_CONTROL_READY: Final = 16  # control's own cache line: the pid of the control process that answers
PLANE_WORDS: Final = 3 * LINE_WORDS

# A worker's header: its own line, then the parent's line.
HEADER_PID: Final = 0
HEADER_GENERATION: Final = 1
HEADER_STATE: Final = 2
HEADER_CONNECTIONS: Final = 3
HEADER_HEARTBEAT_NS: Final = 4
HEADER_SEQUENCE: Final = 5
HEADER_RESTARTS: Final = 8
HEADER_LAST_EXIT: Final = 9
# What ran when the worker last died of a signal: seat + 1 or 0, its generation, and how often a worker died so.
HEADER_CRASH_SEAT: Final = 10
HEADER_CRASH_GENERATION: Final = 11
HEADER_CRASHES: Final = 12
HEADER_WORDS: Final = 2 * LINE_WORDS

WORKER_ROUTING_AT: Final = HEADER_WORDS + -(-COUNTERS_LENGTH // LINE_WORDS) * LINE_WORDS
BLOCK_WORDS: Final = WORKER_ROUTING_AT + WORKER_ROUTING_WORDS
ROUTING_AT: Final = PLANE_WORDS + WORKERS_MAX * BLOCK_WORDS

# Behind all that, for each worker that there is: rows by bin (native.plane.drift), of each seat, then of each model's
# canary once more, by its stable's bins. Memory only where rows are counted, so that each has room for the widest
# baseline.
DRIFT_AT: Final = ROUTING_AT + ROUTING_WORDS
DRIFT_BINS_MAX: Final = 16_384
DRIFT_BUCKETS: Final = 16
DRIFT_SIDES: Final = 2  # MAIN and TRIAL: one batch at a time runs on each
DRIFT_HEADER_WORDS: Final = LINE_WORDS
DRIFT_SEAT_WORDS: Final = DRIFT_HEADER_WORDS + DRIFT_SIDES * DRIFT_BUCKETS * DRIFT_BINS_MAX
DRIFT_WORKER_WORDS: Final = (SEATS_MAX + MODELS_MAX) * DRIFT_SEAT_WORDS


def plane_bytes(workers: int) -> int:
    """The size of a plane for so many workers."""
    return (DRIFT_AT + workers * DRIFT_WORKER_WORDS) * WORD_BYTES


assert PLANE_WORDS % LINE_WORDS == 0, "blocks must start on a cache line"
assert BLOCK_WORDS % LINE_WORDS == 0, "two workers must never write one cache line"
assert DRIFT_AT % LINE_WORDS == 0 == DRIFT_SEAT_WORDS % LINE_WORDS, "two workers must never write one cache line"
assert HEADER_RESTARTS >= LINE_WORDS > HEADER_SEQUENCE, "parent and worker must not write one cache line"
assert PLANE_CONTROL_READY // LINE_WORDS > PLANE_CONTROL_RESTARTS // LINE_WORDS, "control has a line of its own"


class WorkerState(IntEnum):
    """What a worker is doing. ABSENT is a block that no worker ever used."""

    ABSENT = 0
    STARTING = 1
    READY = 2
    DRAINING = 3
    DEAD = 4


class PlaneMismatch(RuntimeError):
    """The descriptor is no plane of this build."""


@dataclass(frozen=True)
class WorkerBlock:
    """Views of one worker's block, shared.

    header: int64[HEADER_WORDS]; counters: int64[COUNTERS_LENGTH]; routing: int64[WORKER_ROUTING_WORDS], its offsets in
    `native.plane.routing`.
    """

    index: int
    header: Words
    counters: Words
    routing: Words

    @property
    def state(self) -> WorkerState:
        return WorkerState(int(self.header[HEADER_STATE]))

    def begin(self, pid: int, generation: int) -> Words:
        """A process takes the block over: returns its private vector, to be counted in and published.

        The counts go on where the predecessor was stopped, so that no exported counter ever goes backwards; gauges
        start at zero. A predecessor that was killed while it published left the sequence odd: it is made even.
        Evidence stays, too. What the predecessor had loaded, seen and run is forgotten.
        """
        self.header[HEADER_PID] = pid
        self.header[HEADER_GENERATION] = generation
        self.header[HEADER_CONNECTIONS] = 0
        self.header[HEADER_SEQUENCE] += self.header[HEADER_SEQUENCE] & 1
        self.routing[:HUNG_COUNT] = 0
        self.routing[STATES:CELLS] = 0
        cells = self.routing[CELLS:].reshape(-1, CELL_WORDS)
        cells[:, CELL_SEQUENCE] += cells[:, CELL_SEQUENCE] & 1
        private = self.counters.copy()
        for row in ROWS_OF_TABLE:
            if row.kind is Kind.GAUGE:
                private[row.offset : row.stop] = 0
        return private

    def enter(self, state: WorkerState) -> None:
        """One aligned store. Nothing is published with it, so that it needs no order with other words."""
        self.header[HEADER_STATE] = state


class Plane:
    """A mapped plane. `words` are its own words, `routing` int64[ROUTING_WORDS] the server's routes.

    Keep the object as long as any view of it.
    """

    def __init__(self, fd: int, memory: mmap.mmap) -> None:
        # A core dump would read the plane whole, and so give memory to all of its holes, for as long as it exists.
        memory.madvise(mmap.MADV_DONTDUMP)
        self.fd = fd
        self._memory = memory
        whole: Words = np.frombuffer(memory, dtype=np.int64)
        self.words: Words = whole[:PLANE_WORDS]
        self.routing: Words = whole[ROUTING_AT:DRIFT_AT]
        self._drift: Words = whole[DRIFT_AT:]
        self._blocks = tuple(_block(whole, index) for index in range(WORKERS_MAX))

    @classmethod
    def create(cls, workers: int) -> Plane:
        """A new plane, zeroed and sealed. The descriptor is close-on-exec: pass it on by name (`pass_fds`)."""
        assert 1 <= workers <= WORKERS_MAX, workers
        fd = os.memfd_create("roost-plane", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        size = plane_bytes(workers)
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        plane = cls(fd, mmap.mmap(fd, size))
        plane.words[PLANE_VERSION] = LAYOUT_VERSION
        plane.words[PLANE_DIGEST] = _digest_word()
        plane.words[PLANE_BYTES] = size
        plane.words[PLANE_WORKERS] = workers
        plane.words[PLANE_MAGIC] = MAGIC
        return plane

    @classmethod
    def attach(cls, fd: int) -> Plane:
        """Maps an inherited plane, after checking that it is one and that both builds agree on its layout."""
        size = os.fstat(fd).st_size
        if size < plane_bytes(1):
            raise PlaneMismatch(_mismatch("size", f"at least {plane_bytes(1)} bytes", f"{size}"))
        plane = cls(fd, mmap.mmap(fd, size))
        wanted = {
            "magic": (PLANE_MAGIC, MAGIC),
            "layout version": (PLANE_VERSION, LAYOUT_VERSION),
            "digest of the counters table": (PLANE_DIGEST, _digest_word()),
        }
        for field, (offset, expected) in wanted.items():
            found = int(plane.words[offset])
            if found != expected:
                unsigned = (1 << 64) - 1
                raise PlaneMismatch(_mismatch(field, f"{expected & unsigned:#x}", f"{found & unsigned:#x}"))
        if size != plane_bytes(plane.workers):
            expected_size = f"{plane_bytes(plane.workers)} bytes for {plane.workers} workers"
            raise PlaneMismatch(_mismatch("size", expected_size, f"{size}"))
        return plane

    def block(self, index: int) -> WorkerBlock:
        """The block of the worker with this index."""
        return self._blocks[index]

    def drift(self, worker: int, seat: int) -> Words:
        """int64[DRIFT_SEAT_WORDS]: what a worker counts of a seat's rows; see `native.plane.drift`."""
        assert 0 <= seat < SEATS_MAX, seat
        return self._drift_region(worker, seat)

    def drift_beside(self, worker: int, model: int) -> Words:
        """int64[DRIFT_SEAT_WORDS]: what a worker counts of the rows of a model's canary, by its stable's bins."""
        assert 0 <= model < MODELS_MAX, model
        return self._drift_region(worker, SEATS_MAX + model)

    def _drift_region(self, worker: int, index: int) -> Words:
        assert 0 <= worker < self.workers, worker
        start = worker * DRIFT_WORKER_WORDS + index * DRIFT_SEAT_WORDS
        return self._drift[start : start + DRIFT_SEAT_WORDS]

    @property
    def workers(self) -> int:
        """How many workers the parent keeps: blocks 0 to workers - 1 are in use."""
        return int(self.words[PLANE_WORKERS])

    def close(self) -> None:
        """Closes the descriptor. The mapping lives as long as its views."""
        os.close(self.fd)


def _block(whole: Words, index: int) -> WorkerBlock:
    start = PLANE_WORDS + index * BLOCK_WORDS
    counters = start + HEADER_WORDS
    routing = whole[start + WORKER_ROUTING_AT : start + BLOCK_WORDS]
    return WorkerBlock(index, whole[start:counters], whole[counters : counters + COUNTERS_LENGTH], routing)


def _digest_word() -> int:
    return int.from_bytes(TABLE_DIGEST[:WORD_BYTES], "little", signed=True)


def _mismatch(field: str, expected: str, got: str) -> str:
    return f"plane: {field}: expected {expected}, got {got}. Stop the server and start all of it from one build."
