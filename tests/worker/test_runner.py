"""A runner's thread is made nicer for the work at hand, and what comes behind it is as urgent as ever, in order."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.worker.runner import Runner

NICER = 7


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


class Held:
    """Work that goes on until it is let go, and says how nice it ended."""

    def __init__(self) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()

    def __call__(self) -> int:
        self.begun.set()
        assert self.let_go.wait(30)
        return niceness()

    async def runs(self) -> None:
        while not self.begun.is_set():
            await asyncio.sleep(0.001)


@contextmanager
def runner() -> Iterator[Runner]:
    made = Runner("test")
    try:
        yield made
    finally:
        made.close()


def test_only_the_work_at_hand_is_made_nicer() -> None:
    async def run() -> tuple[int, int]:
        held = Held()
        with runner() as made:
            first = made.start(held)
            await held.runs()
            made.thread.slow_down(NICER)
            held.let_go.set()
            slowed = await first
            made.replace(made.thread)
            return slowed, await made.run(niceness)

    assert asyncio.run(run()) == (niceness() + NICER, niceness())


def test_what_was_waiting_comes_first_and_never_beside_what_comes_later() -> None:
    async def run() -> tuple[list[str], int]:
        order, at_once, most = [], 0, 0

        def work(name: str) -> Callable[[], None]:
            def named() -> None:
                nonlocal at_once, most
                at_once += 1
                most = max(most, at_once)
                time.sleep(0.02)
                order.append(name)
                at_once -= 1

            return named

        with runner() as made:
            waited: list[Awaitable[None]] = []
            for number in range(3):
                waited += [made.start(work(f"{number} before")), made.start(work(f"{number} before, too"))]
                made.replace(made.thread)
                waited.append(made.start(work(f"{number} behind")))
            await asyncio.gather(*waited)
        return order, most

    order, most = asyncio.run(run())
    assert order == [f"{number} {name}" for number in range(3) for name in ("before", "before, too", "behind")]
    assert most == 1


def test_its_time_goes_on_from_thread_to_thread() -> None:
    async def run() -> list[int]:
        found = []
        with runner() as made:
            for _ in range(3):
                await made.run(lambda: sum(range(300_000)))
                time_now = made.time()
                assert time_now is not None, "Linux tells"
                found.append(time_now.ran_ns)
                made.replace(made.thread)
        return found

    first, second, third = asyncio.run(run())
    assert first > 1_000_000
    assert second - first > first / 4
    assert third - second > first / 4


def test_threads_that_were_replaced_leave_nothing_behind() -> None:
    def held_open() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def run() -> None:
        with runner() as made:
            await made.run(int)
            before = held_open(), threading.active_count()
            for _ in range(50):  # some of them before their thread has begun
                made.replace(made.thread)
                made.replace(made.thread)
                thread_id = await made.run(threading.get_native_id)
                await asyncio.sleep(0.001)
                assert made.thread.time() is not None
                assert made.thread._id == thread_id
            while (held_open(), threading.active_count()) != before:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(run(), 30))


def test_one_that_is_not_its_thread_any_more_replaces_nothing() -> None:
    async def run() -> None:
        with runner() as made:
            first = made.thread
            made.replace(first)
            second = made.thread
            made.replace(first)
            assert made.thread is second is not first

    asyncio.run(run())


def test_where_the_system_has_no_thread_to_give_it_goes_on_in_the_one_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def run() -> None:
        with runner() as made:
            await made.run(int)
            thread, had = made.thread, made.time()
            with monkeypatch.context() as patched:
                patched.setattr(threading.Thread, "start", start)
                made.replace(thread)
            assert made.thread is thread
            assert await made.run(niceness) == niceness()
            now = made.time()
            assert had is not None
            assert now is not None
            assert now.ran_ns >= had.ran_ns

    asyncio.run(run())


def test_a_closed_one_has_no_thread_left_and_begins_none() -> None:
    async def run() -> None:
        made = Runner("closed")
        await made.run(int)
        made.replace(made.thread)
        await made.run(int)
        made.close()
        made.replace(made.thread)

    asyncio.run(run())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("closed")]


def test_one_that_is_closed_while_replaced_work_goes_on_waits_for_it() -> None:
    async def run() -> None:
        made, held = Runner("closed"), Held()
        first, behind = made.start(held), made.start(int)
        await held.runs()
        made.replace(made.thread)
        last = made.start(int)
        threading.Timer(0.1, held.let_go.set).start()
        made.close()
        assert await first == niceness()
        await asyncio.sleep(0)
        assert behind.cancelled()
        assert last.cancelled()

    asyncio.run(run())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("closed")]


def test_an_error_does_not_keep_what_its_work_held() -> None:
    """A session of which the load failed is freed at once, not when somebody collects circles."""

    class Large:
        pass

    async def failed() -> weakref.ref[Large]:
        with runner() as made:
            large = Large()
            found = weakref.ref(large)

            def work(large: Large = large) -> None:
                raise ValueError(f"no use of {large}")

            del large
            with pytest.raises(ValueError, match="no use"):
                await made.run(work)
            del work
        return found

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(failed())() is None
    finally:
        gc.enable()


def test_work_for_one_that_has_ended_is_refused() -> None:
    async def run() -> None:
        made = Runner("closed")
        made.close()
        with pytest.raises(RuntimeError, match="before its end"):
            made.start(int)

    asyncio.run(run())


def test_work_that_nobody_waits_for_any_more_does_not_begin() -> None:
    async def run() -> list[str]:
        found: list[str] = []
        held = Held()
        with runner() as made:
            first = made.start(held)
            await held.runs()
            made.start(lambda: found.append("cancelled")).cancel()
            last = made.start(lambda: found.append("waited for"))
            held.let_go.set()
            await asyncio.gather(first, last)
        return found

    assert asyncio.run(run()) == ["waited for"]


def test_its_end_is_heard_of_before_callbacks_of_the_loops_next_turn() -> None:
    async def run() -> list[object]:
        heard: list[object] = []

        def done(future: asyncio.Future[int]) -> None:
            heard.append(future.result())
            asyncio.get_running_loop().call_soon(heard.append, "the next turn")

        with runner() as made:
            future = made.start(lambda: 7, done)
            future.add_done_callback(lambda _: heard.append("its callbacks"))
            await asyncio.sleep(0)
            while len(heard) < 3:
                await asyncio.sleep(0.001)
        return heard

    assert asyncio.run(run()) == [7, "its callbacks", "the next turn"]


def test_whoever_is_to_hear_of_an_end_hears_of_a_failure_and_of_one_that_was_cancelled() -> None:
    async def run() -> list[str]:
        heard: list[str] = []

        def done(future: asyncio.Future[float]) -> None:
            heard.append("cancelled" if future.cancelled() else type(future.exception()).__name__)

        held = Held()
        with runner() as made:
            made.start(lambda: 1 / 0, done)
            holding = made.start(held)
            await held.runs()
            made.start(float, done).cancel()
            held.let_go.set()
            await holding
            while len(heard) < 2:
                await asyncio.sleep(0.001)
            held = Held()
            holding = made.start(held)
            await held.runs()
            made.start(float, done)
            threading.Timer(0.1, held.let_go.set).start()  # closed meanwhile
        await holding
        return heard

    assert asyncio.run(run()) == ["ZeroDivisionError", "cancelled", "cancelled"]


def test_an_end_that_is_waited_for_is_heard_of_before_the_start_returns() -> None:
    async def run() -> tuple[list[object], int]:
        heard: list[object] = []
        with runner() as made:
            future = made.start(lambda: 7, lambda future: heard.append(future.result()), 20.0)
            heard.append("returned")
            failed = made.start(lambda: 1 / 0, lambda future: heard.append(type(future.exception())), 20.0)
            assert isinstance(failed.exception(), ZeroDivisionError)
            return heard, await future

    assert asyncio.run(run()) == ([7, "returned", ZeroDivisionError], 7)


def test_an_end_that_does_not_come_in_time_is_heard_of_later() -> None:
    async def run() -> None:
        heard: list[int] = []
        held = Held()
        with runner() as made:
            began_s = time.monotonic()
            future = made.start(held, lambda future: heard.append(future.result()), 0.02)
            assert 0.02 <= time.monotonic() - began_s < 10
            assert not future.done()
            await held.runs()
            held.let_go.set()
            result = await future
            assert heard == [result]

    asyncio.run(run())


def test_an_end_that_comes_as_the_wait_ends_is_heard_of_once() -> None:
    """Waits that are as long as the work, give or take: both sides come first many times."""
    rounds, wait_s = 1500, 0.0002

    async def run() -> tuple[list[int], int]:
        heard: list[int] = []
        in_time = 0
        with runner() as made:
            for number in range(rounds):

                def work(number: int = number, until_s: float = wait_s * (0.5 + number % 100 / 100)) -> int:
                    began_s = time.monotonic()
                    while time.monotonic() - began_s < until_s:
                        time.sleep(0)
                    return number

                future = made.start(work, lambda future: heard.append(future.result()), wait_s)
                in_time += future.done()
                await future
        return heard, in_time

    heard, in_time = asyncio.run(run())
    assert heard == list(range(rounds))
    assert 0 < in_time < rounds


def test_whoever_hears_of_an_end_that_was_waited_for_and_fails_is_not_who_began_it() -> None:
    async def run() -> list[str]:
        told: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: told.append(type(context["exception"]).__name__))
        with runner() as made:
            assert await made.start(lambda: 7, lambda _future: 1 / 0, 20.0) == 7
        return told

    assert asyncio.run(run()) == ["ZeroDivisionError"]


def test_a_process_that_fails_before_it_can_close_one_ends() -> None:
    program = (
        "import asyncio\n"
        "from server.worker.runner import Runner\n"
        "async def main():\n"
        "    Runner()\n"
        "    raise SystemExit(7)\n"
        "asyncio.run(main())\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 7
