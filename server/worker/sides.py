"""The two sides on which models run: stables on one, canaries and shadows on the other, each in threads of its own.

Used by whoever runs a model off the worker's loop: batches, shadows, calls by themselves. Always: one thing at a time
runs on a side. It is named in the plane from just before it begins until it has ended, so that a worker that dies names
its culprit; its watch begins with it, so that nobody is blamed for waiting behind another.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from native.plane.routing import (
    RUNNING_MAIN,
    RUNNING_MAIN_GENERATION,
    RUNNING_TRIAL,
    RUNNING_TRIAL_GENERATION,
    STATES,
)
from native.route.layout import MAIN, TRIAL
from server.worker.runner import Runner
from server.worker.watchdog import Watch, Watchdog, Work

T = TypeVar("T")

log = logging.getLogger("roost.worker")

NS_PER_S = 1_000_000_000
LOOK_S_MIN = 0.001  # a loop's timers know no shorter time: they would be due at once, again and again
# By side: where the plane is told what runs. The generation is the next word.
RUNNING_WORDS = (RUNNING_MAIN, RUNNING_TRIAL)
assert (RUNNING_MAIN_GENERATION, RUNNING_TRIAL_GENERATION) == (RUNNING_WORDS[MAIN] + 1, RUNNING_WORDS[TRIAL] + 1)


class Side:
    """One side's threads. side: MAIN or TRIAL. patient: where that runs which is not urgent; None: all is."""

    def __init__(self, side: int, runner: Runner, watchdog: Watchdog, patient: Runner | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._side = side
        self._runner = runner
        self._patient = patient or runner
        self._turn = threading.Lock()
        self._watchdog = watchdog
        # Without a plane, nobody is told.
        self._words = np.zeros(STATES, dtype=np.int64).data
        self._watches: list[Watch] = []
        self._timer: asyncio.TimerHandle | None = None
        self._look_due_s = 0.0

    def attach(self, worker_routing: npt.NDArray[np.int64]) -> None:
        """From now on what runs is written to this worker's block."""
        self._words = worker_routing.data

    def start(
        self,
        work: Work,
        run: Callable[[], T],
        done: Callable[[asyncio.Future[T], Watch], object] | None = None,
        wait_s: float = 0.0,
    ) -> tuple[asyncio.Future[T], Watch]:
        """Runs in its thread of the side, after what came before. Cancel the watch when the future is done.

        done: given the watch, too. wait_s: see `RunnerThread.start`.
        """
        runner = self._runner if work.urgent_ns else self._patient
        watch = self._watchdog.watch(self._side, work, runner)
        self._watches = [other for other in self._watches if not other.over]
        self._watches.append(watch)
        self._look_within(watch.first_look_ns)
        thread = runner.thread

        def watched() -> T:
            watch.begin(thread)
            try:
                return run()
            finally:
                watch.ran()

        told = None if done is None else lambda future: done(future, watch)
        return runner.start(lambda: self._named(work, watched), told, wait_s), watch

    @property
    def taken(self) -> bool:
        """Whether something runs on it now, also in a thread that was replaced."""
        return self._turn.locked()

    def withdraw_unwanted(self) -> None:
        """Ends what is watched and not wanted any more. See `Watch.withdrawn`."""
        for watch in self._watches:
            watch.withdraw_unwanted()

    def start_unwatched(self, work: Work, run: Callable[[], T]) -> asyncio.Future[T]:
        """For work whose length nobody can tell, and whose caller sees to its end."""
        return self._runner.start(lambda: self._named(work, run))

    # --- Looks at what runs: one timer for all, since most runs have ended long before it is due ---------------------
    def _look_within(self, left_ns: int) -> None:
        left_s = max(left_ns / NS_PER_S, LOOK_S_MIN)
        due_s = time.monotonic() + left_s
        if self._timer is None or due_s < self._look_due_s:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(left_s, self._look)
            self._look_due_s = due_s

    def _look(self) -> None:
        self._timer = None
        for watch in self._watches:
            try:
                left_ns = watch.look()
            except Exception:  # the others', and its own next look, are not to depend on it
                log.exception("a run could not be looked at")
                left_ns = watch.first_look_ns
            if left_ns is not None:
                self._look_within(left_ns)

    def _named(self, work: Work, run: Callable[[], T]) -> T:
        """In the thread."""
        words, word = self._words, RUNNING_WORDS[self._side]
        with self._turn:
            words[word + 1] = work.generation
            words[word] = work.seat + 1
            try:
                return run()
            finally:
                words[word] = 0
