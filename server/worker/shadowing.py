"""Shadows: rows that a stable has answered run once more on another version, and nobody waits for that.

Used by the batch loop after a batch was answered. The rows are copied, so that their arena is free at once; they run in
a nice thread for trials while nothing else wants it. Always: a shadow is the first to go. It is offered rows only while
nothing is queued, one batch at a time, and is ended as soon as a canary's batch comes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from native.batch.memory import BatchMemory
from native.lane.layout import LANE_QUEUED_ROWS
from native.plane.routing import EVENT_ERROR, EVENT_NONE, EVENT_TIMEOUT, NO_SEAT
from native.route.layout import ROLE_CANARY, ROLE_SHADOW, ROLE_STABLE, TRIAL
from native.route.outcomes import count_shadow, publish_evidence
from server.worker.models.bindings import RunOptions
from server.worker.models.finite import rows_not_finite
from server.worker.models.served import ServedModel
from server.worker.sides import Side
from server.worker.status import StatusError
from server.worker.watchdog import Watch, Work

Array = npt.NDArray[Any]
Buckets = npt.NDArray[np.uint8]

# What a seat is whose shadow's run goes on.
ROLES = (ROLE_SHADOW, ROLE_CANARY, ROLE_STABLE)

log = logging.getLogger("roost.worker")


class Shadows:
    """Runs batches on shadows. models: those that are loaded, by seat, kept up by the batch loop. busy: by side."""

    def __init__(
        self,
        memory: BatchMemory,
        side: Side,
        models: dict[int, ServedModel],
        busy: list[bool],
        expected_ns: Callable[[int, int], int],
    ) -> None:
        self._memory = memory
        self._side = side
        self._models = models
        self._busy = busy
        self._expected_ns = expected_ns
        self._options: RunOptions | None = None
        self._gave_way = False

    @property
    def running(self) -> bool:
        return self._options is not None

    def offer(
        self, seat: int, arena: int, rows: int, buckets: Buckets | None, done: Callable[[], None]
    ) -> None:
        """A batch of this seat's has been answered: its model's shadow may run it, too. done: when that has ended.

        buckets: uint8[rows], whose the rows are, where the stable counted them. Rows that are not taken are counted as
        skipped.
        """
        route = self._memory.routes[self._memory.directory.route_of(seat)]
        shadow, weight_epoch = int(route["shadow"]), int(route["weight_epoch"])
        if int(route["stable"]) != seat or shadow == NO_SEAT or shadow not in self._models:
            return
        if self._busy[TRIAL] or self._memory.words[LANE_QUEUED_ROWS] > 0:
            count_shadow(self._memory.words, shadow, weight_epoch, rows, EVENT_TIMEOUT, 0)
            return
        columns, _outputs = self._memory.arena_columns(arena)
        names = [tensor.name for tensor in self._memory.directory.model(seat).inputs]
        inputs = {name: column[:rows].copy() for name, column in zip(names, columns, strict=True)}
        self._begin(shadow, weight_epoch, inputs, rows, buckets, done)

    def give_way(self) -> None:
        """A canary's batch waits: what a shadow runs is ended."""
        if self._options is not None:
            self._gave_way = True
            self._options.terminate()

    def _begin(
        self,
        seat: int,
        weight_epoch: int,
        inputs: dict[str, Array],
        rows: int,
        buckets: Buckets | None,
        done: Callable[[], None],
    ) -> None:
        model = self._models[seat]
        options = self._options = model.session.run_options()
        self._gave_way = False
        model.running += 1

        def run() -> tuple[int, int]:
            try:
                outputs = model.session.run(inputs, options)
            except StatusError:
                return EVENT_ERROR, 0
            # Rows of which nobody knows whose they are would be taken for strangers': they are left out.
            if model.counter is not None and buckets is not None:
                model.counter.count_arrays(TRIAL, {**inputs, **outputs}, buckets)
            return EVENT_NONE, rows_not_finite(model.signature.outputs, outputs, rows)

        def wanted() -> bool:
            return int(self._memory.seats[seat]["role"]) in ROLES

        def ended(future: asyncio.Future[tuple[int, int]], watch: Watch) -> None:
            watch.cancel()
            self._busy[TRIAL] = False
            model.running -= 1
            self._options = None
            error = future.exception()
            if error is not None:
                log.error("a shadow's run failed by an error of the server's own", exc_info=error)
            outcome, non_finite = (EVENT_ERROR, 0) if error is not None else future.result()
            if outcome == EVENT_ERROR and (self._gave_way or watch.withdrawn):
                outcome = EVENT_TIMEOUT  # ended for a canary, or for good, which says nothing about the model
            count_shadow(self._memory.words, seat, weight_epoch, rows, outcome, non_finite)
            publish_evidence(self._memory.words)  # there may be no batch after it for long
            done()

        self._busy[TRIAL] = True
        generation = int(self._memory.seats[seat]["generation"])
        work = Work(seat, generation, self._expected_ns(seat, rows), options.terminate, wanted)
        self._side.start(work, run, ended)
