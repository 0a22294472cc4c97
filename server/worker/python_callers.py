"""Callers that wait in Python for rows of a batch: those whose calls the servicers answer.

Used by the batch loop, which runs their rows beside those that kernels brought. Always: a slot that was claimed here is
released once, whether its batch ran, was refused, or its caller left; a worker that only the fast lane feeds does
nothing here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from native.batch.commit import add_request, gathering_arena
from native.batch.layout import NO_ARENA
from native.batch.memory import BatchMemory
from native.batch.seal import note_cancelled
from native.http2.refusals import NO_TRAFFIC
from native.lane.layout import LANE_NOW_NS, NO_CONNECTION, NO_SLOT, QUEUED
from native.lane.slots import claim_slot, release_slot
from native.plane.counters import METHOD_OTHER, REFUSAL_QUEUE_FULL, REFUSAL_SLOTS_FULL
from server.worker.routing import NoTraffic, Routed
from server.worker.status import Code, StatusError, deadline_exceeded, status_of

Array = npt.NDArray[Any]


class PythonCallers:
    """memory: the batch loop's. wake: called when rows are waiting. came: whether any ever did."""

    def __init__(self, memory: BatchMemory, wake: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._memory = memory
        self._words = memory.words
        self._wake = wake
        self._waiting: dict[int, asyncio.Future[tuple[dict[str, Array], int]]] = {}
        self.came = False

    async def submit(
        self, model: int, inputs: dict[str, Array], rows: int, deadline_ns: int | None, routed: Routed | None
    ) -> tuple[dict[str, Array], int]:
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
        if routed is None:
            entry["evidence"] = 0
        else:
            for word in ("route", "weight_epoch", "keyed", "evidence"):
                entry[word] = getattr(routed, word)
            entry["key_hash"] = routed.hashed
        add_request(self._words, arena, slot, model, rows)
        waiting: asyncio.Future[tuple[dict[str, Array], int]] = self._loop.create_future()
        self._waiting[slot] = waiting
        self.came = True
        self._wake()
        try:
            return await waiting
        except asyncio.CancelledError:
            self._abandon(slot, waiting)
            raise

    def _abandon(self, slot: int, waiting: asyncio.Future[tuple[dict[str, Array], int]]) -> None:
        """Its caller is gone: the rows are left out, or their answer is dropped."""
        if self._waiting.get(slot) is not waiting:
            return
        del self._waiting[slot]
        entry = self._memory.slots[slot]
        if not entry["cancelled"]:
            entry["cancelled"] = 1
            if entry["state"] == QUEUED:
                note_cancelled(self._words, slot)

    def refuse(self, slots: npt.NDArray[np.int64], refusal: int) -> None:
        """Tells those of these slots that are not a connection's. refusal: DEADLINE_PASSED or NO_TRAFFIC."""
        if not self.came:
            return
        for slot in slots.tolist():
            if self._memory.slots[slot]["connection"] == NO_CONNECTION:
                waiting = self._waiting.pop(slot, None)
                release_slot(self._words, slot)
                if waiting is not None and not waiting.done():
                    waiting.set_exception(
                        NoTraffic() if refusal == NO_TRAFFIC else deadline_exceeded("before its batch could run")
                    )

    def tell(self, arena: int, seat: int, finished: int, failures: Mapping[int, Exception]) -> None:
        """Copies their rows out for the Python callers of a batch, and releases their slots."""
        _inputs, outputs = self._memory.arena_columns(arena)
        names = [tensor.name for tensor in self._memory.directory.model(seat).outputs]
        for slot in self._memory.finished[:finished].tolist():
            waiting = self._waiting.pop(slot, None)
            row, rows = self._memory.rows_of(slot)
            release_slot(self._words, slot)
            if waiting is None or waiting.done():
                continue
            if slot in failures:
                waiting.set_exception(status_of(failures[slot]))
            else:
                own = {name: column[row : row + rows].copy() for name, column in zip(names, outputs, strict=True)}
                waiting.set_result((own, seat))


class Batcher:
    """One model's door to the batch loop, for Python callers."""

    def __init__(self, callers: PythonCallers, model: int) -> None:
        self._callers = callers
        self._model = model

    async def submit(
        self, inputs: dict[str, Array], rows: int, deadline_ns: int | None, routed: Routed | None = None
    ) -> tuple[dict[str, Array], int]:
        """All outputs of these rows, by name, and the seat whose model made them.

        inputs: one array [rows, ...] for each of the model's inputs; rows: 1 to max_batch_size; deadline_ns: monotonic.
        Raises StatusError: RESOURCE_EXHAUSTED where the queue is full, DEADLINE_EXCEEDED, NoTraffic, or what the run
        failed with.
        """
        return await self._callers.submit(self._model, inputs, rows, deadline_ns, routed)
