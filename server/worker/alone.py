"""Calls that run by themselves: of models whose rows can't share a batch, and of calls without rows.

Used by a served model for each such call. Those of stables run beside batches in the runner's thread; those of canaries
run one at a time in the threads for trials, named in the plane and watched as batches are. Always: a run whose caller
has gone is ended, and keeps its turn until it has; no run begins of a version that has lost its traffic.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeVar

from native.batch.memory import BatchMemory
from native.route.layout import MAIN, ROLE_CANARY, ROLE_STABLE, TRIAL
from server.worker.costs import ROWS_MAX, CostModel
from server.worker.routing import NoTraffic
from server.worker.sides import Side
from server.worker.watchdog import NS_PER_MS, TookTooLong, Watch, Work, urgency_ns

T = TypeVar("T")

# By side: what a seat is that may run there. A canary that became the stable goes on where it began.
ROLES = ((ROLE_STABLE,), (ROLE_CANARY, ROLE_STABLE))
assert (MAIN, TRIAL) == (0, 1)


class AloneRuns:
    """One worker's. sides: by MAIN and TRIAL. costs: learned here, from the elements that calls bring."""

    def __init__(self, memory: BatchMemory, sides: tuple[Side, Side]) -> None:
        self._memory = memory
        self._sides = sides
        # By seat: how long calls took, and for how long they computed.
        self._costs: dict[int, CostModel] = {}
        self._computing: dict[int, CostModel] = {}
        self._turn = asyncio.Lock()
        self._ends: set[Callable[[], None]] = set()
        self._running: Counter[int] = Counter()

    def forget(self, seat: int) -> None:
        """Another model will have this seat."""
        self._costs.pop(seat, None)
        self._computing.pop(seat, None)

    def busy(self, seat: int) -> bool:
        """True while a run of the seat goes on in a thread, also where its caller has gone."""
        return self._running[seat] > 0

    def close(self) -> None:
        """Ends what runs."""
        for end in self._ends:
            end()

    async def run(self, seat: int, size: int, run: Callable[[int], T], end: Callable[[], None]) -> T:
        """The result of `run(side)`, in the thread of the side that the seat is on as its turn comes.

        size: elements of the inputs, which its time is expected from. end: ends it from another thread.
        Raises TookTooLong, and NoTraffic where no route sends anything to the seat any more: its run was ended then, or
        has not begun.
        """
        if self._role(seat) == ROLE_CANARY:
            await self._turn.acquire()
            if self._role(seat) == ROLE_CANARY:
                return await self._tried(seat, size, run, end)
            self._turn.release()
        if self._role(seat) != ROLE_STABLE:
            raise NoTraffic
        # A stable's call may take as long as its caller waits.
        work, timed = self._prepared(seat, size, run, end, MAIN)
        return await self._ended(seat, size, self._sides[MAIN].start_unwatched(work, timed), None, end)

    async def _tried(self, seat: int, size: int, run: Callable[[int], T], end: Callable[[], None]) -> T:
        """A canary's, whose turn it is: gives the turn back."""
        try:
            work, timed = self._prepared(seat, size, run, end, TRIAL)
            future, watch = self._sides[TRIAL].start(work, timed)
        except BaseException:
            self._turn.release()
            raise

        def done(_future: asyncio.Future[tuple[T, int, int]]) -> None:
            watch.cancel()
            self._turn.release()

        future.add_done_callback(done)
        return await self._ended(seat, size, future, watch, end)

    def _role(self, seat: int) -> int:
        return int(self._memory.seats[seat]["role"])

    def _prepared(
        self, seat: int, size: int, run: Callable[[int], T], end: Callable[[], None], side: int
    ) -> tuple[Work, Callable[[], tuple[T, int, int]]]:
        def timed() -> tuple[T, int, int]:
            # In the thread, behind what came before: routes may have moved meanwhile.
            if self._role(seat) not in ROLES[side]:
                raise NoTraffic
            started_ns, computing_since_ns = time.monotonic_ns(), time.thread_time_ns()
            result = run(side)
            return result, time.monotonic_ns() - started_ns, time.thread_time_ns() - computing_since_ns

        generation = int(self._memory.seats[seat]["generation"])
        stable = int(self._memory.routes[self._memory.directory.route_of(seat)]["stable"])
        size = _bounded(size)
        stable_ns = _predicted_ns(self._costs, stable, size)
        # As long as calls of this size took, of this model or of its stable.
        expected_ns = max(_predicted_ns(self._costs, seat, size), stable_ns)
        urgent = urgency_ns(_predicted_ns(self._computing, seat, size), stable_ns)
        return Work(seat, generation, expected_ns, end, lambda: self._role(seat) in ROLES[side], urgent), timed

    async def _ended(
        self,
        seat: int,
        size: int,
        future: asyncio.Future[tuple[T, int, int]],
        watch: Watch | None,
        end: Callable[[], None],
    ) -> T:
        """Waits for a run that was started. The run goes on to its end, whatever becomes of who waits."""
        self._ends.add(end)
        self._running[seat] += 1

        def done(future: asyncio.Future[tuple[T, int, int]]) -> None:
            self._ends.discard(end)
            self._running[seat] -= 1
            if not future.cancelled():
                future.exception()  # of a caller that has gone: nobody else asks for it

        future.add_done_callback(done)
        try:
            result, elapsed_ns, computed_ns = await asyncio.shield(future)
        except asyncio.CancelledError:
            # Its caller has gone or its time is over: the thread must not go on for nobody.
            end()
            raise
        except Exception:
            if watch is not None and watch.withdrawn:
                raise NoTraffic from None  # whoever has it now may answer
            if watch is not None and watch.ended_after_ms is not None:
                self._computing.setdefault(seat, CostModel()).observe(_bounded(size), watch.ended_after_ms * NS_PER_MS)
                raise TookTooLong(watch.ended_after_ms) from None
            raise
        finally:
            del future  # whose exception's traceback has this frame
        self._costs.setdefault(seat, CostModel()).observe(_bounded(size), elapsed_ns)
        self._computing.setdefault(seat, CostModel()).observe(_bounded(size), computed_ns)
        return result


def _predicted_ns(costs: Mapping[int, CostModel], seat: int, size: int) -> int:
    """0 where nothing is known of it, as of no seat."""
    return costs[seat].predict_ns(size) if seat in costs else 0


def _bounded(size: int) -> int:
    return min(max(size, 1), ROWS_MAX)
