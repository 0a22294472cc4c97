"""Bare ONNX Runtime on the server's core: what a model costs by batch size, with nothing around it.

Used by side-by-side runs as the compute's limit. Always: one thread, as in a worker, and time is the wall's, as it is
for the servers.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from benchmarks.machine import SERVER_CORE, this_thread_on

BATCH_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class BatchSpeed:
    """rows: of a batch. us: mean time of one run, since a server's throughput is a mean too."""

    rows: int
    us: float

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.us * 1e6


class BareModel:
    """One session over random rows. columns: inputs by name, whose rows are repeated in their order."""

    def __init__(self, model_bytes: bytes, columns: Mapping[str, np.ndarray]) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(model_bytes, options)
        self._columns = dict(columns)

    def speed(self, rows: int, seconds: float) -> BatchSpeed:
        """Runs batches of `rows` for about `seconds`, the first of them not counted."""
        feeds = itertools.cycle(self._feeds(rows))
        runs = 0
        with this_thread_on(SERVER_CORE):
            self._session.run(None, next(feeds))
            began_ns = now_ns = time.perf_counter_ns()
            while now_ns - began_ns < seconds * 1e9 or not runs:
                self._session.run(None, next(feeds))
                runs += 1
                now_ns = time.perf_counter_ns()
        return BatchSpeed(rows, (now_ns - began_ns) / runs / 1e3)

    def _feeds(self, rows: int) -> list[dict[str, np.ndarray]]:
        """Batches that take turns through all rows: a forest is faster over a few rows, whose branches are foreseen."""
        held = min(len(column) for column in self._columns.values())
        turns = [np.arange(start, start + rows) % held for start in range(0, max(held - rows, 0) + 1, rows)]
        return [{name: column[turn] for name, column in self._columns.items()} for turn in turns]

    def speeds(self, seconds: float, sizes: Sequence[int] = BATCH_ROWS) -> list[BatchSpeed]:
        return [self.speed(rows, seconds) for rows in sizes]


def best(speeds: Sequence[BatchSpeed]) -> BatchSpeed:
    """The size with the most rows a second."""
    return max(speeds, key=lambda speed: speed.rows_per_s)
