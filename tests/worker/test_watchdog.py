"""A trial's run is ended at its limit, and as urgent as a stable's until it takes longer than it should."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable

import pytest
import uvloop

from native.route.layout import MAIN, TRIAL
from server.settings import TrialSettings
from server.worker.runner import Runner, RunnerThread
from server.worker.sides import Side
from server.worker.strain import ThreadTime
from server.worker.watchdog import (
    SLOWED_NICENESS,
    STARVED_PATIENCE,
    URGENT_MS,
    URGENT_MULTIPLE,
    Watchdog,
    Work,
    urgency_ns,
)

NS_PER_MS = 1_000_000
LIMIT_MS = 20_000
NICER = 3


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def computing(ms: float) -> int:
    """How nice a run of so long was at its end."""
    end = time.thread_time() + ms / 1000
    while time.thread_time() < end:
        time.sleep(0)  # the interpreter is the loop's, too
    return niceness()


def ran(side: int, ms: float, urgent_ms: float = URGENT_MS, times: int = 1) -> list[int]:
    """How nice runs of so long were at their ends, one after the other, each with what came behind it."""

    async def run() -> list[int]:
        urgent, patient = Runner("test"), Runner("patient", niceness=NICER)
        watchdog = Watchdog(asyncio.get_running_loop(), TrialSettings(watchdog_ms=LIMIT_MS))
        found = []
        try:
            for _ in range(times):
                work = Work(0, 1, 0, lambda: None, lambda: True, round(urgent_ms * NS_PER_MS))
                future, watch = Side(side, urgent, watchdog, patient).start(work, lambda: computing(ms))
                future.add_done_callback(lambda _, watch=watch: watch.cancel())
                found.append(await future)
                await asyncio.sleep(0)
                found.append(await urgent.run(niceness))
        finally:
            urgent.close()
            patient.close()
        return found

    return [found - niceness() for found in asyncio.run(run())]


@pytest.mark.parametrize("times", [1, 3])
def test_a_run_that_takes_too_long_is_made_nicer_and_none_after_it(times: int) -> None:
    assert ran(TRIAL, 40 * URGENT_MS, times=times) == [SLOWED_NICENESS, 0] * times


def test_a_run_that_is_as_long_as_it_should_be_is_not() -> None:
    assert ran(TRIAL, 40 * URGENT_MS, urgent_ms=400 * URGENT_MS) == [0, 0]


def test_a_run_that_is_known_to_be_slow_is_nice_from_its_beginning_and_no_nicer() -> None:
    assert ran(TRIAL, 40 * URGENT_MS, urgent_ms=0) == [NICER, 0]


def test_a_stables_run_never_is() -> None:
    assert ran(MAIN, 40 * URGENT_MS) == [0, 0]


def test_runs_of_both_threads_of_a_side_are_never_beside_each_other() -> None:
    at_once = most = 0

    def run() -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        computing(20 * URGENT_MS)
        at_once -= 1

    async def runs() -> None:
        urgent, patient = Runner("test"), Runner("patient")
        side = Side(TRIAL, urgent, Watchdog(asyncio.get_running_loop(), TrialSettings(watchdog_ms=LIMIT_MS)), patient)
        futures = []
        try:
            for urgent_ms in (0, LIMIT_MS, 0, LIMIT_MS):
                future, watch = side.start(Work(0, 1, 0, lambda: None, lambda: True, urgent_ms * NS_PER_MS), run)
                future.add_done_callback(lambda _, watch=watch: watch.cancel())
                futures.append(future)
            await asyncio.gather(*futures)
        finally:
            urgent.close()
            patient.close()

    asyncio.run(runs())
    assert most == 1


def test_a_run_that_waited_behind_one_that_was_slowed_down_is_told_by_its_own_thread() -> None:
    """It began in a thread that is nice already; the next ones do not pay for it."""

    async def runs() -> list[int]:
        runner = Runner("test")
        side = Side(TRIAL, runner, Watchdog(asyncio.get_running_loop(), TrialSettings(watchdog_ms=LIMIT_MS)))
        futures = []
        try:
            for _ in range(2):
                work = Work(0, 1, 0, lambda: None, lambda: True, URGENT_MS * NS_PER_MS)
                future, watch = side.start(work, lambda: computing(40 * URGENT_MS))
                future.add_done_callback(lambda _, watch=watch: watch.cancel())
                futures.append(future)
            await futures[0]
            await asyncio.sleep(0.001)
            third = runner.start(niceness)
            return [await futures[0], await futures[1], await third, await runner.run(niceness)]
        finally:
            runner.close()

    found = [nice - niceness() for nice in asyncio.run(runs())]
    assert found == [SLOWED_NICENESS, 2 * SLOWED_NICENESS - (niceness() + 2 * SLOWED_NICENESS > 19), 0, 0]


def test_a_canary_is_urgent_for_a_multiple_of_its_stables_time_unless_it_is_known_to_be_slower() -> None:
    least, ns = URGENT_MS * NS_PER_MS, 100 * NS_PER_MS
    assert urgency_ns(0, 0) == urgency_ns(least, 1) == urgency_ns(0, least // URGENT_MULTIPLE) == least
    assert urgency_ns(least + 1, 1) == 0
    assert urgency_ns(10 * least, 0) == least, "nobody knows what its stable takes"
    assert urgency_ns(URGENT_MULTIPLE * ns, ns) == urgency_ns(0, ns) == URGENT_MULTIPLE * ns
    assert urgency_ns(URGENT_MULTIPLE * ns + 1, ns) == 0


# --- Time without a core -----------------------------------------------------------------------------------------


class Starved(RunnerThread):
    """A thread that is told to have waited for a core, for this share of the time since it was made."""

    def __init__(self, waited: float) -> None:
        self._waited, self._made_s = waited, time.monotonic()
        super().__init__("starved", 0, 0)
        self.slowed_s: float | None = None

    def computed_ns(self) -> int:
        return self.time().ran_ns

    def time(self) -> ThreadTime:
        made_ns = (time.monotonic() - self._made_s) * 1e9
        return ThreadTime(int((1 - self._waited) * made_ns), int(self._waited * made_ns))

    def slow_down(self, niceness: int) -> None:
        assert self.slowed_s is None
        self.slowed_s = time.monotonic() - self._made_s
        super().slow_down(niceness)


def run_until_ended(waited: float, urgent_ms: float = URGENT_MS) -> tuple[float | None, float]:
    """Limits after which a run that never ends by itself was made nicer, if it was, and was ended."""

    async def watched() -> tuple[float | None, float]:
        loop = asyncio.get_running_loop()
        watchdog = Watchdog(loop, TrialSettings(watchdog_ms=50, watchdog_grace_ms=60_000))
        runner, thread = Runner(), Starved(waited)
        try:
            begun_s = loop.time()
            done = asyncio.Event()
            watch = watchdog.watch(TRIAL, Work(0, 1, 0, done.set, lambda: True, round(urgent_ms * NS_PER_MS)), runner)
            watch.begin(thread)
            async with asyncio.timeout(20):
                while not done.is_set():
                    left_ns = watch.look()
                    assert left_ns is not None
                    if not done.is_set():
                        await asyncio.sleep(left_ns / 1e9)
            took_s = loop.time() - begun_s
            assert watch.cancel() == 50
            return None if thread.slowed_s is None else thread.slowed_s * 1000 / URGENT_MS, took_s / 0.05
        finally:
            runner.close()
            thread.end()
            thread.join()
            thread.close_clock()

    return asyncio.run(watched())


def test_a_run_that_has_its_core_is_slowed_down_and_ended_at_its_limits() -> None:
    slowed, ended = run_until_ended(waited=0)
    assert slowed is not None
    assert slowed > 0.9
    assert 0.9 < ended < 4


def test_a_run_is_given_the_time_that_it_waited_for_a_core() -> None:
    slowed, ended = run_until_ended(waited=0.8)
    assert slowed is not None
    assert slowed > 4.5
    assert ended > 4.5


def test_a_run_without_any_core_is_ended_some_day_and_never_made_nicer() -> None:
    slowed, ended = run_until_ended(waited=1)
    assert slowed is None
    assert STARVED_PATIENCE - 0.1 < ended < 2 * STARVED_PATIENCE


@pytest.mark.parametrize("urgent_ms", [URGENT_MS, 30, 75, 10_000])
def test_a_run_that_only_waits_is_ended_at_its_limit_however_urgent_it_may_be(urgent_ms: float) -> None:
    """What it waits for is no core: it neither computes nor is kept from it."""
    slowed, ended = run_until_ended(waited=0, urgent_ms=urgent_ms)
    assert 0.9 < ended < 1.9
    assert (slowed is None) == (urgent_ms > 50)


def test_a_run_at_which_nobody_looked_for_long_is_not_held_to_it() -> None:
    """The loop had no core either: what the run waited meanwhile, nobody knows."""

    async def looked_at_late() -> int | None:
        runner = Runner()
        try:
            watchdog = Watchdog(asyncio.get_running_loop(), TrialSettings(watchdog_ms=50))
            watch = watchdog.watch(TRIAL, Work(0, 1, 0, lambda: None, lambda: True, NS_PER_MS), runner)
            watch.begin(runner.thread)
            time.sleep(0.2)
            left_ns = watch.look()
            assert watch.cancel() is None
            return left_ns
        finally:
            runner.close()

    left_ns = asyncio.run(looked_at_late())
    assert left_ns is not None
    assert 0 < left_ns <= 50 * NS_PER_MS


@pytest.mark.parametrize("loops", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_run_that_has_ended_is_not_ended_because_the_loop_stood_still(
    loops: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """uvloop looks at its timers before it hears of what threads have done."""

    async def stood_still() -> tuple[int | None, bool]:
        runner, told_to_end = Runner(), []
        side = Side(TRIAL, runner, Watchdog(asyncio.get_running_loop(), TrialSettings(watchdog_ms=20)))
        try:
            work = Work(0, 1, 0, lambda: told_to_end.append(True), lambda: True, 5 * NS_PER_MS)
            for _ in range(3):
                future, watch = side.start(work, lambda: time.sleep(0.015))
                await asyncio.sleep(0.01)  # looked at once
                time.sleep(0.1)
                await future
                found = watch.cancel()
                assert found is None
            return found, bool(told_to_end)
        finally:
            runner.close()

    with asyncio.Runner(loop_factory=loops) as asyncio_runner:
        assert asyncio_runner.run(stood_still()) == (None, False)


def test_of_two_runs_the_second_is_watched_from_its_own_beginning_though_the_look_at_the_first_fails() -> None:
    async def both() -> tuple[int | None, int | None]:
        runner, let_go = Runner(), threading.Event()

        def fails() -> None:
            raise RuntimeError("can't be ended")

        side = Side(TRIAL, runner, Watchdog(asyncio.get_running_loop(), TrialSettings(watchdog_ms=50)))
        try:
            first, first_watch = side.start(Work(0, 1, 0, fails, lambda: True, NS_PER_MS), lambda: time.sleep(0.3))
            second, second_watch = side.start(Work(0, 1, 0, let_go.set, lambda: True, NS_PER_MS), let_go.wait)
            await asyncio.wait_for(first, 10)
            ended = first_watch.cancel()
            await asyncio.wait_for(second, 10)
            return ended, second_watch.cancel()
        finally:
            let_go.set()
            runner.close()

    assert asyncio.run(both()) == (50, 50)
