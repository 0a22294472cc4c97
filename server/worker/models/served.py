"""A model that answers: identity, signature, session, and the way its predictions take.

Made by `loading`, looked up through `table`, asked by the servicers. Always: rows of a batchable model may share a
batch with strangers' rows, those of any other model never do; either way a caller gets its own rows back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from native.plane.routing import EVENT_ERROR, EVENT_NON_FINITE, EVENT_NONE, EVENT_TIMEOUT, NO_SEAT
from native.route.layout import MAIN
from registry_client.baseline.document import Baseline
from registry_client.tensors import Signature
from server.worker.counting import RowCounter, bucket_of_call
from server.worker.models.finite import all_finite
from server.worker.models.session import OnnxSession
from server.worker.routing import NoTraffic, Routed
from server.worker.status import Code, StatusError, deadline_exceeded
from server.worker.watchdog import TookTooLong

Array = npt.NDArray[np.generic]
T = TypeVar("T")

DIGEST_PREFIX_DIGITS = 12
TRIES = 3
# The loop's timers, which see to deadlines, count whole milliseconds and may be early by one.
TIMER_NS = 5_000_000


class Runs(Protocol):
    """Where work is run, told its side. size: elements of the inputs; end: ends it, from another thread."""

    async def run(self, work: Callable[[int], T], size: int, end: Callable[[], None]) -> T: ...


class Batches(Protocol):
    """Gathers rows of many callers: the model's batcher. Gives the outputs, and the seat whose model made them."""

    async def submit(
        self, inputs: dict[str, Array], rows: int, deadline_ns: int | None, routed: Routed | None
    ) -> tuple[dict[str, Array], int]: ...


class Counts(Protocol):
    """Counts what became of calls that run by themselves. took_ns: from the call's being looked at to its answer."""

    def __call__(self, routed: Routed, rows: int, event: int, took_ns: int) -> None: ...


@dataclass(slots=True)
class ServedModel:
    """digest: sha256 in hex of the artifact. batching_note: why not, or "".

    `runner`, `batcher`, `count` and `counter` are put in place by the engine before calls come. `running` counts calls
    that run by themselves: the session stays as long as there are any.
    """

    name: str
    version: str
    digest: str
    signature: Signature
    class_labels: tuple[str | int, ...] | None
    notes: tuple[str, ...]
    batchable: bool
    batching_note: str
    session: OnnxSession
    max_batch_size: int = 1024
    baseline: Baseline | None = None
    runner: Runs | None = None
    batcher: Batches | None = None
    count: Counts | None = None
    counter: RowCounter | None = None
    seat: int = NO_SEAT
    running: int = 0

    @property
    def digest_prefix(self) -> str:
        return self.digest[:DIGEST_PREFIX_DIGITS]

    async def predict(
        self, inputs: Mapping[str, Array], deadline_ns: int | None, routed: Routed | None = None
    ) -> tuple[dict[str, Array], int]:
        """All outputs, checked inputs given, and the seat whose model made them. Raises StatusError.

        That is this model's own seat, unless its traffic went elsewhere while the rows waited.
        """
        if deadline_ns is not None and time.monotonic_ns() >= deadline_ns:
            raise deadline_exceeded("before the model was run")
        rows = self._rows(inputs)
        if self.batcher is None or rows == 0:
            return await self._counted_alone(inputs, deadline_ns, routed), self.seat
        if rows <= self.max_batch_size:
            return await self.batcher.submit(dict(inputs), rows, deadline_ns, routed)
        for _ in range(TRIES):
            parts, seats = await self._in_chunks(self.batcher, inputs, rows, deadline_ns, routed)
            if len(seats) == 1:
                return parts, seats.pop()
        raise StatusError(
            Code.UNAVAILABLE,
            f"inputs: their {rows} rows met a change of versions again and again. Retry, or send fewer.",
        )

    def _rows(self, inputs: Mapping[str, Array]) -> int:
        """Rows that may be batched: 0 for a model whose rows are not independent, and for a call without any."""
        return int(next(iter(inputs.values())).shape[0]) if self.batchable and inputs else 0

    async def _counted_alone(
        self, inputs: Mapping[str, Array], deadline_ns: int | None, routed: Routed | None
    ) -> dict[str, Array]:
        """Runs a call by itself. One that was never begun says nothing about the model, and is not counted."""
        started_ns = time.monotonic_ns()
        run = _Run(self.session, inputs, deadline_ns, self.counter, routed)
        event = EVENT_NONE
        self.running += 1
        try:
            outputs = await self._run_alone(run)
            if not all(all_finite(spec, outputs[spec.name]) for spec in self.signature.outputs):
                event = EVENT_NON_FINITE
            return outputs
        except TookTooLong:
            event = EVENT_TIMEOUT
            raise
        except NoTraffic:
            # Ended, or never begun, because its version went home: whoever answers it now is counted.
            run.begun = False
            raise
        except StatusError:
            event = EVENT_ERROR
            raise
        except asyncio.CancelledError:
            # Ended because its caller's time was over: late. Because its caller has gone: nobody's fault.
            event = EVENT_TIMEOUT if run.is_late(TIMER_NS) else EVENT_NONE
            raise
        finally:
            self.running -= 1
            if self.count is not None and routed is not None and run.begun:
                self.count(routed, 1, event, time.monotonic_ns() - started_ns)

    async def _run_alone(self, run: _Run) -> dict[str, Array]:
        if self.runner is None:
            return run(MAIN)
        return await self.runner.run(run, run.size, run.end)

    async def _in_chunks(
        self, batcher: Batches, inputs: Mapping[str, Array], rows: int, deadline_ns: int | None, routed: Routed | None
    ) -> tuple[dict[str, Array], set[int]]:
        """More rows than a batch holds: as many batches as it takes, put together again. One failure fails the call."""
        starts = range(0, rows, self.max_batch_size)
        chunks = [
            {name: array[start : start + self.max_batch_size] for name, array in inputs.items()} for start in starts
        ]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(
                        batcher.submit(chunk, min(self.max_batch_size, rows - start), deadline_ns, routed)
                    )
                    for start, chunk in zip(starts, chunks, strict=True)
                ]
        except ExceptionGroup as failures:
            # The first failure cancelled the others: it is the call's.
            raise failures.exceptions[0] from None
        parts, seats = zip(*(task.result() for task in tasks), strict=True)
        outputs = {spec.name: np.concatenate([part[spec.name] for part in parts]) for spec in self.signature.outputs}
        return outputs, set(seats)


class _Run:
    """One call's run, to be made in a thread."""

    def __init__(
        self,
        session: OnnxSession,
        inputs: Mapping[str, Array],
        deadline_ns: int | None,
        counter: RowCounter | None,
        routed: Routed | None,
    ) -> None:
        self._session = session
        self._counter = counter
        self._routed = routed
        self._inputs = inputs
        self._deadline_ns = deadline_ns
        self._options = session.run_options()
        self.size = sum(array.size for array in inputs.values())
        self.begun = False

    def __call__(self, side: int) -> dict[str, Array]:
        if self.is_late():
            raise deadline_exceeded("while it waited for the runner")
        self.begun = True
        outputs = self._session.run(self._inputs, self._options)
        if self._counter is not None:
            self._counter.count_arrays(side, {**self._inputs, **outputs}, bucket_of_call(self._routed))
        return outputs

    def is_late(self, early_ns: int = 0) -> bool:
        """Whether its caller's time is up, or will be in so many nanoseconds."""
        return self._deadline_ns is not None and time.monotonic_ns() + early_ns >= self._deadline_ns

    def end(self) -> None:
        """From another thread."""
        self._options.terminate()
