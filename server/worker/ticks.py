"""Ticks: while others want a worker's core, the system decides thousands of times a second who gets it.

Used by the engine. A worker's loop that never sleeps is woken up by nobody: whoever gets the core in its stead, however
nice, keeps it until the clock's next tick, 4 ms where Linux counts 250 of them a second, which alone was more than a
quiet p99. One that sleeps at times interrupts others as it wakes up, but not always: not where it ran just before,
since Linux owes it nothing then (EEVDF, sched(7)); it waits as long, which doubled p99 beside a canary that hung.
A thread that wakes up on the same core makes the system look again; the loop, whose slice is short, goes on then.
Always: nobody begins to tick where a loop got its core whenever it wanted, nor for one that has little to do. A tick
takes 15 to 20 us in a virtual machine, a twentieth of the core in all.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from typing import Final

import numpy as np

from native.plane.seqlock import word_release
from native.ticks import tick
from server.scheduling import URGENT_SLICE_NS, schedule_thread
from server.worker.strain import ThreadClock

log = logging.getLogger("roost.worker")

# A millisecond without its core doubles a quick model's p99. The same for a loop that never sleeps: half of what it
# could do keeps it awake all the time, so that being awake does not say that it has no core to spare.
PERIOD_US: Final = 400
WINDOW_NS: Final = 50_000_000
WANTED_SHARE: Final = 0.05  # of a window, in which the loop ran or wanted to: as much as ticks cost
WAITED_SHARE: Final = 0.005  # of a window: others have the core at times
HOLD_NS: Final = 10_000_000_000  # who shares a core comes again; whether the loop waits without ticks tells
JOIN_S: Final = 1.0


class Ticks:
    """Made on the loop's thread, as it is that thread's core. clock: tells what that thread had, and waited for."""

    def __init__(self, now_ns: int, clock: ThreadClock | None = None) -> None:
        self._clock = clock or ThreadClock(threading.get_native_id())
        self._core_now = getattr(ctypes.CDLL(None), "sched_getcpu", None)
        self._period_us = np.zeros(1, dtype=np.int64)
        self._wanted = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._core = -1
        self._until_ns = 0
        self._looked_ns, self._before = now_ns, self._clock.read()

    @property
    def ticking(self) -> bool:
        return bool(self._period_us[0])

    def look(self, now_ns: int) -> None:
        """On the loop's thread, about once in WINDOW_NS; what comes sooner does nothing.

        Begins where the loop had work and waited for its core since the last look, ends HOLD_NS later.
        """
        window_ns = now_ns - self._looked_ns
        if window_ns < WINDOW_NS:
            return
        now, before = self._clock.read(), self._before
        self._looked_ns, self._before = now_ns, now
        waited_ns = wanted_ns = 0
        if before is not None and now is not None:  # else nobody tells, and all stays as it is
            waited_ns = now.waited_ns - before.waited_ns
            wanted_ns = waited_ns + now.ran_ns - before.ran_ns
        if self.ticking:
            if now_ns >= self._until_ns:
                self._end()
            else:
                self._follow_loop()
        elif wanted_ns >= WANTED_SHARE * window_ns and waited_ns >= WAITED_SHARE * window_ns:
            self._until_ns = now_ns + HOLD_NS
            self._begin()

    def close(self) -> None:
        """Ends the thread, where there is one, and waits for that: a period at most."""
        self._closed = True
        self._end()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(JOIN_S)
        self._clock.close()

    def _begin(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._tick, name="roost-ticks", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no thread to give: it is asked again when it is needed again
                return
            self._thread, self._core = thread, -1
        self._follow_loop()
        word_release(self._period_us, 0, PERIOD_US)
        self._wanted.set()

    def _end(self) -> None:
        self._wanted.clear()  # first: a thread that comes back waits
        word_release(self._period_us, 0, 0)

    def _follow_loop(self) -> None:
        """To the core where the loop runs now: on another one it would make the system look at that."""
        core = -1 if self._core_now is None else self._core_now()
        if core in (-1, self._core) or self._thread is None or self._thread.native_id is None:
            return
        try:
            os.sched_setaffinity(self._thread.native_id, {core})
        except OSError:  # it has ended, or may not: then it ticks where it is
            return
        self._core = core

    def _tick(self) -> None:
        try:
            schedule_thread(URGENT_SLICE_NS)
        except Exception:  # it ticks all the same, perhaps for nothing
            log.exception("the thread that ticks could not be scheduled as it should be")
        while self._wanted.wait() and not self._closed:
            tick(self._period_us)
