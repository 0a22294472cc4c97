"""The dynamic batcher: when a batch is sealed, where it runs, and who is told.

"Natural batching": while one batch computes, the next one gathers; when the runner is free, what has gathered runs.
Kernels put rows into arenas and take answers out of them (`native.batch`), so this code runs once per batch.
Used by the worker's process, which makes one `BatchLoop`; both listeners feed it: the fast lane through kernels, Python
callers through `Batcher.submit`. Always: one batch runs at a time on each side, each caller is told exactly once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from native.batch.finish import collect_finished, finish_arena
from native.batch.layout import (
    ARENA_GATHERING,
    ARENA_MODEL,
    ARENA_OPENED_NS,
    ARENA_REQUESTS,
    ARENA_ROWS,
    ARENA_RUNS_AS,
    ARENA_STATE,
    NO_ARENA,
)
from native.batch.memory import BatchMemory
from native.batch.seal import free_arena, next_arena, take_arena
from native.http2.refusals import DEADLINE_PASSED, NO_TRAFFIC
from native.lane.layout import LANE_NOW_NS, LANE_QUEUED_ROWS, LANE_SHADOWS, LANE_TOUCHED_COUNT, NO_CONNECTION
from native.plane.counters import BATCHES_INLINE, BATCHES_TRIAL
from native.plane.routing import EVENT_ERROR, NO_SEAT, RUNNING_MAIN, RUNNING_MAIN_GENERATION, SEATS_MAX, STATES
from native.route.layout import MAIN, TRIAL
from native.route.outcomes import count_outcome
from server.settings import BatchingSettings, TrialSettings
from server.worker.costs import CostModel
from server.worker.models.bindings import Run
from server.worker.models.served import ServedModel
from server.worker.place import Place
from server.worker.python_callers import PythonCallers
from server.worker.recording import Recorder
from server.worker.runner import Runner
from server.worker.shadowing import Shadows
from server.worker.sides import Side
from server.worker.status import Code, StatusError, status_of
from server.worker.threaded import ThreadedBatches
from server.worker.watchdog import Watchdog

Array = npt.NDArray[Any]
NS_PER_US = 1000
# Requests of a batch, in the moving mean over all batches, from which on a loop is taken to be busy, and a stable's
# answers wait for a canary's. One that rests hears of the canary's end soon enough.
BUSY_REQUESTS = 3.0
NEWEST_SHARE = 1 / 12


class Answers(Protocol):
    """Whoever brings rows through kernels, and takes their answers to connections."""

    def answer_batch(self, arena: int, *, hold: bool = False) -> None:
        """hold: what it can is sent by the next `flush`, or with the next batch's answers."""

    def flush(self) -> None: ...

    def fail(self, slot: int, error: StatusError) -> None: ...

    def refuse(self, slots: npt.NDArray[np.int64], count: int, refusal: int) -> None: ...


class BatchLoop:
    """Runs the batches of all batchable models of a worker: stables on one side, canaries and shadows on the other.

    MAIN batches run on the loop or in the runner's thread, TRIAL batches in threads of their own, one at a time, so
    that a canary that is slow, or never ends, holds nobody up but its own callers. See `sides`, `watchdog`, and
    `brief_waits`: a canary that is known to be quick is answered in the same turn.

    memory: whose places are filled by `put`. publish: called once per batch, after its answers.
    """

    def __init__(
        self,
        memory: BatchMemory,
        runner: Runner,
        trial_runner: Runner,
        patient_runner: Runner,
        settings: BatchingSettings,
        trial: TrialSettings,
        publish: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._memory = memory
        self._words = memory.words
        self._peek = memory.words.data  # plain ints, cheaper than numpy's
        self._runs_as = memory.seats["runs_as"]
        self._publish = publish
        self._delay_ns = settings.max_queue_delay_us * NS_PER_US
        self._inline_ns_max = settings.inline_cost_us_max * NS_PER_US
        self.watchdog = Watchdog(self._loop, trial)
        trials = Side(TRIAL, trial_runner, self.watchdog, patient=patient_runner)
        self.sides = Side(MAIN, runner, self.watchdog), trials
        self._places: list[Place | None] = [None] * SEATS_MAX
        # Where the plane is told what runs; without one, nowhere.
        self._running_words = np.zeros(STATES, dtype=np.int64).data
        self._scheduled = False
        self._delayed: asyncio.TimerHandle | None = None
        self.callers = PythonCallers(memory, self.wake)
        self.answers: Answers | None = None
        self.recorder: Recorder | None = None
        self._models: dict[int, ServedModel] = {}
        self._threaded = ThreadedBatches(memory, self.sides, self._places, self._finish, self._tell, self.wake)
        self._busy = self._threaded.running  # by side
        self._requests_mean = 0.0
        # Whether there are answers of this turn with which a canary's are to go.
        self._held = False
        self._shadows = Shadows(memory, self.sides[TRIAL], self._models, self._busy, self._threaded.expected_ns)

    def attach(self, worker_routing: npt.NDArray[np.int64]) -> None:
        """From now on what runs is written to this worker's block, and so are runs that had to be ended."""
        self._running_words = worker_routing.data
        self.watchdog.attach(worker_routing)
        for side in self.sides:
            side.attach(worker_routing)

    def put(self, seat: int, generation: int, model: ServedModel) -> None:
        """Batches of this seat are its model's from now on."""
        rows_max = self._memory.directory.model(seat).max_rows
        self._places[seat] = Place(generation, rows_max, model.session.bindings(), model.counter)
        self._models[seat] = model

    def remove(self, seat: int) -> None:
        """Nothing of this seat is under way, and nothing will come. Its bindings go as its session is closed."""
        self._places[seat] = None
        del self._models[seat]

    @property
    def stood_still_ns(self) -> int:
        """For how long the loop has stood still for canaries' batches, in all."""
        return self._threaded.stood_still_ns

    def costs(self, seat: int) -> CostModel:
        """What batches of a seat's model cost."""
        return self._place(seat).costs

    def _place(self, seat: int) -> Place:
        place = self._places[seat]
        assert place is not None, seat
        return place

    def close(self) -> None:
        """Ends the batches that run, if any do: nobody waits for them any more."""
        for place in self._places:
            if place is not None:
                place.bindings.terminate()
        self._shadows.give_way()

    def wake(self) -> None:
        """Rows may be waiting: run batches as soon as the sockets that are readable now have been read."""
        if not self._scheduled and not all(self._busy):
            self._scheduled = True
            self._loop.call_soon(self.run)

    def run(self) -> None:
        """Runs what has gathered, unless a batch runs already, whose end looks again, or more rows are waited for."""
        self._scheduled = False
        if self._delayed is not None:
            self._delayed.cancel()
            self._delayed = None
        try:
            self._run_sides()
        finally:
            if self._held:
                self._held = False
                if self.answers is not None and self._peek[LANE_TOUCHED_COUNT]:
                    self.answers.flush()

    def _run_sides(self) -> None:
        if not self._busy[MAIN]:
            arena = next_arena(self._words, MAIN)
            if arena != NO_ARENA:
                self._run_main(arena)
        if self._busy[TRIAL]:
            self.sides[TRIAL].withdraw_unwanted()
        if not self._busy[TRIAL] and self._peek[LANE_QUEUED_ROWS]:
            arena = next_arena(self._words, TRIAL)
            if arena != NO_ARENA:
                self._run_trial(arena)
        elif self._shadows.running and next_arena(self._words, TRIAL) != NO_ARENA:
            self._shadows.give_way()

    def _run_main(self, arena: int) -> None:
        words = self._memory.arena_words
        now_ns = time.monotonic_ns()
        seat, wanted_rows = words[arena, ARENA_MODEL], words[arena, ARENA_ROWS]
        run_as = self._runs_as[seat]  # by whose costs it is judged, too
        place = self._places[run_as if run_as != NO_SEAT else seat]
        assert place is not None
        if self._delay_ns and words[arena, ARENA_STATE] == ARENA_GATHERING and wanted_rows < place.rows_max:
            left_ns = words[arena, ARENA_OPENED_NS] + self._delay_ns - now_ns
            if left_ns > 0:
                # Not `_scheduled`: rows that fill the batch meanwhile, or another model's, look again.
                self._delayed = self._loop.call_later(left_ns / 1e9, self.run)
                return
        cost_ns = place.costs.predict_ns(wanted_rows)
        rows = self._take(arena, now_ns, cost_ns, wanted_rows, place)
        if rows == 0:
            return
        run_as = words[arena, ARENA_RUNS_AS]
        run = place.bindings.kept.get((arena, rows)) if run_as == seat else None
        if run is None:
            run = self._bound(arena, seat, rows)
        if place.counter is not None:
            place.counter.note(self._words, MAIN, arena)
        if cost_ns <= self._inline_ns_max:
            running = self._running_words
            running[RUNNING_MAIN_GENERATION] = place.generation
            running[RUNNING_MAIN] = run_as + 1
            started_ns = time.monotonic_ns()
            failure = run()
            elapsed_ns = time.monotonic_ns() - started_ns
            running[RUNNING_MAIN] = 0
            self._finish(arena, run_as, rows, elapsed_ns, failure, BATCHES_INLINE)
        else:
            self._threaded.start(arena, run_as, rows, run, MAIN)

    def _run_trial(self, arena: int) -> None:
        words = self._memory.arena_words
        wanted_rows, seat = words[arena, ARENA_ROWS], words[arena, ARENA_MODEL]
        place = self._place(seat)
        cost_ns = place.costs.predict_ns(wanted_rows)
        rows = self._take(arena, time.monotonic_ns(), cost_ns, wanted_rows, place)
        if rows == 0:
            return
        run_as = words[arena, ARENA_RUNS_AS]
        wait_ns = self._threaded.wait_ns(run_as, rows) if self._held else 0
        self._threaded.start(arena, run_as, rows, self._bound(arena, seat, rows), TRIAL, wait_ns)

    def _goes_with_trial(self, where: int) -> bool:
        """Whether this batch's answers are to leave with those of the next one, a canary's. where: it ran."""
        if where != BATCHES_INLINE or self._busy[TRIAL] or self._requests_mean < BUSY_REQUESTS:
            return False
        words = self._memory.arena_words
        trial = next_arena(self._words, TRIAL)
        return trial != NO_ARENA and self._threaded.wait_ns(words[trial, ARENA_MODEL], words[trial, ARENA_ROWS]) > 0

    def _bound(self, arena: int, seat: int, rows: int) -> Run:
        """The run of a taken arena of this seat, by the seat that runs it now."""
        run_as = self._memory.arena_words[arena, ARENA_RUNS_AS]
        bindings = self._place(run_as).bindings
        if run_as == seat:
            return bindings.kept.get((arena, rows)) or bindings.bind(arena, rows, *self._memory.arena_columns(arena))
        # The traffic of these rows went elsewhere while they waited. Not kept: the arena is another seat's.
        return bindings.bind_rows(0, rows, *self._memory.arena_columns(arena))

    def _take(self, arena: int, now_ns: int, cost_ns: int, wanted_rows: int, place: Place) -> int:
        """Hands the arena to a runner: its rows, 0 where nobody waits any more, and the arena is free again."""
        refused = take_arena(self._words, arena, now_ns, cost_ns, self._memory.refused)
        has_traffic = self._memory.arena_words[arena, ARENA_RUNS_AS] != NO_SEAT
        if refused:
            self._refuse(refused, DEADLINE_PASSED if has_traffic else NO_TRAFFIC)
        rows: int = self._memory.arena_words[arena, ARENA_ROWS]
        self._requests_mean += (self._memory.arena_words[arena, ARENA_REQUESTS] - self._requests_mean) * NEWEST_SHARE
        if rows == 0:
            if refused and has_traffic:
                place.costs.doubt(wanted_rows)
            free_arena(self._words, arena)
            self.wake()
        return rows

    def _offer_shadow(self, seat: int, arena: int, rows: int, where: int) -> None:
        counter = self._place(seat).counter
        buckets = None if counter is None else counter.buckets(TRIAL if where == BATCHES_TRIAL else MAIN, rows)
        self._shadows.offer(seat, arena, rows, buckets, self.wake)

    def _finish(self, arena: int, seat: int, rows: int, elapsed_ns: int, failure: Exception | None, where: int) -> None:
        """A batch has run: its callers are told. One that failed is run again, each request by itself."""
        if failure is None:
            place = self._place(seat)
            place.costs.observe(rows, elapsed_ns)
            # What ran in a thread was counted there. Here it costs nobody's answer any time.
            counter = place.counter if where == BATCHES_INLINE else None
            recorder = self.recorder
            if self.callers.came or self.answers is None:
                if self._peek[LANE_SHADOWS]:
                    self._offer_shadow(seat, arena, rows, where)
                if counter is not None:
                    counter.count(MAIN, 0, rows)
                if recorder is not None:
                    recorder.offer(self._models[seat], seat, arena, rows)
                self._tell(arena, seat, where, {})
            else:
                # The fast lane's every batch: nothing here but what it takes.
                self._held = self._peek[LANE_QUEUED_ROWS] > 0 and self._goes_with_trial(where)
                self.answers.answer_batch(arena, hold=self._held)
                if self._peek[LANE_SHADOWS]:
                    self._offer_shadow(seat, arena, rows, where)
                if counter is not None:
                    counter.count(MAIN, 0, rows)
                if recorder is not None:
                    recorder.offer(self._models[seat], seat, arena, rows)
                self._release(arena, where)
            return
        slots = self._memory.arena_requests(arena)
        if len(slots) == 1:
            self._tell(arena, seat, where, {slots[0]: failure})
        else:
            self._threaded.start_apart(arena, seat, slots, TRIAL if where == BATCHES_TRIAL else MAIN)

    def _tell(
        self, arena: int, seat: int, where: int, failures: Mapping[int, Exception], event: int = EVENT_ERROR
    ) -> None:
        """Tells everybody who waits for a batch, of whatever kind. event: what a failure counts as."""
        for slot in failures:
            count_outcome(self._words, slot, event)
            self._memory.slots[slot]["status"] = Code.INTERNAL  # it was counted
        if self.answers is not None:
            for slot, failure in failures.items():
                if self._memory.slots[slot]["connection"] != NO_CONNECTION:
                    self.answers.fail(slot, status_of(failure))
            self.answers.answer_batch(arena)
        # Slots of Python callers, whoever still waits for them: none in a worker that only the fast lane feeds.
        if self.callers.came:
            self._words[LANE_NOW_NS] = time.monotonic_ns()
            finished = collect_finished(self._words, arena)
            if finished:
                self.callers.tell(arena, seat, finished, failures)
        self._release(arena, where)

    def _release(self, arena: int, where: int) -> None:
        """Frees the arena of a batch whose callers were told, and goes on with the next."""
        finish_arena(self._words, arena, where)
        self._publish()
        if self._peek[LANE_QUEUED_ROWS]:
            self.wake()

    def _refuse(self, count: int, refusal: int) -> None:
        """Tells callers whose rows are not run. refusal: DEADLINE_PASSED or NO_TRAFFIC."""
        self.callers.refuse(self._memory.refused[:count], refusal)
        if self.answers is not None:
            self.answers.refuse(self._memory.refused, count, refusal)
