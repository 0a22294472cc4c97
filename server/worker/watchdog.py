"""The watchdog: a run that takes too long is ended, and a worker that can't end it is given up.

Used by `sides` for what runs in a thread. A run may take a multiple of what batches like it took, and at least
`trial.watchdog_ms`; on the main side, where a slow model is slow for good, MAIN_PATIENCE times as long at least.
Always: a run that was ended is counted in the plane under its artifact, once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from native.plane.routing import HUNG_COUNT, HUNG_GENERATION, HUNG_SEAT
from native.plane.seqlock import word_release
from native.route.layout import MAIN
from server.settings import TrialSettings
from server.worker.status import Code, StatusError

log = logging.getLogger("roost.worker")

MAIN_PATIENCE = 60
# A run whose thread waited for a core is given that time, up to so many times its limit in all.
STARVED_PATIENCE = 10
NS_PER_MS = 1_000_000


class Watch:
    """One run under watch, from `begin` on. Call `cancel` when it has ended, however it did."""

    def __init__(self, start: Callable[[Watch], asyncio.TimerHandle]) -> None:
        self._start = start
        self.timer: asyncio.TimerHandle | None = None
        self.ended_after_ms: int | None = None

    def begin(self) -> None:
        self.timer = self._start(self)

    def cancel(self) -> int | None:
        """Milliseconds after which the run was ended; None where it ended by itself."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
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

    def watch(
        self,
        side: int,
        seat: int,
        generation: int,
        predicted_ns: int,
        terminate: Callable[[], None],
        waited_ns: Callable[[], int] = lambda: 0,
    ) -> Watch:
        """The watch of a run. terminate: ends it from this thread. waited_ns: by its thread for a core, since it began.

        Time without a core is not the run's fault: on a machine that is overloaded, a canary's thread gets little.
        """
        limit_ms = self.limit_ms(side, predicted_ns)
        begun_s = waited_before_ns = 0.0

        def start(watch: Watch) -> asyncio.TimerHandle:
            nonlocal begun_s, waited_before_ns
            begun_s, waited_before_ns = self._loop.time(), waited_ns()
            return self._loop.call_later(limit_ms / 1000, end, watch)

        def end(watch: Watch) -> None:
            had_ms = (self._loop.time() - begun_s) * 1000
            left_ms = limit_ms - had_ms + (waited_ns() - waited_before_ns) / NS_PER_MS
            if left_ms >= 1 and had_ms < STARVED_PATIENCE * limit_ms:
                watch.timer = self._loop.call_later(left_ms / 1000, end, watch)
                return
            watch.ended_after_ms = limit_ms
            log.error("a run took too long and is ended", extra={"fields": {"seat": seat, "limit_ms": limit_ms}})
            self._note(seat, generation)
            terminate()
            watch.timer = self._loop.call_later(self._settings.watchdog_grace_ms / 1000, give_up)

        def give_up() -> None:
            self._give_up(seat)

        return Watch(start)

    def cannot_end(self, seat: int, generation: int) -> None:
        """Work on this artifact goes on for ever, and nothing can end it: it is counted, and the worker given up."""
        self._note(seat, generation)
        self._give_up(seat)

    def _give_up(self, seat: int) -> None:
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
