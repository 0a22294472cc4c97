"""Seats of one worker: what the plane wants loaded is loaded, what it wants no more goes.

A timer compares what ought to be with what is, so that a lost moment does no harm: the next look acts. Loading and
freeing happen in a thread of their own, which gives way to the others. Always: an artifact that is banned is never
loaded; a model leaves only when no route here names it and nothing of it is under way; each state is told to the plane.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from native.batch.memory import Block
from native.plane.layout import Plane
from native.plane.routes import NoTable, Route, RouteTables, SeatRef
from native.plane.routing import (
    RUNNING_TRIAL,
    RUNNING_TRIAL_GENERATION,
    SEAT_STATE_EMPTY,
    SEAT_STATE_LOADING,
    SEAT_STATE_READY,
)
from native.plane.seats import Seat, SeatTable, WorkerSeats
from server.processes import ModelPin
from server.settings import Settings
from server.worker.engine import Engine
from server.worker.freed_memory import trim_memory
from server.worker.models.fitting import fit
from server.worker.models.loading import ModelRefused, load_model
from server.worker.models.served import ServedModel
from server.worker.models.table import ModelTable
from server.worker.models.warming import warm_batches
from server.worker.runner import Runner

log = logging.getLogger("roost.worker")

LOOK_S = 0.05  # each wakes a worker that has nothing to do: at 0.02 that was a fiftieth of a core
FIRST_ROUTES_S = 120.0
LOADER, LOADER_NICENESS = "roost-loader", 10
# A load that was tried, and takes so many times `trial.load_timeout_s`, does not end at all.
LOAD_PATIENCE = 2
# A caller whose batch has just run still asks for the model that answered: it leaves some looks later.
LOOKS_BEFORE_LEAVING = 3
TRY_AGAIN_S = 5.0
BANNED_REASON = "it has ended a worker, and is not loaded again"


class NoRoutes(Exception):
    """Control never said what to serve."""


@dataclass
class Held:
    """What a seat holds here. idle_looks: for how many looks nobody wanted it and nothing of it was under way."""

    seat: Seat
    model: ServedModel
    idle_looks: int = 0


class Seats:
    """Call `load_first`, then `start`; `close` at the end. All on the loop's thread."""

    def __init__(
        self, settings: Settings, plane: Plane, index: int, engine: Engine, table: ModelTable, *, restarted: bool
    ) -> None:
        self._settings = settings
        self._restarted = restarted
        self._running = plane.block(index).routing.data
        self._wanted = SeatTable(plane)
        self._routes = RouteTables(plane)
        self._told = WorkerSeats(plane.block(index))
        self._engine = engine
        self._table = table
        self._loader = Runner(LOADER, niceness=LOADER_NICENESS)
        self._held: dict[int, Held] = {}
        self._failed: dict[int, int] = {}  # generations that could not be loaded, by seat
        self._tried_again_s = time.monotonic()
        self._busy = False
        self._sequence = -1
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    async def load_first(self) -> None:
        """Waits for the first routes and loads what they name, so that a decision finds it here. Raises NoRoutes.

        What is refused is told to the plane, and left out. A stable's refusal raises ModelRefused: at a server's
        start, where a configuration may be wrong; later only where nothing is left to serve.
        """
        deadline_s = time.monotonic() + FIRST_ROUTES_S
        while self._routes.current()[0] == 0:
            if time.monotonic() > deadline_s:
                raise NoRoutes(f"no routes after {FIRST_ROUTES_S:g} s: the control process has not started")
            await asyncio.sleep(LOOK_S / 2)
        with self._engine.loading():
            refusals = await self._load_named()
        if refusals and not self._held:
            raise ModelRefused(refusals[0])
        self._engine.follow()

    async def _load_named(self) -> list[str]:
        """Loads what routes name. Why some of it could not be."""
        refusals = []
        seats = self._wanted.read()
        for route in self._routes.current()[1]:
            for ref in route.seats:
                seat = seats[ref.seat]
                if not seat.wanted or seat.generation != ref.generation or seat.index in self._held:
                    continue
                if self._wanted.banned(seat):
                    self._fail(seat, BANNED_REASON)
                    continue
                self._told.set_state(seat.index, seat.generation, SEAT_STATE_LOADING)
                try:
                    model = await self._loader.run(lambda seat=seat: self._load(seat))  # type: ignore[misc]
                    self._put(seat, model)
                except (ModelRefused, ValueError) as refusal:
                    if ref == route.stable and not self._restarted:
                        raise ModelRefused(str(refusal)) from refusal
                    refusals.append(str(refusal))
                    self._fail(seat, str(refusal))
        return refusals

    def start(self) -> None:
        """Looks from now on, every LOOK_S."""
        self._look()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._loader.close(wait=False)

    def _look(self) -> None:
        self._timer = self._loop.call_later(LOOK_S, self._look)
        self._engine.follow()
        if self._busy:
            return
        try:
            self._try_again()
            sequence = self._wanted.sequence
            # Looked at again until there is nothing left to do for it.
            if sequence != self._sequence and not self._act(self._wanted.read(), self._routes.current()[1]):
                self._sequence = sequence
        except NoTable as error:  # nothing comes or goes by routes that are not known: the next look may get them
            log.warning("%s", error)

    def _try_again(self) -> None:
        """Stables that could not be loaded: their artifact may have been mended in the cache since."""
        if not self._failed or time.monotonic() - self._tried_again_s < TRY_AGAIN_S:
            return
        self._tried_again_s = time.monotonic()
        seats = self._wanted.read()
        for route in self._routes.current()[1]:
            ref = route.stable
            if ref is None or self._failed.get(ref.seat) != ref.generation or self._wanted.banned(seats[ref.seat]):
                continue
            del self._failed[ref.seat]
            self._sequence = -1

    def _act(self, seats: tuple[Seat, ...], routes: tuple[Route, ...]) -> bool:
        """Does one thing, or waits for one; False where all is as it ought to be."""
        waiting = False
        for held in list(self._held.values()):
            wanted = seats[held.seat.index]
            if wanted.wanted and wanted.generation == held.seat.generation:
                continue
            waiting = True
            own = SeatRef(held.seat.index, held.seat.generation)
            named = any(own in route.seats for route in routes)
            held.idle_looks = 0 if named else held.idle_looks + 1
            if held.idle_looks <= LOOKS_BEFORE_LEAVING:
                continue
            blocks = self._engine.take_out(held.seat.index, held.model)
            if blocks is not None:
                self._leave(held, blocks)
                return True
        for index, generation in list(self._failed.items()):
            if not seats[index].wanted or seats[index].generation != generation:
                # What could not be loaded has been heard of: the seat is free for another.
                del self._failed[index]
                self._told.set_state(index, generation, SEAT_STATE_EMPTY)
        for seat in seats:
            if not seat.wanted or seat.index in self._held or self._failed.get(seat.index) == seat.generation:
                continue
            if self._wanted.banned(seat):
                self._fail(seat, BANNED_REASON)
                return True
            self._begin_loading(seat)
            return True
        return waiting

    def _begin_loading(self, seat: Seat) -> None:
        self._busy = True
        self._told.set_state(seat.index, seat.generation, SEAT_STATE_LOADING)
        loading = ExitStack()
        loading.enter_context(self._engine.loading())
        task = self._loop.create_task(self._loader.run(lambda: self._load(seat)))
        limit_s = LOAD_PATIENCE * self._settings.trial.load_timeout_s
        limit = self._loop.call_later(limit_s, self._engine.batches.watchdog.cannot_end, seat.index, seat.generation)

        def done(task: asyncio.Task[ServedModel]) -> None:
            limit.cancel()
            self._busy = False
            with loading:
                if task.cancelled():
                    return
                error = task.exception()
                if error is None:
                    try:
                        self._put(seat, task.result())
                        return
                    except Exception as refusal:  # noqa: BLE001, such as another signature than its route's
                        error = refusal
                if not isinstance(error, ModelRefused | ValueError):
                    log.error("a model failed to load by an error of the server's own", exc_info=error)
                self._fail(seat, str(error))

        task.add_done_callback(done)

    def _load(self, seat: Seat) -> ServedModel:
        """In the loader's thread: verified, built, checked, warm at the sizes that batches have.

        What is loaded is named as a trial's run is, while there is none: it may end the worker, too.
        """
        named = self._running[RUNNING_TRIAL] == 0
        if named:
            self._running[RUNNING_TRIAL_GENERATION] = seat.generation
            self._running[RUNNING_TRIAL] = seat.index + 1
        try:
            return self._loaded(seat)
        finally:
            if named and self._running[RUNNING_TRIAL] == seat.index + 1:
                self._running[RUNNING_TRIAL] = 0

    def _loaded(self, seat: Seat) -> ServedModel:
        wanted = self._settings.models[seat.model]
        pin = ModelPin(name=wanted.name, version=seat.version, digest=seat.digest)
        model = load_model(wanted, self._settings, pin)
        fit(model, self._settings.batching)
        if model.batchable:
            warm_batches(model)
        return model

    def _put(self, seat: Seat, model: ServedModel) -> None:
        self._engine.put(seat.index, seat.generation, seat.model, model)
        self._table.put(seat.index, model)
        self._held[seat.index] = Held(seat, model)
        self._told.set_state(seat.index, seat.generation, SEAT_STATE_READY)
        # In a turn of its own: to write these lines holds the loop up for as long as all of the above.
        self._loop.call_soon(_log_loaded, model)

    def _fail(self, seat: Seat, reason: str) -> None:
        self._failed[seat.index] = seat.generation
        self._told.fail(seat.index, seat.generation, reason)
        fields = {"model": self._settings.models[seat.model].name, "version": seat.version}
        log.error("could not be loaded: %s", reason, extra={"fields": fields})

    def _leave(self, held: Held, blocks: list[Block]) -> None:
        """Frees what a seat held, off the loop, and gives the memory back to the system."""
        self._table.remove(held.seat.index)
        del self._held[held.seat.index]
        self._busy = True
        fields = {"model": held.model.name, "version": held.model.version, "digest": held.model.digest_prefix}
        self._loop.call_soon(partial(log.info, "unloaded", extra={"fields": fields}))
        models = [held.model]
        index, generation = held.seat.index, held.seat.generation
        held.model = None  # type: ignore[assignment]  # the last references go in the loader's thread

        def done(_task: asyncio.Task[None]) -> None:
            self._busy = False
            self._told.set_state(index, generation, SEAT_STATE_EMPTY)

        self._loop.create_task(self._loader.run(lambda: _free(models, blocks))).add_done_callback(done)


def _log_loaded(model: ServedModel) -> None:
    batching = "on" if model.batchable else f"off: {model.batching_note}"
    fields = {"model": model.name, "version": model.version, "digest": model.digest_prefix, "batching": batching}
    log.info("loaded", extra={"fields": fields})
    for note in model.notes:
        log.info("%s: %s", model.name, note)


def is_loading() -> bool:
    """Whether a thread of this process still loads or frees something, after `Seats.close`."""
    return any(thread.name.startswith(LOADER) for thread in threading.enumerate())


def _free(models: list[ServedModel], blocks: list[Block]) -> None:
    for model in models:
        model.session.close()
    models.clear()
    blocks.clear()
    trim_memory()
