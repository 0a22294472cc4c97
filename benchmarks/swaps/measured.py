"""Flips, swaps and rollbacks under load, each beside a quiet moment of the same length.

Used by `python -m benchmarks.swaps`. Pairs are interleaved, so that what the machine does meanwhile meets both halves
alike; a ratio is taken inside a pair, and the figure is the median over the pairs. Before each pair the load is set by
what the server can do at that moment: a machine that is shared does half as much again in one minute as in another.
Always: every request of the whole run is accounted for; some load is on through all of it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from benchmarks.cpu_time import busy_us, cpu_us, rss_bytes
from benchmarks.machine import LOAD_CORE, SERVER_CORE
from benchmarks.swaps.caller import Caller
from benchmarks.swaps.operator import Operator, roost
from benchmarks.swaps.versions import Versions

NS_PER_MS = 1_000_000
IN_FLIGHT = 256  # when capacity is measured
WARM_S = 0.5  # at each pace, before anything is measured
LOAD_SHARE = 0.5
CANARY_WEIGHT = 0.5
LEAVING_S = 1.0  # after a Rollback: its last replies, and what the worker does to be rid of it
QUIET_S = 4.0  # beside each swap: about as long as one takes
CATCH_UP_S_MAX = 20.0
DIGESTS = 24  # swapped through, again and again; each time one is loaded anew


@dataclass(frozen=True)
class Plan:
    """How much is done. pairs: of a quiet moment and one with flips; cycles: of load, swap, and swap back."""

    flips: int
    flip_pairs: int
    flip_window_s: float
    cycles: int
    warm_cycles: int
    capacity_s: float

    def __post_init__(self) -> None:
        if self.flips % self.flip_pairs != 0 or self.cycles < 1:
            raise ValueError(f"plan: expected as many flips in each pair, and a cycle or more, got {self}.")


@dataclass(frozen=True)
class Pair:
    """p99 of a quiet moment and of one in which something was done, in microseconds."""

    quiet_us: float
    busy_us: float

    @property
    def ratio(self) -> float:
        return self.busy_us / self.quiet_us


@dataclass
class Found:
    """All of one run.

    flip_capacities, swap_capacities: requests a second, before each pair, as its quiet half is: flips beside a canary
    of CANARY_WEIGHT, which costs a third of it, swaps without one; the load was LOAD_SHARE of it. others_shares: of the
    server's core, taken then by what is no part of the run, from 0 to 1. late_ms: after the reply to each Rollback, the
    last reply of the version rolled back; 0: none.
    """

    flip_capacities: list[float] = field(default_factory=list)
    swap_capacities: list[float] = field(default_factory=list)
    others_shares: list[float] = field(default_factory=list)
    flips: int = 0
    swaps: int = 0
    sent: int = 0
    right: int = 0
    wrong: int = 0
    failed: int = 0
    lost: int = 0
    flip_pairs: list[Pair] = field(default_factory=list)
    swap_pairs: list[Pair] = field(default_factory=list)
    load_s: list[float] = field(default_factory=list)
    rollback_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    rss_before: int = 0
    rss_after: int = 0
    failures: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def flip_ratio(self) -> float:
        return statistics.median(pair.ratio for pair in self.flip_pairs)

    @property
    def swap_ratio(self) -> float:
        return statistics.median(pair.ratio for pair in self.swap_pairs)

    @property
    def growth(self) -> float:
        return self.rss_after / self.rss_before


def measured(plan: Plan, versions: Versions, said: Callable[[str], None], *, pin: bool = True) -> Found:
    """One run against a server of its own. pin: server and load on a core each."""
    versions.push_scaled(DIGESTS)
    found = Found()
    core = SERVER_CORE if pin else None
    with (
        roost(versions, core=core) as server,
        Operator(server.ready["admin"]) as operator,
        Caller(server.target, versions.factors, core=LOAD_CORE if pin else None) as caller,
    ):
        (worker,) = server.ready["workers"]
        load = HalfLoad(caller, server.process.pid, plan.capacity_s, found.others_shares)
        load.set()
        # On a machine too busy for this load a canary may time out more often than the stable, and would go home.
        operator.freeze()
        operator.deploy(2, CANARY_WEIGHT)
        _flips(plan, found, operator, caller, load, said)
        operator.rollback()
        for number in range(plan.warm_cycles + plan.cycles):
            said(f"swaps: {number} of {plan.warm_cycles + plan.cycles}")
            if number == plan.warm_cycles:
                found.rss_before = rss_bytes(worker)
                found.swap_pairs.clear()
                found.swap_capacities.clear()
            found.swap_capacities.append(load.set())
            _cycle(number, found, operator, caller)
        found.rss_after = rss_bytes(worker)
        caller.settle()
        end = caller.mark()
        found.sent, found.failed, found.lost = end.sent, end.failed, end.lost
        found.right, found.wrong = sum(caller.right.values()), sum(caller.wrong.values())
        found.failures = caller.failed_by_status()
    return found


class HalfLoad:
    """Keeps the load at LOAD_SHARE of what the server can do. server: the parent's process."""

    def __init__(self, caller: Caller, server: int, seconds: float, others_shares: list[float]) -> None:
        self._caller, self._server, self._seconds, self._others_shares = caller, server, seconds, others_shares

    def set(self) -> float:
        """By what it can do now, as it is now, with as many in flight as fill it: that many requests a second."""
        caller = self._caller
        caller.pace(in_flight=IN_FLIGHT)
        time.sleep(WARM_S)
        before, busy_before, cpu_before = caller.mark(), busy_us(SERVER_CORE), cpu_us(self._server)
        time.sleep(self._seconds)
        after, busy, cpu = caller.mark(), busy_us(SERVER_CORE) - busy_before, cpu_us(self._server) - cpu_before
        elapsed_ns = after.at_ns - before.at_ns
        capacity = (after.answered - before.answered) / elapsed_ns * 1e9
        self._others_shares.append(min(1.0, max(0.0, busy - cpu) / (elapsed_ns / 1e3)))
        caller.pace(rate=capacity * LOAD_SHARE)
        time.sleep(WARM_S)
        return capacity


def _flips(
    plan: Plan, found: Found, operator: Operator, caller: Caller, load: HalfLoad, said: Callable[[str], None]
) -> None:
    each = plan.flips // plan.flip_pairs
    weights = (0.1, 0.9, 0.25, 0.75, 0.5)
    for number in range(plan.flip_pairs):
        said(f"flips: {number * each} of {plan.flips}")
        operator.weight(CANARY_WEIGHT)
        found.flip_capacities.append(load.set())
        quiet_us = _quiet_p99_us(caller, plan.flip_window_s)
        _catch_up(caller)
        caller.forget()
        begun_s = time.monotonic()
        for flip in range(each):
            due_s = begun_s + plan.flip_window_s * flip / each
            time.sleep(max(0.0, due_s - time.monotonic()))
            operator.weight(weights[(found.flips + flip) % len(weights)])
        time.sleep(max(0.0, begun_s + plan.flip_window_s - time.monotonic()))
        found.flip_pairs.append(Pair(quiet_us, _p99_us(caller)))
        found.flips += each


def _cycle(number: int, found: Found, operator: Operator, caller: Caller) -> None:
    """A version is loaded, becomes stable, and is taken back: two swaps, each to another digest.

    The quiet half comes first in every other pair. Of all the first load alone begins a loader, and imports.
    """
    version, quiet_us = 2 + number % (DIGESTS - 1), 0.0
    if number % 2:
        quiet_us = _quiet_p99_us(caller, QUIET_S)
    _catch_up(caller)
    caller.forget()
    begun_s = time.monotonic()
    operator.deploy(version, CANARY_WEIGHT)
    loaded_s = time.monotonic() - begun_s
    operator.promote()
    asked_ns = time.monotonic_ns()
    operator.rollback()
    told_ns = time.monotonic_ns()
    time.sleep(LEAVING_S)
    answers = caller.answers()
    busy_us = float(np.percentile(answers[:, 1] - answers[:, 0], 99)) / 1e3
    if not number % 2:
        quiet_us = _quiet_p99_us(caller, QUIET_S)
    found.swap_pairs.append(Pair(quiet_us, busy_us))
    found.swaps += 2
    found.load_s.append(loaded_s)
    found.rollback_ms.append((told_ns - asked_ns) / NS_PER_MS)
    last_ns = int(answers[answers[:, 2] == version, 1].max(initial=0))
    found.late_ms.append(max(0, last_ns - told_ns) / NS_PER_MS)


def _quiet_p99_us(caller: Caller, seconds: float) -> float:
    _catch_up(caller)
    caller.forget()
    time.sleep(seconds)
    return _p99_us(caller)


def _catch_up(caller: Caller) -> None:
    """What piled up in one moment is not the next one's: waits for it, for as long as that may reasonably take."""
    deadline = time.monotonic() + CATCH_UP_S_MAX
    while caller.in_flight > IN_FLIGHT and time.monotonic() < deadline:
        time.sleep(0.01)


def _p99_us(caller: Caller) -> float:
    answers = caller.answers()
    return float(np.percentile(answers[:, 1] - answers[:, 0], 99)) / 1e3
