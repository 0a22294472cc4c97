"""Batches that run off the loop, each in a thread of its side, named in the plane and watched while it runs.

Used by the batch loop for canaries, and for stables whose batches would hold its sockets up. Always: a run that nobody
wants any more, since its version went home, is ended, and its rows wait for whoever has the traffic now.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from native.batch.memory import BatchMemory
from native.batch.seal import put_back
from native.plane.counters import BATCHES_THREADED, BATCHES_TRIAL
from native.plane.routing import EVENT_ERROR, EVENT_TIMEOUT, NO_SEAT
from native.route.layout import MAIN, ROLE_CANARY, ROLE_LAST_SAFE, ROLE_STABLE, TRIAL
from server.worker.models.bindings import Run
from server.worker.place import Place
from server.worker.sides import NS_PER_S, Side
from server.worker.watchdog import NS_PER_MS, TookTooLong, Watch, Work, urgency_ns

T = TypeVar("T")

# By side: what counts a batch that ran in its thread, and what its seat is while that is to go on.
COUNTED_AS = (BATCHES_THREADED, BATCHES_TRIAL)
ROLES = (ROLE_STABLE, ROLE_LAST_SAFE), (ROLE_CANARY, ROLE_STABLE)
assert (MAIN, TRIAL) == (0, 1)


class Finish(Protocol):
    """A batch has run, and took so long. where: a counter, BATCHES_*."""

    def __call__(
        self, arena: int, seat: int, rows: int, elapsed_ns: int, failure: Exception | None, where: int
    ) -> None: ...


class Tell(Protocol):
    """Those who wait for a batch are told. event: what a failure counts as."""

    def __call__(
        self, arena: int, seat: int, where: int, failures: Mapping[int, Exception], event: int = EVENT_ERROR
    ) -> None: ...


class ThreadedBatches:
    """Starts batches on sides, one at a time on each.

    running: by side, whether a batch of its own runs. stood_still_ns: for how long the loop has, in all.
    places: by seat, kept up by the batch loop; wake: it looks again.
    """

    def __init__(
        self,
        memory: BatchMemory,
        sides: tuple[Side, Side],
        places: Sequence[Place | None],
        finish: Finish,
        tell: Tell,
        wake: Callable[[], None],
    ) -> None:
        self._memory = memory
        self._roles, self._runs_as = memory.seats["role"], memory.seats["runs_as"]
        self._sides = sides
        self._places = places
        self._finish, self._tell, self._wake = finish, tell, wake
        self.running = [False, False]
        self.stood_still_ns = 0

    def wait_ns(self, seat: int, rows: int) -> int:
        """For how long the loop may stand still for a canary's batch, see `brief_waits`; 0 where the side is taken."""
        if self._sides[TRIAL].taken:
            return 0
        place = self._place(seat)
        return place.brief_waits.wait_ns(place.computing.predict_ns(rows), self._stable_ns(seat, rows))

    def start(self, arena: int, seat: int, rows: int, run: Run, side: int, wait_ns: int = 0) -> None:
        """Runs a taken arena by a seat's model. wait_ns: for how long the loop stands still for its end."""
        place = self._place(seat)
        counter = place.counter
        if counter is not None and side == TRIAL:
            counter.note(self._memory.words, side, arena)

        def timed() -> tuple[Exception | None, int, int]:
            started_ns, computing_since_ns = time.monotonic_ns(), time.thread_time_ns()
            failure = run()
            elapsed_ns, computed_ns = time.monotonic_ns() - started_ns, time.thread_time_ns() - computing_since_ns
            if failure is None and counter is not None:
                counter.count(side, 0, rows)
            return failure, elapsed_ns, computed_ns

        def ended(result: tuple[Exception | None, int, int], withdrawn: bool) -> None:
            failure, elapsed_ns, computed_ns = result
            if failure is None:
                place.computing.observe(rows, computed_ns)
            if withdrawn and failure is not None:
                self._put_back(arena)
            else:
                self._finish(arena, seat, rows, elapsed_ns, failure, COUNTED_AS[side])

        if not wait_ns:
            self._start(arena, seat, [rows], timed, ended, side)
            place.brief_waits.not_waited()
            return
        began_ns, ran_ns = time.monotonic_ns(), time.thread_time_ns()
        future = self._start(arena, seat, [rows], timed, ended, side, wait_ns)
        # Without what this thread ran meanwhile, such as the answers that it wrote in `ended`.
        self.stood_still_ns += time.monotonic_ns() - began_ns - (time.thread_time_ns() - ran_ns)
        place.brief_waits.waited(over=future.done())

    def start_apart(self, arena: int, seat: int, slots: list[int], side: int) -> None:
        """Runs each call of a batch by itself: one's values may be what failed it, and the others must not pay."""
        columns = self._memory.arena_columns(arena)
        spans = [(slot, *self._memory.rows_of(slot)) for slot in slots]
        place = self._place(seat)

        def each() -> dict[int, Exception]:
            failures = {}
            for slot, first, rows in spans:
                failure = place.bindings.bind_rows(first, rows, *columns)()
                if failure is not None:
                    failures[slot] = failure
                elif place.counter is not None:
                    place.counter.count(side, first, rows)
            return failures

        def ended(failures: dict[int, Exception], withdrawn: bool) -> None:
            if withdrawn and failures:
                self._put_back(arena)
            else:
                self._tell(arena, seat, COUNTED_AS[side], failures)

        self._start(arena, seat, [rows for _slot, _first, rows in spans], each, ended, side)

    def expected_ns(self, seat: int, rows: int) -> int:
        """What a batch of a seat may be expected to take: as long as its stable's, where that is known to be more.

        A canary that nothing is known of is not to be ended for being what its stable is.
        """
        return self._expected_ns(seat, rows, self._stable_ns(seat, rows))

    def _expected_ns(self, seat: int, rows: int, its_stables_ns: int) -> int:
        return max(self._place(seat).costs.predict_ns(rows), its_stables_ns)

    def _stable_ns(self, seat: int, rows: int) -> int:
        """What a batch of its stable may be expected to take; 0 where that is not known."""
        stable = int(self._memory.routes[self._memory.directory.route_of(seat)]["stable"])
        place = self._places[stable] if stable != NO_SEAT else None
        return 0 if place is None else place.costs.predict_ns(rows)

    def _start(
        self,
        arena: int,
        seat: int,
        runs: list[int],
        run: Callable[[], T],
        ended: Callable[[T, bool], None],
        side: int,
        wait_ns: int = 0,
    ) -> asyncio.Future[T]:
        """Runs it in the side's thread, under watch. runs: the rows of each call of the model.

        ended: called with its result, unless it took too long, and whether its version went home meanwhile. A failure
        is nobody's then, however long it took. A success is an answer in the name that the run began in.
        """
        place = self._place(seat)

        def wanted() -> bool:
            # Also where nobody could take its rows over: their callers would be refused.
            return self._roles[seat] in ROLES[side] or self._runs_as[seat] in (seat, NO_SEAT)

        def done(future: asyncio.Future[T], watch: Watch) -> None:
            self.running[side] = False
            ended_after_ms = watch.cancel()
            if watch.withdrawn or ended_after_ms is not None:
                place.bindings.recover()
            if ended_after_ms is not None and not watch.withdrawn:
                for rows in runs:
                    place.computing.observe(rows, ended_after_ms * NS_PER_MS)
                failures = dict.fromkeys(self._memory.arena_requests(arena), TookTooLong(ended_after_ms))
                self._tell(arena, seat, COUNTED_AS[side], failures, EVENT_TIMEOUT)
            else:
                ended(future.result(), watch.withdrawn)

        self.running[side] = True
        expected_ns = computing_ns = stable_ns = 0
        for rows in runs:
            its_stables_ns = self._stable_ns(seat, rows)
            expected_ns += self._expected_ns(seat, rows, its_stables_ns)
            computing_ns += place.computing.predict_ns(rows)
            stable_ns += its_stables_ns
        urgent = urgency_ns(computing_ns, stable_ns)
        work = Work(seat, place.generation, expected_ns, place.bindings.terminate, wanted, urgent)
        future, _watch = self._sides[side].start(work, run, done, wait_ns / NS_PER_S)
        return future

    def _put_back(self, arena: int) -> None:
        put_back(self._memory.words, arena)
        self._wake()

    def _place(self, seat: int) -> Place:
        place = self._places[seat]
        assert place is not None, seat
        return place
