"""A runner: the thread where work runs that would hold up the worker's loop for too long.

One for stables, one for canaries and one for what may wait, since a worker has one core's worth of work to give. ONNX
Runtime lets go of the GIL while it computes, so the loop goes on reading sockets. A canary's every batch comes through
here, so that an executor's futures, whose every state is another lock and another call, would cost more than its run.
Always: work is done in the order in which it came, one at a time, also where the thread was replaced meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from server.scheduling import USUAL_SLICE_NS, add_niceness, schedule_thread
from server.worker.strain import NO_TIME, ThreadClock, ThreadTime

T = TypeVar("T")
Done = Callable[["asyncio.Future[T]"], object]

log = logging.getLogger("roost.worker")


class _Job(Generic[T]):
    """Work for a thread, and who is told of its end. awaited: the loop will `wait` for it.

    done: called with `future` on the loop as soon as that hears of the end.
    """

    __slots__ = ("_ended", "_first", "_loop", "_outcome", "done", "future", "work")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, work: Callable[[], T], done: Done[T] | None, awaited: bool
    ) -> None:
        self._loop = loop
        self.work = work
        self.done = done
        self.future: asyncio.Future[T] = loop.create_future()
        self._outcome: tuple[Callable[[Any], None], Any] | None = None
        # `_first` is taken by who comes first: the thread, with an end for the loop, or the loop, which waits no more.
        self._ended: threading.Lock | None = None
        self._first: threading.Lock | None = None
        if awaited:
            self._ended, self._first = threading.Lock(), threading.Lock()
            self._ended.acquire()

    def end(self, tell: Callable[[Any], None], what: Any) -> None:
        """In the thread: it has ended, and the loop is to call `tell(what)`. Last: the loop may go on at once."""
        self._outcome = tell, what
        if self._ended is not None and self._comes_first():
            self._ended.release()
            return
        try:
            self._loop.call_soon_threadsafe(self._told)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def wait(self, seconds: float) -> None:
        """On the loop, which stands still: if it ends within so many seconds, `done` has been called."""
        assert self._ended is not None
        if self._ended.acquire(timeout=seconds) or not self._comes_first():
            try:
                self._told()
            except Exception as error:  # noqa: BLE001  # as if the loop had called it: whoever waits is not to blame
                self._loop.call_exception_handler({"message": "a run's end could not be told", "exception": error})

    def cancel(self) -> None:
        """On the loop: it will not begin."""
        self.future.cancel()
        if self.done is not None:
            self._loop.call_soon(self.done, self.future)

    def _comes_first(self) -> bool:
        assert self._first is not None
        return self._first.acquire(blocking=False)

    def _told(self) -> None:
        assert self._outcome is not None
        (tell, what), self._outcome = self._outcome, None
        if not self.future.cancelled():
            tell(what)
        del tell, what  # an exception that `done` raises again has this frame in its traceback: see `RunnerThread._do`
        if self.done is not None:
            self.done(self.future)


class RunnerThread:
    """One thread of a runner, which begins at once. Raises RuntimeError where the system has none to give."""

    def __init__(self, name: str, niceness: int, slice_ns: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._niceness, self._slice_ns = niceness, slice_ns
        self._id: int | None = None
        self._clock: ThreadClock | None = None
        # None: there is nothing more to come.
        self._queue: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        self._ended = False
        # A daemon: a worker that fails before anybody could close this ends all the same.
        self._thread = threading.Thread(target=self._work_off, name=name, daemon=True)
        self._thread.start()

    def start(
        self, work: Callable[[], T], done: Done[T] | None = None, wait_s: float = 0.0
    ) -> asyncio.Future[T]:
        """Its result, or its exception, once all that came before has ended. Raises RuntimeError after `end`.

        done: called with it on the loop as soon as that hears of it: a callback of the future's own would be called by
        the loop's next turn. wait_s: for so long the loop stands still for its end, of which it then hears in here.
        """
        if self._ended:
            raise RuntimeError("runner: expected work before its end, got some after it")
        job = _Job(self._loop, work, done, wait_s > 0)
        self._queue.put(job)
        if wait_s > 0:
            job.wait(wait_s)
        return job.future

    # --- In the thread -----------------------------------------------------------------------------------------------
    def _work_off(self) -> None:
        try:
            schedule_thread(self._slice_ns, self._niceness)
        except Exception:  # it runs as urgent as the system has it, or nobody would be answered
            log.exception("a runner's thread could not be scheduled as it should be")
        self._id = threading.get_native_id()
        self._clock = ThreadClock(self._id)
        while (next_one := self._queue.get()) is not None:
            self._do(next_one)
            del next_one  # what it holds must not wait for the one after it

    def _do(self, job: _Job[Any]) -> None:
        tell: Callable[[Any], None] = job.future.set_result
        what: Any = None
        try:
            if not job.future.cancelled():
                what = job.work()
        except BaseException as error:  # noqa: BLE001  # whatever it is, whoever waits is told
            tell, what = job.future.set_exception, error
        try:
            job.end(tell, what)
        finally:
            # An exception's traceback has this frame, which had the exception: a circle that nobody collects for long.
            del job, tell, what

    def computed_ns(self) -> int:
        """What it has computed since it began; to be called in it."""
        return time.thread_time_ns()

    # --- On the loop's ----------------------------------------------------------------------------------------------
    def time(self) -> ThreadTime | None:
        """What it had of the processor, and waited for; None where nobody tells, or it has not begun yet."""
        return None if self._clock is None else self._clock.read()

    def slow_down(self, niceness: int) -> None:
        """Whoever else wants the core goes before its work from now on, for good: see `Runner.replace`."""
        if self._id is not None:
            add_niceness(niceness, self._id)

    def end(self, *, cancel: bool = False) -> None:
        """Nothing more will come. cancel: nor does it begin what has come already."""
        self._ended = True
        while cancel:
            try:
                waiting = self._queue.get_nowait()
            except Empty:
                break
            if waiting is not None:
                waiting.cancel()
        self._queue.put(None)

    def join(self) -> None:
        """Returns once it has ended. From any thread but itself."""
        self._thread.join()

    def close_clock(self) -> None:
        """Once it has ended."""
        if self._clock is not None:
            self._clock.close()


class Runner:
    """Runs work off the loop. Made on the loop's thread. niceness, slice_ns: of its thread, see `schedule_thread`."""

    def __init__(self, name: str = "roost-runner", niceness: int = 0, slice_ns: int = USUAL_SLICE_NS) -> None:
        self._name, self._niceness, self._slice_ns = name, niceness, slice_ns
        self._earlier = NO_TIME
        self._replaced: RunnerThread | None = None
        self._closed = False
        self.thread = self._begun()

    def time(self) -> ThreadTime | None:
        """What its threads had of the processor, and waited for; None where nobody tells, or one has not begun yet."""
        now = self.thread.time()
        return None if now is None else self._earlier + now

    def replace(self, thread: RunnerThread) -> None:
        """What comes from now on runs in another thread, as urgent as this one was; what came before goes first.

        A thread that was slowed down can't go back without privileges. Where it is not this runner's any more, or the
        system has no other, nothing happens.
        """
        if self._closed or thread is not self.thread:
            return
        try:
            successor = self._begun()
        except RuntimeError:
            log.warning("no thread for a canary's runs: they go on in one that all others go before", exc_info=True)
            return
        self._earlier += thread.time() or NO_TIME
        self._replaced, self.thread = thread, successor
        thread.end()
        successor.start(thread.join).add_done_callback(lambda _: thread.close_clock())

    def _begun(self) -> RunnerThread:
        return RunnerThread(self._name, self._niceness, self._slice_ns)

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work()`, which runs in the runner's thread, or its exception."""
        return await self.thread.start(work)

    def start(self, work: Callable[[], T], done: Done[T] | None = None, wait_s: float = 0.0) -> asyncio.Future[T]:
        """Like `run`, without waiting. done, wait_s: see `RunnerThread.start`."""
        return self.thread.start(work, done, wait_s)

    def close(self, *, wait: bool = True) -> None:
        """Ends the thread after the work at hand, and waits for that where it is told to."""
        self._closed = True
        threads = [thread for thread in (self._replaced, self.thread) if thread is not None]
        for thread in threads:
            thread.end(cancel=True)
        for thread in threads if wait else ():
            thread.join()
            thread.close_clock()
