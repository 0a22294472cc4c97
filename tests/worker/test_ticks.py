"""Ticks: a loop that waits gets its core back within a millisecond or so; nobody ticks where nobody else wants it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.swaps.caller import Caller
from benchmarks.swaps.versions import Versions
from native.plane.seqlock import word_release
from native.ticks import PERIOD_US_MAX, tick
from server.worker import ticks
from server.worker.strain import ThreadTime
from server.worker.ticks import (
    HOLD_NS,
    WAITED_SHARE,
    WANTED_SHARE,
    WINDOW_NS,
    Ticks,
)
from tests.worker.operated import OperatedWorker
from tests.worker.test_scheduling import slices
from tests.worker.test_strain import needs_schedstat

ROOT = Path(__file__).resolve().parents[2]
CORE = min(os.sched_getaffinity(0))
# A system that looks each millisecond by itself keeps nobody waiting for long, ticks or none.
CLOCK_MONOTONIC_COARSE = 6  # whose resolution tells (clock_getres(2))
LOOKS_OFTEN = time.clock_getres(CLOCK_MONOTONIC_COARSE) <= 0.001
RESTS_US = 400
WAITS_MS_MIN = 30.0  # of the 3,000 that LOOP looks at
# A loop that never sleeps, or rests each time it has run for 300 us. Tells how long it was without a core in all, for
# four fifths of a millisecond or more at a time, in ms: twice a tick's period.
LOOP = """
import os, sys, time
from server.scheduling import URGENT_SLICE_NS, schedule_thread
from server.worker.ticks import Ticks
if sys.argv[1] != "any":
    os.sched_setaffinity(0, {int(sys.argv[1])})
schedule_thread(URGENT_SLICE_NS)
looked = Ticks(time.perf_counter_ns()) if sys.argv[2] == "ticks" else None
rests_ns = int(sys.argv[3]) * 1000
begun = last = woke = time.perf_counter_ns()
without = 0
while last - begun < 4_000_000_000:
    now = time.perf_counter_ns()
    if now - last > 800_000 and now - begun > 1_000_000_000:
        without += now - last
    if looked is not None:
        looked.look(now)
    last = now
    if rests_ns and now - woke > 300_000:
        last = time.perf_counter_ns() + rests_ns
        time.sleep(rests_ns / 1e9)
        woke = time.perf_counter_ns()
print(without / 1e6)
"""
BURN = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nos.nice(int(sys.argv[2]))\nwhile True: pass"


class Waiting:
    """A clock that says what it is told to, of a loop that is always busy."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.spent = ThreadTime(0, 0)
        self.ticks = Ticks(self.now_ns, self)  # type: ignore[arg-type]

    def read(self) -> ThreadTime | None:
        return self.spent

    def close(self) -> None:
        pass

    def passes(self, ns: int, waited_share: float, ran_share: float | None = None) -> bool:
        """So much time, in which the loop waited for so much of it. Whether it is ticked for then."""
        self.now_ns += ns
        ran_share = 1.0 - waited_share if ran_share is None else ran_share
        self.spent += ThreadTime(round(ran_share * ns), round(waited_share * ns))
        self.ticks.look(self.now_ns)
        return self.ticks.ticking


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    made = Waiting()
    yield made
    made.ticks.close()


def test_a_loop_that_waits_is_ticked_for_until_it_does_not_wait_any_more(waiting: Waiting) -> None:
    assert not waiting.passes(2 * WINDOW_NS, 0.5 * WAITED_SHARE)
    assert waiting.passes(WINDOW_NS, 2 * WAITED_SHARE)
    assert waiting.passes(HOLD_NS // 2, 0.0)
    assert not waiting.passes(HOLD_NS, 0.0)
    assert not waiting.passes(WINDOW_NS, 0.0)
    assert waiting.passes(WINDOW_NS, 1.0)


def test_a_loop_that_sleeps_at_times_is_ticked_for_unless_it_has_next_to_nothing_to_do(waiting: Waiting) -> None:
    waited_share = 1.1 * WAITED_SHARE
    assert not waiting.passes(WINDOW_NS, waited_share, ran_share=0.9 * WANTED_SHARE - waited_share)
    assert waiting.passes(WINDOW_NS, waited_share, ran_share=1.1 * WANTED_SHARE - waited_share)


def test_less_than_a_window_says_nothing(waiting: Waiting) -> None:
    assert not waiting.passes(WINDOW_NS - 1, 1.0)
    assert waiting.passes(1, 0.0), "what came before counts once the window is over"


def test_where_nobody_tells_nobody_ticks(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(waiting, "read", lambda: None)
        assert not waiting.passes(WINDOW_NS, 1.0)
        assert not waiting.passes(WINDOW_NS, 1.0)
    assert not waiting.passes(WINDOW_NS, 1.0), "since when is not known"
    assert waiting.passes(WINDOW_NS, 1.0)
    with monkeypatch.context() as patched:
        patched.setattr(waiting, "read", lambda: None)
        assert waiting.passes(WINDOW_NS, 1.0), "it stays as it is"


def ticking_thread() -> threading.Thread:
    (thread,) = (one for one in threading.enumerate() if one.name == "roost-ticks")
    return thread


def test_its_thread_wakes_up_only_while_it_ticks_and_ends(waiting: Waiting) -> None:
    waiting.passes(WINDOW_NS, 1.0)
    thread = ticking_thread()
    assert switches_of(thread) > 20
    waiting.passes(HOLD_NS, 0.0)
    until = time.monotonic() + 10
    while switches_of(thread) > 0:
        assert time.monotonic() < until, "it goes on"
    waiting.passes(WINDOW_NS, 1.0)
    assert ticking_thread() is thread
    assert switches_of(thread) > 20
    waiting.ticks.close()
    assert not thread.is_alive()


def test_its_thread_wakes_up_where_the_loop_is(waiting: Waiting) -> None:
    cores = os.sched_getaffinity(0)
    try:
        for core in (min(cores), max(cores)):
            os.sched_setaffinity(0, {core})
            waiting.passes(WINDOW_NS, 1.0)
            assert os.sched_getaffinity(ticking_thread().native_id or 0) == {core}
    finally:
        os.sched_setaffinity(0, cores)


def switches_of(thread: threading.Thread) -> int:
    """How often it went to sleep in a fifth of a second (proc(5))."""

    def now() -> int:
        lines = Path(f"/proc/self/task/{thread.native_id}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("voluntary_ctxt_switches")).split()[1])

    before = now()
    time.sleep(0.2)
    return now() - before


def test_a_system_without_threads_to_give_is_asked_again(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def none_left(thread: threading.Thread) -> None:
        asked.append(thread)
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(ticks.threading.Thread, "start", none_left)
        assert not waiting.passes(WINDOW_NS, 1.0)
    assert len(asked) == 1
    assert waiting.passes(WINDOW_NS, 1.0)


def ticking_apart(period_us: np.ndarray) -> threading.Thread:
    """In a thread: one that goes on for ever holds up nobody's end."""
    thread = threading.Thread(target=tick, args=(period_us,), daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("period_us", [[], [0], [-1], [PERIOD_US_MAX + 1], [1 << 32]])
def test_what_can_not_be_ticked_is_left_at_once(period_us: list[int]) -> None:
    words = np.array(period_us, dtype=np.int64)
    thread = ticking_apart(words)
    thread.join(10)
    try:
        assert not thread.is_alive()
    finally:
        words[:] = 0


def test_it_ticks_as_often_as_it_is_told_until_it_is_told_to_end() -> None:
    period_us = np.full(1, 100_000, dtype=np.int64)
    thread = ticking_apart(period_us)
    try:
        assert switches_of(thread) <= 10
        word_release(period_us, 0, 1000)
        until = time.monotonic() + 10
        while switches_of(thread) <= 20:
            assert time.monotonic() < until, "it goes on as before"
    finally:
        word_release(period_us, 0, 0)
    thread.join(10)
    assert not thread.is_alive()


def without_a_core_ms(looks: str, core: int | None, niceness: int = 10, rests_us: int = 0) -> float:
    """What LOOP found, beside a process on its core; None: on every core, and it runs where it likes."""
    cores = sorted(os.sched_getaffinity(0)) if core is None else [core]
    burning = [subprocess.Popen([sys.executable, "-c", BURN, str(one), str(niceness)]) for one in cores]
    try:
        command = [sys.executable, "-c", LOOP, "any" if core is None else str(core), looks, str(rests_us)]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    finally:
        for one in burning:
            one.kill()
            one.wait()
    return float(found.stdout)


@slices
@needs_schedstat
@pytest.mark.alone
@pytest.mark.parametrize("core", [pytest.param(CORE, id="on one core"), pytest.param(None, id="on any core")])
def test_a_loop_that_never_sleeps_gets_its_core_back_sooner(core: int | None) -> None:
    if LOOKS_OFTEN:
        pytest.skip("this system looks often enough by itself")
    assert without_a_core_ms("ticks", core) < 0.5 * without_a_core_ms("none", core)


@slices
@needs_schedstat
@pytest.mark.alone
def test_a_loop_that_rests_at_times_gets_its_core_back_sooner() -> None:
    if LOOKS_OFTEN:
        pytest.skip("this system looks often enough by itself")
    with_ticks, without = (without_a_core_ms(looks, CORE, niceness=0, rests_us=RESTS_US) for looks in ("ticks", "none"))
    if without < WAITS_MS_MIN:
        pytest.skip("this system lets a loop that wakes up interrupt others always")
    assert with_ticks < 0.5 * without


@needs_schedstat
def test_a_worker_that_shares_its_core_ticks(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.push_scaled(1)
    with OperatedWorker("fast", versions, tmp_path) as worker:
        assert worker.process is not None
        pid = worker.process.pid
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {CORE})
        burning = subprocess.Popen([sys.executable, "-c", BURN, str(CORE), "0"])
        try:
            with Caller(worker.target, versions.factors, connections=2) as caller:
                caller.pace(in_flight=64)
                worker.until(lambda: has_a_thread_that_ticks(pid), "a thread that ticks", seconds=30)
                caller.settle()
        finally:
            burning.kill()
            burning.wait()


def has_a_thread_that_ticks(pid: int) -> bool:
    """Whether one went to sleep thirty times or more in a fifth of a second, and computed next to nothing meanwhile."""

    def now() -> dict[str, tuple[int, int]]:
        found = {}
        for thread in Path(f"/proc/{pid}/task").iterdir():
            ran_ns = int((thread / "schedstat").read_text().split()[0])
            lines = (thread / "status").read_text().splitlines()
            slept = next(line for line in lines if line.startswith("voluntary_ctxt_switches"))
            found[thread.name] = ran_ns, int(slept.split()[1])
        return found

    before = now()
    time.sleep(0.2)
    after = now()
    grown = [(after[one][0] - before[one][0], after[one][1] - before[one][1]) for one in after.keys() & before.keys()]
    return any(slept >= 30 and ran_ns < 20_000_000 for ran_ns, slept in grown)
