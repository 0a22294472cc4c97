"""Strain: a machine without time for its threads is told from a version that is slow."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from native.lane.layout import LANE_STRAIN, LANE_WORDS, STRAIN_BUSY, STRAIN_LATE, STRAIN_NONE
from native.plane.counters import COUNTERS_LENGTH, LATE_EXCUSED
from server.worker import strain
from server.worker.strain import LoopClock, Sample, Strain, ThreadClock, ThreadTime, is_strained

MS = 1_000_000
AGE_LIMIT_NS = 1000 * MS
QUIET = ThreadTime(0, 0)

needs_schedstat = pytest.mark.skipif(
    not os.path.exists("/proc/self/schedstat"), reason="the system does not tell what threads wait for"
)


def strained(loop: ThreadTime, other: ThreadTime | None) -> bool:
    """In a window of 100 ms."""
    others = None if other is None else QUIET
    return is_strained(Sample(0, QUIET, (others,)), Sample(100 * MS, loop, (other,)))


@pytest.mark.parametrize(
    ("loop", "other", "expected"),
    [
        pytest.param((10, 0), (10, 0), False, id="little to do"),
        pytest.param((50, 0), (50, 50), False, id="a slow version beside half a load"),
        pytest.param((50, 1), (100, 0), False, id="a slow version on a core of its own"),
        pytest.param((92, 0), (5, 0), True, id="the loop has no rest"),
        pytest.param((30, 65), (5, 0), True, id="the loop waits for other processes"),
        pytest.param((45, 0), (15, 85), True, id="a thread gets little of what it wants"),
        pytest.param((45, 0), (1, 9), False, id="a thread wants little"),
        pytest.param((45, 0), None, False, id="a thread that has not begun"),
    ],
)
def test_strain_is_told_from_slowness(loop: tuple[int, int], other: tuple[int, int] | None, expected: bool) -> None:
    def spent(milliseconds: tuple[int, int]) -> ThreadTime:
        return ThreadTime(milliseconds[0] * MS, milliseconds[1] * MS)

    assert strained(spent(loop), None if other is None else spent(other)) is expected


class Machine:
    """A clock and threads that do as they are told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 0
        self.loop = QUIET
        monkeypatch.setattr(strain.time, "monotonic_ns", lambda: self.now_ns)
        monkeypatch.setattr(ThreadClock, "read", lambda _: self.loop)
        self.words = np.zeros(LANE_WORDS, np.int64)
        self.counts = np.zeros(COUNTERS_LENGTH, np.int64)
        self.strain = Strain(self.words, self.counts, (), AGE_LIMIT_NS, ThreadClock(threading.get_native_id()))

    def passes(self, milliseconds: int, busy: float) -> int:
        """Time, with so much of it wanted by the loop. Returns the lane's word then."""
        for _ in range(milliseconds // 100):
            self.now_ns += 100 * MS
            self.loop = ThreadTime(self.loop.ran_ns + round(busy * 100 * MS), 0)
            self.strain.look()
        return int(self.words[LANE_STRAIN])


def test_a_strained_moment_is_remembered_for_as_long_as_its_requests_may_be_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch)
    assert machine.passes(500, 0.5) == STRAIN_NONE
    assert machine.passes(100, 1.0) == STRAIN_BUSY
    assert machine.passes(900, 0.5) == STRAIN_BUSY
    assert machine.passes(100, 0.5) == STRAIN_NONE


def test_only_strain_that_made_answers_late_holds_back_those_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    assert machine.passes(100, 1.0) == STRAIN_BUSY
    machine.counts[LATE_EXCUSED] += 1
    assert machine.passes(100, 1.0) == STRAIN_LATE
    assert machine.passes(1000, 1.0) == STRAIN_BUSY
    assert machine.passes(1000, 0.0) == STRAIN_NONE


@needs_schedstat
def test_a_thread_that_computes_is_seen_to_run_and_one_that_sleeps_is_not() -> None:
    clock = ThreadClock(threading.get_native_id())
    started, cpu_ns = clock.read(), time.thread_time_ns()
    time.sleep(0.2)
    while time.thread_time_ns() - cpu_ns < 50 * MS:
        pass
    ended = clock.read()
    clock.close()
    assert started is not None
    assert ended is not None
    assert 40 * MS < ended.ran_ns - started.ran_ns < 150 * MS
    assert clock.read() is None


@needs_schedstat
def test_a_loop_that_stands_still_for_a_run_has_no_rest() -> None:
    stood_still_ns = 0
    clock = LoopClock(threading.get_native_id(), lambda: stood_still_ns)
    before = clock.read()
    stood_still_ns = 700 * MS
    now = clock.read()
    clock.close()
    assert before is not None
    assert now is not None
    assert 700 * MS <= now.ran_ns - before.ran_ns < 900 * MS
    assert clock.read() is None
