"""The dynamic batcher: when a batch is sealed, where it runs, and who is told.

"Natural batching": while one batch computes, the next one gathers; when the runner is free, what has gathered runs.
Kernels put rows into arenas and take answers out of them (`native.batch`), so this code runs once per batch.
Used by the worker's process, which makes one `BatchLoop`; both listeners feed it: the fast lane through kernels, Python
callers through `Batcher.submit`. Always: one batch runs at a time, each waiting caller is told exactly once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from native.batch.commit import add_request, gathering_arena
from native.batch.finish import collect_finished, finish_arena
from native.batch.layout import ARENA_GATHERING, ARENA_MODEL, ARENA_OPENED_NS, ARENA_ROWS, ARENA_STATE, NO_ARENA
from native.batch.memory import BatchMemory
from native.batch.seal import free_arena, next_arena, note_cancelled, take_arena
from native.lane.layout import LANE_NOW_NS, LANE_QUEUED_ROWS, NO_CONNECTION, NO_SLOT, QUEUED
from native.lane.slots import claim_slot, release_slot
from native.plane.counters import BATCHES_INLINE, BATCHES_THREADED, METHOD_OTHER, REFUSAL_QUEUE_FULL, REFUSAL_SLOTS_FULL
from native.route.layout import MAIN
from server.settings import BatchingSettings
from server.worker.costs import CostModel
from server.worker.models.bindings import Run
from server.worker.models.served import ServedModel
from server.worker.runner import Runner
from server.worker.status import Code, StatusError, deadline_exceeded

Array = npt.NDArray[Any]
NS_PER_US = 1000

log = logging.getLogger("roost.worker")


class Answers(Protocol):
    """Whoever brings rows through kernels, and takes their answers to connections."""

    def answer_batch(self, arena: int) -> None: ...

    def fail(self, slot: int, error: StatusError) -> None: ...

    def refuse_expired(self, expired: npt.NDArray[np.int64], count: int) -> None: ...


class BatchLoop:
    """Runs the batches of all batchable models of a worker.

    models: in the order of the memory's directory. publish: called once per batch, after its answers.
    """

    def __init__(
        self,
        memory: BatchMemory,
        models: Sequence[ServedModel],
        runner: Runner,
        settings: BatchingSettings,
        publish: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._memory = memory
        self._words = memory.words
        self._peek = memory.words.data  # plain ints, cheaper than numpy's
        self._rows_max = [model.max_rows for model in memory.directory.models]
        self._runner = runner
        self._publish = publish
        self._delay_ns = settings.max_queue_delay_us * NS_PER_US
        self._inline_ns_max = settings.inline_cost_us_max * NS_PER_US
        self._costs = [CostModel() for _ in models]
        self._bindings = [model.session.bindings() for model in models]
        self._running = False
        self._scheduled = False
        self._delayed: asyncio.TimerHandle | None = None
        self._submitted = False
        self._waiting: dict[int, asyncio.Future[dict[str, Array]]] = {}
        self.answers: Answers | None = None

    def close(self) -> None:
        """Ends the batch that runs, if one does: nobody waits for it any more."""
        for bindings in self._bindings:
            bindings.terminate()

    def wake(self) -> None:
        """Rows may be waiting: run a batch as soon as the sockets that are readable now have been read."""
        if not self._scheduled and not self._running:
            self._scheduled = True
            self._loop.call_soon(self.run)

    def run(self) -> None:
        """Runs what has gathered, unless a batch runs already, whose end looks again, or more rows are waited for."""
        self._scheduled = False
        if self._delayed is not None:
            self._delayed.cancel()
            self._delayed = None
        if self._running:
            return
        arena = next_arena(self._words, MAIN)
        if arena == NO_ARENA:
            return
        words = self._memory.arena_words
        now_ns = time.monotonic_ns()
        model, wanted_rows = words[arena, ARENA_MODEL], words[arena, ARENA_ROWS]
        if self._delay_ns and words[arena, ARENA_STATE] == ARENA_GATHERING and wanted_rows < self._rows_max[model]:
            left_ns = words[arena, ARENA_OPENED_NS] + self._delay_ns - now_ns
            if left_ns > 0:
                # Not `_scheduled`: rows that fill the batch meanwhile, or another model's, look again.
                self._delayed = self._loop.call_later(left_ns / 1e9, self.run)
                return
        cost_ns = self._costs[model].predict_ns(wanted_rows)
        expired = take_arena(self._words, arena, now_ns, cost_ns, self._memory.expired)
        if expired:
            self._refuse_expired(expired)
        rows = words[arena, ARENA_ROWS]
        if rows == 0:
            if expired:
                self._costs[model].doubt(wanted_rows)
            free_arena(self._words, arena)
            self.wake()
            return
        bindings = self._bindings[model]
        run = bindings.kept.get((arena, rows)) or bindings.bind(arena, rows, *self._memory.arena_columns(arena))
        if cost_ns <= self._inline_ns_max:
            started_ns = time.monotonic_ns()
            failure = run()
            self._finish(arena, model, rows, time.monotonic_ns() - started_ns, failure, BATCHES_INLINE)
        else:
            self._run_in_thread(arena, model, rows, run)

    def _run_in_thread(self, arena: int, model: int, rows: int, run: Run) -> None:
        def timed() -> tuple[Exception | None, int]:
            started_ns = time.monotonic_ns()
            failure = run()
            return failure, time.monotonic_ns() - started_ns

        def done(future: asyncio.Future[tuple[Exception | None, int]]) -> None:
            self._running = False
            failure, elapsed_ns = future.result()
            self._finish(arena, model, rows, elapsed_ns, failure, BATCHES_THREADED)

        self._running = True
        self._runner.start(timed).add_done_callback(done)

    def _finish(
        self, arena: int, model: int, rows: int, elapsed_ns: int, failure: Exception | None, where: int
    ) -> None:
        """A batch has run: its callers are told. One that failed is run again, each request by itself."""
        if failure is None:
            self._costs[model].observe(rows, elapsed_ns)
            if self._submitted or self.answers is None:
                self._tell(arena, model, where, {})
            else:
                # The fast lane's every batch: nothing here but what it takes.
                self.answers.answer_batch(arena)
                self._release(arena, where)
            return
        slots = self._memory.arena_requests(arena)
        if len(slots) == 1:
            self._tell(arena, model, where, {slots[0]: failure})
        else:
            self._run_apart(arena, model, where, slots)

    def _run_apart(self, arena: int, model: int, where: int, slots: list[int]) -> None:
        """One request's values may be what failed the batch: the others must not pay for it."""
        columns = self._memory.arena_columns(arena)
        spans = [(slot, *self._memory.rows_of(slot)) for slot in slots]
        bindings = self._bindings[model]

        def each() -> dict[int, Exception]:
            failures = {}
            for slot, first, rows in spans:
                failure = bindings.bind_rows(first, rows, *columns)()
                if failure is not None:
                    failures[slot] = failure
            return failures

        def done(future: asyncio.Future[dict[int, Exception]]) -> None:
            self._running = False
            self._tell(arena, model, where, future.result())

        self._running = True
        self._runner.start(each).add_done_callback(done)

    def _tell(self, arena: int, model: int, where: int, failures: dict[int, Exception]) -> None:
        """Tells everybody who waits for a batch, of whatever kind."""
        if self.answers is not None:
            for slot, failure in failures.items():
                if self._memory.slots[slot]["connection"] != NO_CONNECTION:
                    self.answers.fail(slot, _status_of(failure))
            self.answers.answer_batch(arena)
        # Slots of Python callers, whoever still waits for them: none in a worker that only the fast lane feeds.
        if self._submitted:
            finished = collect_finished(self._words, arena, len(failures))
            if finished:
                self._tell_callers(arena, model, finished, failures)
        self._release(arena, where)

    def _release(self, arena: int, where: int) -> None:
        """Frees the arena of a batch whose callers were told, and goes on with the next."""
        finish_arena(self._words, arena, where)
        self._publish()
        if self._peek[LANE_QUEUED_ROWS]:
            self.wake()

    def _tell_callers(self, arena: int, model: int, finished: int, failures: dict[int, Exception]) -> None:
        """Copies their rows out for the Python callers of a batch, and releases their slots."""
        _inputs, outputs = self._memory.arena_columns(arena)
        names = [tensor.name for tensor in self._memory.directory.model(model).outputs]
        for slot in self._memory.finished[:finished].tolist():
            waiting = self._waiting.pop(slot, None)
            row, rows = self._memory.rows_of(slot)
            release_slot(self._words, slot)
            if waiting is None or waiting.done():
                continue
            if slot in failures:
                waiting.set_exception(_status_of(failures[slot]))
            else:
                waiting.set_result(
                    {name: column[row : row + rows].copy() for name, column in zip(names, outputs, strict=True)}
                )

    def _refuse_expired(self, count: int) -> None:
        expired = self._memory.expired
        for slot in expired[:count].tolist():
            if self._memory.slots[slot]["connection"] == NO_CONNECTION:
                waiting = self._waiting.pop(slot, None)
                release_slot(self._words, slot)
                if waiting is not None and not waiting.done():
                    waiting.set_exception(deadline_exceeded("before its batch could run"))
        if self.answers is not None:
            self.answers.refuse_expired(expired, count)

    async def submit(
        self, model: int, inputs: dict[str, Array], rows: int, deadline_ns: int | None
    ) -> dict[str, Array]:
        """Rows of a Python caller, 1 to the model's max_rows, join the next batch. See `Batcher.submit`."""
        self._words[LANE_NOW_NS] = time.monotonic_ns()
        slot = claim_slot(self._words, NO_CONNECTION)
        if slot == NO_SLOT:
            self._memory.counters[REFUSAL_SLOTS_FULL] += 1
            raise StatusError(
                Code.RESOURCE_EXHAUSTED, "call: all slots of this server are taken (limits.slots_max). Retry later."
            )
        arena = gathering_arena(self._words, model, rows)
        if arena == NO_ARENA:
            release_slot(self._words, slot)
            self._memory.counters[REFUSAL_QUEUE_FULL] += 1
            raise StatusError(
                Code.RESOURCE_EXHAUSTED,
                "model: its queue is full (batching.queue_rows_max). Retry with backoff.",
            )
        first = int(self._memory.arenas[arena]["rows"])
        columns, _outputs = self._memory.arena_columns(arena)
        try:
            for tensor, column in zip(self._memory.directory.model(model).inputs, columns, strict=True):
                column[first : first + rows] = inputs[tensor.name]
        except (KeyError, ValueError, TypeError):
            release_slot(self._words, slot)
            raise
        entry = self._memory.slots[slot]
        entry["method"] = METHOD_OTHER
        entry["deadline_ns"] = deadline_ns or 0
        add_request(self._words, arena, slot, model, rows)
        waiting: asyncio.Future[dict[str, Array]] = self._loop.create_future()
        self._waiting[slot] = waiting
        self._submitted = True
        self.wake()
        try:
            return await waiting
        except asyncio.CancelledError:
            self._abandon(slot, waiting)
            raise

    def _abandon(self, slot: int, waiting: asyncio.Future[dict[str, Array]]) -> None:
        """Its caller is gone: the rows are left out, or their answer is dropped."""
        if self._waiting.get(slot) is not waiting:
            return
        del self._waiting[slot]
        entry = self._memory.slots[slot]
        if not entry["cancelled"]:
            entry["cancelled"] = 1
            if entry["state"] == QUEUED:
                note_cancelled(self._words, slot)


class Batcher:
    """One model's door to the batch loop, for Python callers."""

    def __init__(self, loop: BatchLoop, model: int) -> None:
        self._loop = loop
        self._model = model

    async def submit(self, inputs: dict[str, Array], rows: int, deadline_ns: int | None) -> dict[str, Array]:
        """All outputs of these rows, by name.

        inputs: one array [rows, ...] for each of the model's inputs; rows: 1 to max_batch_size; deadline_ns: monotonic.
        Raises StatusError: RESOURCE_EXHAUSTED where the queue is full, DEADLINE_EXCEEDED, or what the run failed with.
        """
        return await self._loop.submit(self._model, inputs, rows, deadline_ns)


def _status_of(failure: Exception) -> StatusError:
    """What a caller is told of a run that failed. An error that is our own is logged, not told."""
    if isinstance(failure, StatusError):
        return failure
    log.error("a batch failed by an error of the server's own", exc_info=failure)
    return StatusError(Code.INTERNAL, "model: its run failed by an error of the server's own. Its log has the details.")
