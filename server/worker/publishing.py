"""Publishing a worker's counters: from its private vector into its block of the plane.

Called once per batch by whoever runs batches, and periodically by the worker's process, which beats the heart too.
"""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

from native.plane.counters import CONNECTIONS
from native.plane.layout import HEADER_CONNECTIONS, HEADER_HEARTBEAT_NS, WorkerBlock, WorkerState
from native.plane.seqlock import publish

Words = npt.NDArray[np.int64]


class Publisher:
    """One worker's block, entered as STARTING. `counts` is the private vector to count in."""

    def __init__(self, block: WorkerBlock, pid: int, generation: int) -> None:
        self._block = block
        self.counts: Words = block.begin(pid, generation)
        self.enter(WorkerState.STARTING)

    def enter(self, state: WorkerState) -> None:
        self.publish()
        self._block.enter(state)

    def publish(self) -> None:
        self._block.header[HEADER_HEARTBEAT_NS] = time.monotonic_ns()
        self._block.header[HEADER_CONNECTIONS] = self.counts[CONNECTIONS]
        publish(self.counts, self._block.counters, self._block.header)
