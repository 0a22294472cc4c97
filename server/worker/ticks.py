"""Ticks: while others want a worker's core, the system decides a thousand times a second who gets it.

Used by the engine. A worker's loop rests only when there is nothing to read, so that on a busy machine it is always
ready to run, and never wakes up: whoever gets the core in its stead, however nice, keeps it until the clock's next
tick, which is 4 ms away where Linux counts 250 of them a second. That alone was more than a quiet p99. A thread which
wakes up makes the system look sooner; the loop, whose slice is short, goes on then.
Always: it costs nothing where nobody else wants the core; what it takes, where somebody does, is a hundredth or two.
"""

from __future__ import annotations

import threading
import time
from typing import Final

import numpy as np

from native.plane.seqlock import word_release
from native.ticks import tick
from server.scheduling import URGENT_SLICE_NS, schedule_thread
from server.worker.strain import ThreadClock, ThreadTime

PERIOD_US: Final = 1000  # a wake-up costs some 20 us in a virtual machine
WINDOW_NS: Final = 50_000_000
WAITED_SHARE: Final = 0.005  # of a window: others have the core at times
HOLD_NS: Final = 10_000_000_000  # who shares a core comes again; whether the loop waits without ticks tells


class Ticks:
    """Made on the loop's thread. clock: tells what the loop's thread had, and waited for."""

    def __init__(self, clock: ThreadClock | None = None) -> None:
        self._clock = clock or ThreadClock(threading.get_native_id())
        self._going_on = np.zeros(1, dtype=np.int64)
        self._wanted = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._until_ns = 0
        self._looked_ns, self._before = time.monotonic_ns(), self._clock.read()

    @property
    def ticking(self) -> bool:
        return bool(self._going_on[0])

    def look(self, now_ns: int) -> None:
        """A few times a second: begins where the loop waited for its core since the last look, ends after a while."""
        window_ns = now_ns - self._looked_ns
        if window_ns < WINDOW_NS:
            return
        now, before = self._clock.read(), self._before
        self._looked_ns, self._before = now_ns, now
        if self.ticking:
            if now_ns >= self._until_ns:
                self._end()
        elif _waited_ns(before, now) >= WAITED_SHARE * window_ns:
            self._until_ns = now_ns + HOLD_NS
            self._begin()

    def close(self) -> None:
        """Ends the thread, where there is one, and waits for that: a period at most."""
        self._closed = True
        self._end()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()
        self._clock.close()

    def _begin(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._tick, name="roost-ticks", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no thread to give: it is asked again when it is needed again
                return
            self._thread = thread
        word_release(self._going_on, 0, 1)
        self._wanted.set()

    def _end(self) -> None:
        self._wanted.clear()  # first: a thread that comes back waits
        word_release(self._going_on, 0, 0)

    def _tick(self) -> None:
        schedule_thread(URGENT_SLICE_NS)
        while self._wanted.wait() and not self._closed:
            tick(self._going_on, PERIOD_US)


def _waited_ns(before: ThreadTime | None, now: ThreadTime | None) -> int:
    """0 where nobody tells."""
    return 0 if before is None or now is None else now.waited_ns - before.waited_ns
