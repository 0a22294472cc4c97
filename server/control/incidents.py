"""Incidents: what happened to workers, read off the plane: crashes, hung runs, memory.

Used by the driver at every look. Always: each incident is told once; counts from before the first look are not told
again, except what is banned, which the plane itself remembers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from native.plane.layout import (
    HEADER_CRASH_GENERATION,
    HEADER_CRASH_SEAT,
    HEADER_CRASHES,
    HEADER_LAST_EXIT,
    HEADER_PID,
    Plane,
    WorkerBlock,
    WorkerState,
)
from native.plane.routing import HUNG_COUNT, HUNG_GENERATION, HUNG_SEAT

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
LOOKS_OVER_MEMORY: Final = 2  # one look may fall into a peak that is over at once
LIVING: Final = frozenset({WorkerState.READY, WorkerState.DRAINING, WorkerState.STARTING})


class IncidentKind(Enum):
    CRASHED = "crashed"
    HUNG = "hung"
    MEMORY = "memory"


@dataclass(frozen=True)
class Incident:
    """seat, generation: whose run it was; -1 and 0 where that is not known. MEMORY knows no seat."""

    kind: IncidentKind
    worker: int
    seat: int
    generation: int
    detail: str


class IncidentWatch:
    """Remembers what it has told."""

    def __init__(self, plane: Plane, worker_memory_bytes_max: int, proc: Path = Path("/proc")) -> None:
        self._plane = plane
        self._memory_bytes_max = worker_memory_bytes_max
        self._proc = proc
        blocks = [plane.block(index) for index in range(plane.workers)]
        self._crashes = [int(block.header[HEADER_CRASHES]) for block in blocks]
        self._hung = [int(block.routing[HUNG_COUNT]) for block in blocks]
        self._over = [0] * plane.workers

    def look(self) -> Iterator[Incident]:
        """What is new since the last look."""
        for index in range(self._plane.workers):
            block = self._plane.block(index)
            yield from self._crashed(block)
            yield from self._hang(block)
            yield from self._memory(block)

    def resident_bytes(self, block: WorkerBlock) -> int | None:
        """A worker's resident memory; None where it has no process."""
        pid = int(block.header[HEADER_PID])
        if block.state not in LIVING or pid <= 0:
            return None
        try:
            pages = (self._proc / str(pid) / "statm").read_text(encoding="ascii").split()[1]
        except (OSError, IndexError):
            return None
        return int(pages) * PAGE_BYTES

    def largest_bytes(self) -> int:
        """Resident memory of the worker that has most."""
        blocks = [self._plane.block(index) for index in range(self._plane.workers)]
        return max((self.resident_bytes(block) or 0 for block in blocks), default=0)

    def _crashed(self, block: WorkerBlock) -> Iterator[Incident]:
        count = int(block.header[HEADER_CRASHES])
        if count == self._crashes[block.index]:
            return
        self._crashes[block.index] = count
        seat, generation = int(block.header[HEADER_CRASH_SEAT]) - 1, int(block.header[HEADER_CRASH_GENERATION])
        code = int(block.header[HEADER_LAST_EXIT])
        ended = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        detail = f"worker {block.index} ended {ended} while it ran"
        yield Incident(IncidentKind.CRASHED, block.index, seat, generation, detail)

    def _hang(self, block: WorkerBlock) -> Iterator[Incident]:
        count = int(block.routing[HUNG_COUNT])
        if count == self._hung[block.index]:
            return
        self._hung[block.index] = count
        if count == 0:
            return  # a new process in the place of the one that had counted
        seat, generation = int(block.routing[HUNG_SEAT]), int(block.routing[HUNG_GENERATION])
        detail = f"a run in worker {block.index} took too long and was ended"
        yield Incident(IncidentKind.HUNG, block.index, seat, generation, detail)

    def _memory(self, block: WorkerBlock) -> Iterator[Incident]:
        resident = self.resident_bytes(block) or 0
        if resident <= self._memory_bytes_max:
            self._over[block.index] = 0
            return
        self._over[block.index] += 1
        if self._over[block.index] == LOOKS_OVER_MEMORY:
            limit = f"trial.worker_memory_bytes_max ({self._memory_bytes_max})"
            detail = f"worker {block.index} holds {resident} bytes, over {limit}"
            yield Incident(IncidentKind.MEMORY, block.index, -1, 0, detail)
