"""A dear model under requests of several rows: how much of bare ONNX Runtime's best throughput reaches the callers.

Used by `python -m benchmarks` for the employment model. Bare and served runs take turns on the same core.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import h2load
from benchmarks.bare_onnxruntime import BareModel, BatchSpeed, best
from benchmarks.contenders import POOL_CASES, SEED, contender
from benchmarks.cpu_time import busy_us, cpu_us
from benchmarks.h2load import Load
from benchmarks.machine import SERVER_CORE
from benchmarks.runs import Plan
from benchmarks.servers import Served
from benchmarks.verifier import Verifier
from loadtests.verified_pool import ELEMENT_TYPES, Case, verified_pool
from server.settings import BatchingSettings

LOAD = Load(connections=4, streams=32)
# Rows that repeat are rows whose branches a processor foresees: with 256 different ones, a forest is a forest.
REQUEST_ROWS = (256,)
# At the very bound the verifying client's own call is one too many, and is refused, rightly.
assert (LOAD.in_flight + 1) * max(REQUEST_ROWS) <= BatchingSettings().queue_rows_max
WARM_REQUESTS = 256
SIZES_AGAIN = 3


@dataclass(frozen=True)
class Pair:
    """A served run and a bare one, one after the other. served_cpu_us: of one row.

    others_share: of the server's core during both, taken by what is no part of the run, from 0 to 1.
    """

    served_rows_per_s: float
    bare_rows_per_s: float
    served_cpu_us: float
    others_share: float


@dataclass(frozen=True)
class BatchedResult:
    """bare: speed by batch size; request_rows: rows of a request in the served runs."""

    bare: Sequence[BatchSpeed]
    request_rows: int
    pairs: Sequence[Pair]
    verified: int

    @property
    def share(self) -> float:
        """Median share of bare ONNX Runtime's best throughput."""
        return statistics.median(pair.served_rows_per_s / pair.bare_rows_per_s for pair in self.pairs)

    @property
    def others_share(self) -> float:
        return statistics.median(pair.others_share for pair in self.pairs)

    @property
    def served_rows_per_s(self) -> float:
        return statistics.median(pair.served_rows_per_s for pair in self.pairs)

    @property
    def served_cpu_us(self) -> float:
        return statistics.median(pair.served_cpu_us for pair in self.pairs)


def measure_batched(
    server: Served, name: str, model_bytes: bytes, plan: Plan, folder: Path, said: Callable[[str], None]
) -> BatchedResult:
    """The model served as `name`. Raises WrongRun or WrongAnswer where an answer is wrong."""
    aims = {}
    for count in REQUEST_ROWS:
        pool = _pool(name, model_bytes, count)
        aims[count] = contender(f"{name} of {count} rows", server, "Predict", pool, folder)
    rates = {count: h2load.run(one.aim, LOAD, WARM_REQUESTS).requests_per_s * count for count, one in aims.items()}
    request_rows = max(rates, key=lambda count: rates[count])
    said(f"{name}: bare ONNX Runtime by batch size")
    # The very rows of the request: a forest over one row repeated runs twice as fast, every branch foreseen.
    bare = BareModel(model_bytes, input_arrays(aims[request_rows].pool[0]))
    speeds = bare.speeds(plan.bare_s)
    # Several, since a disturbed moment may have hidden the best of them.
    sizes = [speed.rows for speed in sorted(speeds, key=lambda speed: -speed.rows_per_s)[:SIZES_AGAIN]]
    chosen, requests = aims[request_rows], max(1, round(rates[request_rows] / request_rows * plan.seconds))
    pairs = []
    with Verifier(chosen.target, chosen.path, chosen.pool) as verifier:
        for number in range(plan.batched_pairs):
            said(f"{name}: pair {number + 1} of {plan.batched_pairs}, {request_rows} rows a request")
            began_ns, own_ns = time.perf_counter_ns(), time.thread_time_ns()
            busy_before, cpu_before = busy_us(SERVER_CORE), cpu_us(chosen.pid)
            run = h2load.run(chosen.aim, LOAD, requests)
            cpu = cpu_us(chosen.pid) - cpu_before
            alone = best([bare.speed(rows, plan.bare_s) for rows in sizes])
            known_us = cpu + (time.thread_time_ns() - own_ns) / 1e3
            others = max(0.0, busy_us(SERVER_CORE) - busy_before - known_us)
            pairs.append(
                Pair(
                    run.requests_per_s * request_rows,
                    alone.rows_per_s,
                    cpu / (run.requests * request_rows),
                    min(1.0, others * 1e3 / (time.perf_counter_ns() - began_ns)),
                )
            )
    return BatchedResult(speeds, request_rows, pairs, verifier.answers)


def _pool(name: str, model_bytes: bytes, rows: int) -> list[Case]:
    return verified_pool(name, model_bytes, cases=POOL_CASES, rows_min=rows, rows_max=rows, seed=SEED)


def input_arrays(case: Case) -> dict[str, np.ndarray]:
    """The inputs of a request as arrays by name."""
    dtypes = dict(ELEMENT_TYPES.values())
    return {t.name: np.frombuffer(t.raw, dtypes[t.datatype]).reshape(tuple(t.shape)) for t in case.predict.inputs}

