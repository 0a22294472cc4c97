"""A worker's engine: runners, batch memory and batch loop, put together for the models that it serves.

Used by the worker's process. Models come (`put`) and go (`take_out`) while calls are answered; which of them answers is
the plane's to say, once `attach` was called. Always: a model whose rows kernels can carry has a queue, whichever
listener brings its calls; every other model goes to a runner call by call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from native.batch.commit import sort_ready
from native.batch.memory import AGE_LIMIT_NS, BatchMemory, Block, QueueBounds
from native.lane.layout import LANE_AGE_LIMIT_NS, LANE_QUEUED_ROWS
from native.plane.routing import EVENT_NONE, EVENT_TIMEOUT
from native.route.choose import decide
from native.route.follow import follow_routes
from native.route.layout import ROLE_LAST_SAFE, ROLE_STABLE
from native.route.outcomes import count_call, evidence_of, publish_evidence
from native.wire.directory import VARIANTS, ModelDirectory, WireModel, WireTensor
from registry_client.tensors import TensorSpec
from server.scheduling import URGENT_SLICE_NS
from server.settings import BatchingSettings, TrialSettings
from server.worker.alone import AloneRuns
from server.worker.batcher import BatchLoop
from server.worker.beside import CountedBeside
from server.worker.counting import RowCounter
from server.worker.memory_limit import MemoryLimit
from server.worker.models.fitting import ARENAS_MIN, fit, row_bytes
from server.worker.models.served import ServedModel
from server.worker.models.table import ModelTable
from server.worker.python_callers import Batcher
from server.worker.routing import Routed, Wish
from server.worker.runner import Runner
from server.worker.strain import LoopClock, Strain
from server.worker.ticks import Ticks

Words = npt.NDArray[np.int64]
T = TypeVar("T")
MakeMemory = Callable[[ModelDirectory, Sequence[QueueBounds], Words], BatchMemory]

ARENAS_MAX = 256
SAFE_ROLES = (ROLE_STABLE, ROLE_LAST_SAFE)
PATIENT_NICENESS = 10  # of shadows, and of canaries known to be slow: on a busy machine they wait, not the stable


class Engine:
    """Runs predictions. Made on the loop's thread; gives every model its runner and, where it batches, its batcher.

    models: served at once, each under its own name, in seats 0, 1, ...; none where `attach` follows.
    """

    def __init__(
        self,
        models: Sequence[ServedModel],
        settings: BatchingSettings,
        counts: Words,
        publish: Callable[[], None],
        make_memory: MakeMemory,
        trial: TrialSettings | None = None,
    ) -> None:
        self._settings = settings
        self._trial = trial or TrialSettings()
        self.runner = Runner(slice_ns=URGENT_SLICE_NS)
        self.trial_runner = Runner("roost-trial")
        self.patient_runner = Runner("roost-patient", niceness=PATIENT_NICENESS)
        for model in models:
            fit(model, settings)
        directory = ModelDirectory([_wire_model(model, route) for route, model in enumerate(models)])
        bounds = [_queue_bounds(model, settings) for model in models]
        self.memory = make_memory(directory, bounds, counts)
        runners = self.runner, self.trial_runner, self.patient_runner
        self.batches = BatchLoop(self.memory, *runners, settings, self._trial, publish)
        self._alone = AloneRuns(self.memory, self.batches.sides)
        self._age_limit_ns = AGE_LIMIT_NS
        self._drift: Callable[[int], Words] | None = None
        self._beside: CountedBeside | None = None
        self._seed = 0
        self._counts = counts
        self._strain: Strain | None = None
        self._ticks: Ticks | None = None
        self._memory_limit: MemoryLimit | None = None
        self._loaded: set[int] = set()  # seats
        self._loading = False
        for seat, model in enumerate(models):
            self._connect(seat, 1, model)

    def attach(
        self,
        table: ModelTable,
        plane_routing: Words,
        worker_routing: Words,
        seed: int,
        age_limit_ms: int,
        drift: Callable[[int], Words] | None = None,
        drift_beside: Callable[[int], Words] | None = None,
    ) -> None:
        """From now on the plane's routes decide who answers, and what becomes of calls is counted as evidence.

        drift: by seat, where this worker counts rows by bin; without it, none are. drift_beside: by model, where it
        counts those of a canary by its stable's bins.
        """
        self._drift, self._seed = drift, seed
        runners = self.runner, self.trial_runner, self.patient_runner
        self._beside = None if drift_beside is None else CountedBeside(self.memory, drift_beside, seed, runners)
        self.memory.attach_routes(plane_routing, worker_routing, seed)
        self._age_limit_ns = age_limit_ms * 1_000_000
        self.memory.fill_words({LANE_AGE_LIMIT_NS: self._age_limit_ns})
        threads = self.runner.time, self.trial_runner.time, self.patient_runner.time
        self._strain = Strain(self.memory.words, self._counts, threads, self._age_limit_ns, self._loop_clock())
        self._ticks = Ticks(time.monotonic_ns(), self._loop_clock())
        self._memory_limit = MemoryLimit(self._trial.worker_memory_bytes_max)
        self.batches.attach(worker_routing)
        table.decide, table.role = self._decide, self._role

    @contextmanager
    def loading(self) -> Iterator[None]:
        """While a version is being loaded: to build a session takes its memory twice, for a moment."""
        self._loading = True
        self._limit_memory()
        try:
            yield
        finally:
            self._loading = False
            self._limit_memory()

    def put(self, seat: int, generation: int, route: int, model: ServedModel) -> None:
        """A model is loaded and warm: it answers as soon as the plane's routes name this artifact."""
        fit(model, self._settings)
        self.memory.set_model(seat, _wire_model(model, route), _queue_bounds(model, self._settings))
        self._connect(seat, generation, model)
        self._loaded.add(seat)
        self._limit_memory()
        self.memory.set_ready(seat, generation)
        sort_ready(self.memory.words)

    def take_out(self, seat: int, model: ServedModel) -> list[Block] | None:
        """Makes a seat vacant; None, and nothing happens, while it has work.

        The model's session is the caller's to close, and the memory of its batches, which is returned, to let go of.
        Off the loop: that takes a millisecond or more.
        """
        if self.memory.busy(seat) or model.running or self._alone.busy(seat):
            return None
        kernel_ok = self.memory.directory.kernel_ok(seat)
        blocks = self.memory.remove_model(seat)
        if kernel_ok:
            self.batches.remove(seat)
        self._alone.forget(seat)
        if self._beside is not None:
            self._beside.take_out(seat)
        model.batcher = model.runner = None
        self._loaded.discard(seat)
        self._limit_memory()
        return blocks

    def follow(self) -> bool:
        """Takes over the plane's routes where they have moved, for a worker to which nothing comes.

        Looks, too, whether its threads get the core that they want.
        """
        if self._strain is not None:
            self._strain.look()
        if self._ticks is not None:
            self._ticks.look(time.monotonic_ns())
        moved = bool(follow_routes(self.memory.words))
        if moved:
            sort_ready(self.memory.words)
        if moved or self.memory.words[LANE_QUEUED_ROWS]:
            # Also where nothing has moved now: rows may have changed sides behind the batch loop's back.
            self.batches.wake()
        for side in self.batches.sides:
            side.withdraw_unwanted()
        if self._beside is not None:
            self._beside.follow()
        self._limit_memory()
        return moved

    def close(self) -> None:
        """Ends what runs and the runners' threads."""
        self.batches.close()
        self._alone.close()
        if self._ticks is not None:
            self._ticks.close()
        if self._strain is not None:
            self._strain.close()
        if self._memory_limit is not None:
            self._memory_limit.lift()
            self._memory_limit = None  # a load that is under way ends after this
        self.runner.close()
        self.trial_runner.close()
        self.patient_runner.close()

    def _loop_clock(self) -> LoopClock:
        return LoopClock(threading.get_native_id(), lambda: self.batches.stood_still_ns)

    def _limit_memory(self) -> None:
        """While there is anything that is neither a stable nor kept to go home to, and nothing is being loaded."""
        if self._memory_limit is not None:
            roles = self.memory.seats["role"]
            tries = not self._loading and any(roles[seat] not in SAFE_ROLES for seat in self._loaded)
            self._memory_limit.follow(tries, time.monotonic_ns())

    def _connect(self, seat: int, generation: int, model: ServedModel) -> None:
        model.runner = _RunsOfSeat(self._alone, seat)
        model.count = self._count
        if model.baseline is not None and self._drift is not None:
            rows_max, region = model.max_batch_size, self._drift(seat)
            model.counter = RowCounter(
                model.baseline, model.signature, region, generation, rows_max, self._seed ^ generation
            )
        if self._beside is not None:
            self._beside.put(seat, generation, model)
        if self.memory.directory.kernel_ok(seat):
            model.batcher = Batcher(self.batches.callers, seat)
            self.batches.put(seat, generation, model)

    def _role(self, seat: int) -> int:
        return int(self.memory.seats[seat]["role"])

    def _decide(self, route: int, wish: Wish, wanted: int) -> Routed | None:
        seat, weight_epoch, evidence = decide(self.memory.words, route, wish.keyed, wish.hashed, wish.pin, wanted)
        if seat < 0:
            return None
        return Routed(seat, route, weight_epoch, evidence and wish.evidence, wish.keyed, wish.hashed)

    def _count(self, routed: Routed, rows: int, event: int, took_ns: int) -> None:
        words, evidence = self.memory.words, int(routed.evidence)
        if event == EVENT_NONE:
            event = EVENT_TIMEOUT if took_ns > self._age_limit_ns else EVENT_NONE
            evidence = evidence_of(words, evidence, event)
        count_call(
            words, routed.seat, routed.route, routed.weight_epoch, evidence, routed.keyed, routed.hashed, rows, event
        )
        publish_evidence(words)


class _RunsOfSeat:
    """Runs calls of one model by themselves."""

    def __init__(self, alone: AloneRuns, seat: int) -> None:
        self._alone = alone
        self._seat = seat

    async def run(self, work: Callable[[int], T], size: int, end: Callable[[], None]) -> T:
        return await self._alone.run(self._seat, size, work, end)


def _queue_bounds(model: ServedModel, settings: BatchingSettings) -> QueueBounds:
    """As many arenas as the bounds on rows and on bytes leave room for."""
    arenas = -(-settings.queue_rows_max // model.max_batch_size)
    if model.batchable:
        arenas = min(arenas, settings.queue_bytes_max // max(row_bytes(model) * model.max_batch_size, 1))
    arenas = min(max(arenas, ARENAS_MIN), ARENAS_MAX)
    return QueueBounds(arenas, min(settings.queue_rows_max, arenas * model.max_batch_size))


def _wire_model(model: ServedModel, route: int) -> WireModel:
    return WireModel(
        name=model.name,
        version=model.version,
        digest_prefix=model.digest_prefix,
        variant=VARIANTS[0],
        inputs=tuple(map(_wire_tensor, model.signature.inputs)),
        outputs=tuple(map(_wire_tensor, model.signature.outputs)),
        max_rows=model.max_batch_size,
        batchable=model.batchable,
        route=route,
    )


def _wire_tensor(spec: TensorSpec) -> WireTensor:
    return WireTensor(spec.name, spec.datatype.code, spec.shape)
