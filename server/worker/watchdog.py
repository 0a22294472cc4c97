"""The watchdog: a run that takes too long is ended, and a worker that can't end it is given up.

Used by `sides` for what runs in a thread. A run may take a multiple of what batches like it took, and at least
`trial.watchdog_ms`; on the main side, where a slow model is slow for good, MAIN_PATIENCE times as long at least. Long
before that a trial's run loses its claim to be as urgent as the stable's.
Always: a run that was ended is counted in the plane under its artifact, once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from native.plane.routing import HUNG_COUNT, HUNG_GENERATION, HUNG_SEAT
from native.plane.seqlock import word_release
from native.route.layout import MAIN, TRIAL
from server.settings import TrialSettings
from server.worker.runner import Runner, RunnerThread
from server.worker.status import Code, StatusError
from server.worker.strain import ThreadTime

log = logging.getLogger("roost.worker")

MAIN_PATIENCE = 60
# A run whose thread waited for a core is given that time, up to so many times its limit in all.
STARVED_PATIENCE = 10
# A canary's run that computes for so many times what its stable's takes, and this at least, is made nicer by so much.
URGENT_MULTIPLE = 3
URGENT_MS = 2
SLOWED_NICENESS = 10
NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Work:
    """What is about to run. predicted_ns: how long that is expected to take; end: ends it, from another thread.

    wanted: whether it is to go on, as routes are now; called on the worker's loop. urgent_ns: for so long a trial's run
    may be as urgent as its stable's; 0: at no time. See `urgency_ns`.
    """

    seat: int
    generation: int
    predicted_ns: int
    end: Callable[[], None]
    wanted: Callable[[], bool]
    urgent_ns: int = 0


def urgency_ns(computing_ns: int, stable_ns: int) -> int:
    """For how long a canary's run may be as urgent as its stable's, which takes `stable_ns`; each 0 where nobody knows.

    0, at no time, where it is known to compute for longer than that, and what its stable takes is known. What a run
    waits for a core must not be in `computing_ns`: who is not urgent waits the longer.
    """
    allowed_ns = max(URGENT_MS * NS_PER_MS, URGENT_MULTIPLE * stable_ns)
    return 0 if computing_ns > allowed_ns and stable_ns else allowed_ns


class Watch:
    """One run under watch: its thread calls `begin` and `ran`, the loop's `look` as often as that asks, and `cancel`
    when it is told that the run has ended, however.

    limit_ms: how long it may take. recover: called once it is over, if it was slowed down. first_look_ns: how long
    after its beginning anybody has to look. withdrawn: whether it was ended because it is not wanted any more.
    """

    def __init__(
        self, side: int, work: Work, limit_ms: int, watchdog: Watchdog, recover: Callable[[RunnerThread], object]
    ) -> None:
        # None once it is over: what they hold of the run must not wait for the next one.
        self._work: Work | None = work
        self._watchdog: Watchdog | None = watchdog
        self._recover = recover
        self._limit_ns = limit_ms * NS_PER_MS
        self._thread: RunnerThread | None = None
        self._begun_ns = self._computed_ns = 0
        self._waited_ns: int | None = None
        self._has_ran = False
        self._slowing = side == TRIAL and work.urgent_ns > 0
        # Before its limit: by then it must be known how long it waited for a core.
        urgent_ns = work.urgent_ns or URGENT_MS * NS_PER_MS
        self.first_look_ns = min(urgent_ns if side == TRIAL else self._limit_ns, self._limit_ns // 2)
        self._grace_ends_ns = 0
        self.slowed: RunnerThread | None = None
        self.ended_after_ms: int | None = None
        self.withdrawn = False

    def begin(self, thread: RunnerThread) -> None:
        """It runs in this thread, which calls this, from now on."""
        self._begun_ns, self._computed_ns = time.monotonic_ns(), thread.computed_ns()
        self._thread = thread  # last: the loop's thread looks at it

    def ran(self) -> None:
        """It has ended, which the loop may hear of only after its next look."""
        self._has_ran = True

    @property
    def over(self) -> bool:
        return self._work is None

    def look(self) -> int | None:
        """Slows it down, ends it, or gives its worker up, where that is due. Nanoseconds until the next look, if any.

        Time without a core is not the run's fault: on a machine that is overloaded, a canary's thread gets little.
        """
        if self._work is None or self._has_ran:
            return None
        if self._thread is None:
            return self.first_look_ns
        now_ns = time.monotonic_ns()
        if self.ended_after_ms is not None:
            return self._look_after_its_end(now_ns)
        had_ns = now_ns - self._begun_ns
        if had_ns < self.first_look_ns:
            return self.first_look_ns - had_ns
        now = self._thread.time()
        if self._waited_ns is None:
            # What the run waited before this, nobody knows any more, nor had the loop a core if it comes late: neither
            # is held against the run.
            self._waited_ns = 0 if now is None else now.waited_ns
            had_ns = self.first_look_ns
            self._begun_ns = now_ns - had_ns
        if had_ns >= self._limit_ns:
            return self._look_at_its_limit(now_ns, had_ns, now)
        left_ns = self._limit_ns - had_ns
        if not self._slowing:
            return left_ns
        # By what it computed: what it waits for a core, nobody is told of before it has one.
        urgent_ns = self._work.urgent_ns
        if had_ns < urgent_ns:
            return min(left_ns, urgent_ns - had_ns)
        if now is not None and now.ran_ns - self._computed_ns < urgent_ns:
            # A run that only waits is looked at less and less often.
            return min(left_ns, max(urgent_ns, had_ns // 2))
        self._thread.slow_down(SLOWED_NICENESS)
        self.slowed, self._slowing = self._thread, False
        return left_ns

    def _look_at_its_limit(self, now_ns: int, had_ns: int, now: ThreadTime | None) -> int:
        assert self._work is not None and self._watchdog is not None and self._waited_ns is not None
        waited_ns = 0 if now is None else now.waited_ns - self._waited_ns
        left_ns = self._limit_ns - had_ns + waited_ns
        if left_ns >= NS_PER_MS and had_ns < STARVED_PATIENCE * self._limit_ns:
            return left_ns
        self.ended_after_ms = self._limit_ns // NS_PER_MS
        grace_ns = self._watchdog.end(self._work, self.ended_after_ms)
        self._grace_ends_ns = now_ns + grace_ns
        return grace_ns

    def _look_after_its_end(self, now_ns: int) -> int | None:
        assert self._work is not None and self._watchdog is not None
        if now_ns < self._grace_ends_ns:
            return self._grace_ends_ns - now_ns
        self._watchdog.give_up(self._work.seat)
        return None

    def withdraw_unwanted(self) -> None:
        """Ends the run where it is not wanted any more. That is held against nobody, unless it goes on even so.

        One that took too long before that is ended already, and stays what it is.
        """
        if self._work is None or self._has_ran or self.withdrawn or self.ended_after_ms is not None:
            return
        if not self._work.wanted():
            self.withdrawn = True
            self._work.end()

    def cancel(self) -> int | None:
        """Milliseconds after which the run took too long and was ended; None where it did not."""
        self._work = self._watchdog = None
        if self.slowed is not None:
            self._recover(self.slowed)
            self.slowed = None
        return self.ended_after_ms


class Watchdog:
    """`hung` is done once a run does not end although it was told to: the worker has to be replaced."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: TrialSettings) -> None:
        self._loop = loop
        self._settings = settings
        self._words: npt.NDArray[np.int64] | None = None
        self.hung: asyncio.Future[None] = loop.create_future()

    def attach(self, worker_routing: npt.NDArray[np.int64]) -> None:
        self._words = worker_routing

    def limit_ms(self, side: int, predicted_ns: int) -> int:
        """How long a run may take that is expected to take `predicted_ns`, 0 where nothing is known."""
        least_ms = self._settings.watchdog_ms * (MAIN_PATIENCE if side == MAIN else 1)
        return max(least_ms, round(self._settings.watchdog_multiple * predicted_ns / NS_PER_MS))

    def watch(self, side: int, work: Work, runner: Runner) -> Watch:
        """The watch of a run in a thread of the runner's."""
        # Not at once: whoever waits for the run is told first.
        return Watch(
            side,
            work,
            self.limit_ms(side, work.predicted_ns),
            self,
            lambda thread: self._loop.call_soon(runner.replace, thread),
        )

    def end(self, work: Work, limit_ms: int) -> int:
        """Ends a run that took too long. Returns for how many nanoseconds it may go on."""
        log.error("a run took too long and is ended", extra={"fields": {"seat": work.seat, "limit_ms": limit_ms}})
        self._note(work.seat, work.generation)
        work.end()
        return self._settings.watchdog_grace_ms * NS_PER_MS

    def cannot_end(self, seat: int, generation: int) -> None:
        """Work on this artifact goes on for ever, and nothing can end it: it is counted, and the worker given up."""
        self._note(seat, generation)
        self.give_up(seat)

    def give_up(self, seat: int) -> None:
        """A run of this seat's goes on though it was told to end."""
        if not self.hung.done():
            log.error("a run does not end: this worker is to be replaced", extra={"fields": {"seat": seat}})
            self.hung.set_result(None)

    def _note(self, seat: int, generation: int) -> None:
        if self._words is not None:
            self._words[HUNG_SEAT] = seat
            self._words[HUNG_GENERATION] = generation
            word_release(self._words, HUNG_COUNT, int(self._words[HUNG_COUNT]) + 1)


class TookTooLong(StatusError):
    """What callers are told whose rows were in a run that was ended."""

    def __init__(self, limit_ms: int) -> None:
        super().__init__(
            Code.UNAVAILABLE,
            f"model: its run was ended after {limit_ms} ms (trial.watchdog_ms, trial.watchdog_multiple). Retry: "
            "another version may answer.",
        )
