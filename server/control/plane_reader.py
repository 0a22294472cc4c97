"""The plane as control reads it: totals of all workers' counters, and what each worker is doing.

Used by metrics, health and the console. Always: totals of counters never go backwards, since a worker goes on from
its predecessor's counts; gauges are those of living workers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from native.plane.counters import COUNTERS_LENGTH, ROWS_OF_TABLE, Kind
from native.plane.layout import (
    HEADER_CONNECTIONS,
    HEADER_GENERATION,
    HEADER_HEARTBEAT_NS,
    HEADER_PID,
    HEADER_RESTARTS,
    PLANE_CONTROL_RESTARTS,
    PLANE_STARTED_UTC_NS,
    Plane,
    Words,
    WorkerBlock,
    WorkerState,
)
from native.plane.seqlock import read

READS_MAX: Final = 1000
STALE_AFTER_NS: Final = 10_000_000_000  # a loop that shows no sign of life for so long is stuck
LIVING: Final = frozenset({WorkerState.STARTING, WorkerState.READY, WorkerState.DRAINING})
TURNING: Final = frozenset({WorkerState.READY, WorkerState.DRAINING})


@dataclass(frozen=True)
class WorkerView:
    """One worker as of now. heartbeat_age_ns: None as long as it never gave one."""

    index: int
    pid: int
    generation: int
    state: WorkerState
    restarts: int
    connections: int
    heartbeat_age_ns: int | None

    @property
    def is_stuck(self) -> bool:
        """True where the loop should turn and does not. One that starts is loading models, and gives no sign."""
        return self.state in TURNING and self.heartbeat_age_ns is not None and self.heartbeat_age_ns > STALE_AFTER_NS

    @property
    def serves(self) -> bool:
        return self.state is WorkerState.READY and not self.is_stuck


@dataclass(frozen=True)
class Readiness:
    """ready: at least one worker serves and none drains, since a drain is the whole server's. reason: why it is not."""

    ready: bool
    workers: tuple[WorkerView, ...]
    reason: str = ""


class PlaneReader:
    """Reads the plane. Clocks are given: monotonic nanoseconds, the same clock as the workers' heartbeats."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._last = np.zeros((plane.workers, COUNTERS_LENGTH), dtype=np.int64)

    def workers(self, now_ns: int) -> tuple[WorkerView, ...]:
        return tuple(_view(self._plane.block(index), now_ns) for index in range(self._plane.workers))

    def readiness(self, now_ns: int) -> Readiness:
        workers = self.workers(now_ns)
        if any(worker.state is WorkerState.DRAINING for worker in workers):
            return Readiness(False, workers, "a worker drains: send nothing new here")
        if not any(worker.serves for worker in workers):
            return Readiness(False, workers, "no worker serves: `workers` says what each one does instead")
        return Readiness(True, workers)

    def totals(self) -> Words:
        """int64[COUNTERS_LENGTH]: every cell summed over the workers."""
        for index in range(self._plane.workers):
            self._read(self._plane.block(index))
        total: Words = self._last.sum(axis=0)
        return total

    @property
    def control_restarts(self) -> int:
        return int(self._plane.words[PLANE_CONTROL_RESTARTS])

    @property
    def started_utc_s(self) -> float:
        return int(self._plane.words[PLANE_STARTED_UTC_NS]) / 1e9

    def _read(self, block: WorkerBlock) -> None:
        """A whole copy where there is one. A worker killed while it published leaves none: then cell by cell.

        Each cell of a torn copy is the old or the new count, so that it only grows all the same.
        """
        out = np.empty(COUNTERS_LENGTH, dtype=np.int64)
        for _ in range(READS_MAX):
            if read(block.counters, block.header, out):
                break
        if block.state not in LIVING:
            for row in ROWS_OF_TABLE:
                if row.kind is Kind.GAUGE:
                    out[row.offset : row.stop] = 0
        self._last[block.index] = out


def _view(block: WorkerBlock, now_ns: int) -> WorkerView:
    header = block.header
    heartbeat_ns = int(header[HEADER_HEARTBEAT_NS])
    state = block.state
    return WorkerView(
        index=block.index,
        pid=int(header[HEADER_PID]),
        generation=int(header[HEADER_GENERATION]),
        state=state,
        restarts=int(header[HEADER_RESTARTS]),
        connections=int(header[HEADER_CONNECTIONS]) if state in LIVING else 0,
        heartbeat_age_ns=max(now_ns - heartbeat_ns, 0) if heartbeat_ns else None,
    )
