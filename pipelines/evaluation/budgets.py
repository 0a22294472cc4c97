"""Budgets: how long a graph takes on bare ONNX Runtime, one thread. Its figures are of this machine and this minute.

Always: they are written beside a run and never into a bundle; a median of many runs, so that a machine that is busy for
a moment does not decide.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import numpy as np
import onnxruntime

from pipelines.evaluation.measures import rounded
from pipelines.evaluation.robustness import spread
from pipelines.examples import Examples

BATCH_ROWS: Final = 256
ROW_RUNS: Final = 400
BATCH_RUNS: Final = 100
_WARMUP_RUNS: Final = 20


@dataclass(frozen=True)
class Speed:
    """row_us: a run on one row, in microseconds. batch_row_ns: a run on batch_rows rows, by row, in nanoseconds."""

    row_us: float
    batch_row_ns: float
    batch_rows: int

    def as_json(self) -> dict[str, Any]:
        return {name: rounded(value) if isinstance(value, float) else value for name, value in vars(self).items()}


def speed(model_bytes: bytes, examples: Examples) -> Speed:
    """Of rows spread over all of `examples`, so that no branch of a tree is always the one taken."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"])
    rows = [examples.take(np.array([row])).inputs() for row in spread(len(examples), ROW_RUNS)]
    batch = examples.take(spread(len(examples), BATCH_ROWS)).inputs()
    row_ns = _median_ns(lambda turn: session.run(None, rows[turn % len(rows)]), ROW_RUNS)
    batch_rows = len(next(iter(batch.values())))
    batch_ns = _median_ns(lambda _: session.run(None, batch), BATCH_RUNS)
    return Speed(row_ns / 1000.0, batch_ns / batch_rows, batch_rows)


def _median_ns(run: Callable[[int], object], runs: int) -> float:
    for turn in range(_WARMUP_RUNS):
        run(turn)
    taken = []
    for turn in range(runs):
        begun_ns = time.perf_counter_ns()
        run(turn)
        taken.append(time.perf_counter_ns() - begun_ns)
    return float(median(taken))
