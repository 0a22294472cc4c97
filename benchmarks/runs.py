"""Interleaved runs: contenders take turns, so that what the machine does meanwhile meets all of them alike.

Used by `python -m benchmarks`. A round measures each contender once; ratios are taken inside a round and then their
median over the rounds. Latency is measured apart from throughput, because writing it down costs the load its speed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks import h2load
from benchmarks.contenders import Contender
from benchmarks.cpu_time import busy_us, cpu_us
from benchmarks.h2load import Load
from benchmarks.machine import SERVER_CORE
from benchmarks.verifier import Verifier

LATENCY_REQUESTS = (200, 20_000)
WARM_REQUESTS = 400
WARM_S_MIN = 0.1
WARM_GROWTH = 4
assert WARM_GROWTH > 1, "else a fast server would be warmed up for ever"


@dataclass(frozen=True)
class Plan:
    """How long a whole run takes. loads: with the number of rounds for each; seconds: of one run of load."""

    loads: Sequence[tuple[Load, int]]
    seconds: float
    latency_s: float
    bare_s: float
    batched_pairs: int

    def __post_init__(self) -> None:
        if not self.loads or self.seconds <= 0 or any(rounds < 1 for _, rounds in self.loads):
            raise ValueError(f"plan: expected loads with one round or more and seconds above 0, got {self}.")


@dataclass(frozen=True)
class Measurement:
    """One run of load. others_share: of the server's core, taken by what is no part of the run, from 0 to 1."""

    requests_per_s: float
    cpu_us: float
    others_share: float


@dataclass
class Cell:
    """A contender at a load, over all rounds."""

    contender: Contender
    load: Load
    measurements: list[Measurement] = field(default_factory=list)
    p50_us: float = 0.0
    p99_us: float = 0.0
    verified: int = 0

    @property
    def requests_per_s(self) -> float:
        return statistics.median(one.requests_per_s for one in self.measurements)

    @property
    def cpu_us(self) -> float:
        return statistics.median(one.cpu_us for one in self.measurements)

    @property
    def spread(self) -> float:
        """Fastest less slowest round, as a share of the median."""
        rates = [one.requests_per_s for one in self.measurements]
        return (max(rates) - min(rates)) / self.requests_per_s

    @property
    def others_share(self) -> float:
        return statistics.median(one.others_share for one in self.measurements)


def throughput_ratio(cell: Cell, to: Cell) -> float:
    """Median over rounds of how many times as many requests a second `cell` answers."""
    return _ratio(cell, to, lambda one: one.requests_per_s)


def cpu_ratio(cell: Cell, to: Cell) -> float:
    """Median over rounds of how many times as much CPU a request costs in `cell`."""
    return _ratio(cell, to, lambda one: one.cpu_us)


def measure_load(
    contenders: Sequence[Contender], load: Load, rounds: int, plan: Plan, folder: Path, said: Callable[[str], None]
) -> list[Cell]:
    """All contenders at one load. Raises WrongRun or WrongAnswer where one of them answers wrongly."""
    cells = [Cell(contender, load) for contender in contenders]
    rates = [_warm_rate(cell) for cell in cells]
    for number in range(rounds):
        said(f"{load.label}: round {number + 1} of {rounds}")
        for cell, rate in zip(cells, rates, strict=True):
            cell.measurements.append(_measurement(cell, max(1, round(rate * plan.seconds))))
    said(f"{load.label}: latencies")
    for cell, rate in zip(cells, rates, strict=True):
        requests = min(max(round(rate * plan.latency_s), LATENCY_REQUESTS[0], load.in_flight), LATENCY_REQUESTS[1])
        times = h2load.latencies_us(cell.contender.aim, load, requests, folder / "latencies.log")
        cell.p50_us, cell.p99_us = map(float, np.percentile(times, (50, 99)))
    return cells


def _measurement(cell: Cell, requests: int) -> Measurement:
    contender = cell.contender
    with ExitStack() as stack:
        verifier = None
        if contender.pool:
            verifier = stack.enter_context(Verifier(contender.target, contender.path, contender.pool))
        busy_before, cpu_before = busy_us(SERVER_CORE), cpu_us(contender.pid)
        run = h2load.run(contender.aim, cell.load, requests)
        cpu, busy = cpu_us(contender.pid) - cpu_before, busy_us(SERVER_CORE) - busy_before
        answered = run.requests + (0 if verifier is None else verifier.answers)
    if verifier is not None:
        cell.verified += verifier.answers
    others = max(0.0, busy - cpu) / (run.seconds * 1e6)
    return Measurement(run.requests_per_s, cpu / answered, min(1.0, others))


def _warm_rate(cell: Cell) -> float:
    """Requests a second, from a run that is long enough to tell; it also warms the server up."""
    requests = max(WARM_REQUESTS, cell.load.in_flight)
    while True:
        run = h2load.run(cell.contender.aim, cell.load, requests)
        if run.seconds >= WARM_S_MIN:
            return run.requests_per_s
        requests *= WARM_GROWTH


def _ratio(cell: Cell, to: Cell, figure: Callable[[Measurement], float]) -> float:
    pairs = zip(cell.measurements, to.measurements, strict=True)
    return statistics.median(figure(mine) / figure(theirs) for mine, theirs in pairs)
