"""The runner's thread: where work runs that would hold up the worker's loop for too long.

One thread for stables and one for canaries, since a worker has one core's worth of work to give. ONNX Runtime lets go
of the GIL while it computes, so the loop goes on reading sockets. Always: work is done in the order in which it came.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from server.scheduling import USUAL_SLICE_NS, schedule_thread
from server.worker.strain import ThreadClock, ThreadTime

T = TypeVar("T")


class Runner:
    """Runs work off the loop. Made on the loop's thread. niceness, slice_ns: of this thread, see `schedule_thread`."""

    def __init__(self, name: str = "roost-runner", niceness: int = 0, slice_ns: int = USUAL_SLICE_NS) -> None:
        self._loop = asyncio.get_running_loop()
        self._niceness, self._slice_ns = niceness, slice_ns
        self._clock: ThreadClock | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name, initializer=self._begin)
        self._thread.submit(int)  # begins the thread now, so that what it holds open does not depend on traffic

    def time(self) -> ThreadTime | None:
        """What its thread had of the processor, and waited for; None where nobody tells, or it has not begun yet."""
        return None if self._clock is None else self._clock.read()

    def _begin(self) -> None:
        """In the thread."""
        schedule_thread(self._slice_ns, self._niceness)
        self._clock = ThreadClock(threading.get_native_id())

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work()`, which runs in the runner's thread, or its exception."""
        return await self._loop.run_in_executor(self._thread, work)

    def start(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Like `run`, without waiting."""
        return self._loop.run_in_executor(self._thread, work)

    def close(self, *, wait: bool = True) -> None:
        """Ends the thread after the work at hand, and waits for that where it is told to."""
        self._thread.shutdown(wait=wait, cancel_futures=True)
        if wait and self._clock is not None:
            self._clock.close()
