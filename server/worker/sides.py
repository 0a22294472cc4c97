"""The two sides on which models run: stables on one, canaries and shadows on the other, each with a thread of its own.

Used by whoever runs a model off the worker's loop: batches, shadows, calls by themselves. Always: what runs in a side's
thread is named in the plane from just before it begins until it has ended, so that a worker that dies names its
culprit; its watch begins with it, so that nobody is blamed for waiting behind another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
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
from server.worker.watchdog import Watch, Watchdog

T = TypeVar("T")

# By side: where the plane is told what runs. The generation is the next word.
RUNNING_WORDS = (RUNNING_MAIN, RUNNING_TRIAL)
assert (RUNNING_MAIN_GENERATION, RUNNING_TRIAL_GENERATION) == (RUNNING_WORDS[MAIN] + 1, RUNNING_WORDS[TRIAL] + 1)


@dataclass(frozen=True, slots=True)
class Work:
    """What is about to run. predicted_ns: how long that is expected to take; end: ends it, from another thread."""

    seat: int
    generation: int
    predicted_ns: int
    end: Callable[[], None]


class Side:
    """One side's thread. side: MAIN or TRIAL."""

    def __init__(self, side: int, runner: Runner, watchdog: Watchdog) -> None:
        self._loop = asyncio.get_running_loop()
        self._side = side
        self._runner = runner
        self._watchdog = watchdog
        # Without a plane, nobody is told.
        self._words = np.zeros(STATES, dtype=np.int64).data

    def attach(self, worker_routing: npt.NDArray[np.int64]) -> None:
        """From now on what runs is written to this worker's block."""
        self._words = worker_routing.data

    def start(self, work: Work, run: Callable[[], T]) -> tuple[asyncio.Future[T], Watch]:
        """Runs in the side's thread, after what came before. Cancel the watch when the future is done."""
        watch = self._watchdog.watch(
            self._side, work.seat, work.generation, work.predicted_ns, work.end, self._waited_ns
        )
        return self._runner.start(lambda: self._named(work, run, watch.begin)), watch

    def start_unwatched(self, work: Work, run: Callable[[], T]) -> asyncio.Future[T]:
        """For work whose length nobody can tell, and whose caller sees to its end."""
        return self._runner.start(lambda: self._named(work, run, None))

    def _waited_ns(self) -> int:
        """For a core, by the side's thread, since it began."""
        time = self._runner.time()
        return 0 if time is None else time.waited_ns

    def _named(self, work: Work, run: Callable[[], T], begin: Callable[[], None] | None) -> T:
        words, word = self._words, RUNNING_WORDS[self._side]
        words[word + 1] = work.generation
        words[word] = work.seat + 1
        if begin is not None:
            self._loop.call_soon_threadsafe(begin)
        try:
            return run()
        finally:
            words[word] = 0
