"""Route tables: who answers for each model, as control decides it and workers follow it.

Read-copy-update: a table is written whole, then one store of EPOCH makes it the current one; a weight flip or a
rollback is that store. Used by control and parent through `RouteTables`, by workers through `copy_routes` on the hot
path, and through `RouteTables` for what they load.
Always: a reader gets a table that was current at some moment during its call, or is told that it got none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit

from native.plane.atomics import (
    fence_acquire,
    fence_release,
    int64,
    load_acquire,
    load_relaxed,
    store_relaxed,
    store_release,
)
from native.plane.layout import Plane, Words, WorkerState
from native.plane.routing import (
    EPOCH,
    MODELS_MAX,
    NO_SEAT,
    PPM,
    ROUTE_CANARY,
    ROUTE_CANARY_GENERATION,
    ROUTE_CANARY_PPM,
    ROUTE_FLAGS,
    ROUTE_LAST_SAFE,
    ROUTE_LAST_SAFE_GENERATION,
    ROUTE_PIN_ALLOWED,
    ROUTE_REVISION,
    ROUTE_SALT,
    ROUTE_SHADOW,
    ROUTE_SHADOW_GENERATION,
    ROUTE_STABLE,
    ROUTE_STABLE_GENERATION,
    ROUTE_WEIGHT_EPOCH,
    ROUTE_WORDS,
    SEATS_MAX,
    SEEN_EPOCH,
    TABLE_CHECKSUM,
    TABLE_EPOCH,
    TABLE_ROUTES,
    TABLE_WORDS,
    TABLES,
    TABLES_COUNT,
)
from native.plane.seqlock import word_acquire

# What a table holds where a model has no route.
NO_ROUTE: Final[Words] = np.zeros(ROUTE_WORDS, dtype=np.int64)
NO_ROUTE[[ROUTE_STABLE, ROUTE_CANARY, ROUTE_SHADOW, ROUTE_LAST_SAFE]] = NO_SEAT
NO_ROUTE.setflags(write=False)
TRIES = 64
NO_TABLE = -1
CHECKSUM_FACTOR = 0x9E3779B97F4A7C15 - (1 << 64)  # 2^64 over the golden ratio, as int64
SERVING = frozenset({WorkerState.READY, WorkerState.DRAINING})


@njit("int64(int64[::1], int64, int64)", nogil=True, cache=True, error_model="numpy")
def words_checksum(words: Words, start: int, stop: int) -> int:
    """A checksum of words in which their places matter; words[start:stop] must exist. Never 0."""
    mixed = int64(stop - start)
    for index in range(start, stop):
        mixed = (mixed ^ words[index]) * CHECKSUM_FACTOR
        mixed ^= (mixed >> 29) & 0x7FFFFFFFF
    return mixed | 1


@njit("void(int64[::1], int64[::1])", nogil=True, cache=True, error_model="numpy")
def store_routes(routing: Words, table: Words) -> None:
    """Makes `table` the current one. Its epoch is one more than the current, its checksum is filled in here.

    routing: int64[ROUTING_WORDS]; table: int64[TABLE_WORDS]. Shorter ones are left alone.
    """
    if routing.size < TABLES + TABLES_COUNT * TABLE_WORDS or table.size < TABLE_WORDS:
        return
    epoch = load_relaxed(routing, EPOCH) + 1
    table[TABLE_EPOCH] = epoch
    table[TABLE_CHECKSUM] = words_checksum(table, TABLE_ROUTES, TABLE_WORDS)
    base = TABLES + (epoch % TABLES_COUNT) * TABLE_WORDS
    # Whoever still copies the table that lay here sees that its epoch has gone.
    store_relaxed(routing, base + TABLE_EPOCH, 0)
    fence_release()
    for index in range(TABLE_CHECKSUM, TABLE_WORDS):
        store_relaxed(routing, base + index, table[index])
    store_release(routing, base + TABLE_EPOCH, epoch)
    store_release(routing, EPOCH, epoch)


@njit("int64(int64[::1], int64[::1])", nogil=True, cache=True, error_model="numpy")
def copy_routes(routing: Words, out: Words) -> int:
    """Copies the current table to `out` and returns its epoch: 0 where there is none yet, NO_TABLE where none was got.

    routing: int64[ROUTING_WORDS], shared; out: int64[TABLE_WORDS]. NO_TABLE means that control was writing all the
    time: go on with the table that you have and look again at the next read.
    """
    if routing.size < TABLES + TABLES_COUNT * TABLE_WORDS or out.size < TABLE_WORDS:
        return NO_TABLE
    for _ in range(TRIES):
        epoch = load_acquire(routing, EPOCH)
        if epoch <= 0:
            return 0
        base = TABLES + (epoch % TABLES_COUNT) * TABLE_WORDS
        before = load_acquire(routing, base + TABLE_EPOCH)
        for index in range(TABLE_WORDS):
            out[index] = load_relaxed(routing, base + index)
        fence_acquire()
        after = load_relaxed(routing, base + TABLE_EPOCH)
        if before == epoch and after == epoch:
            out[TABLE_EPOCH] = epoch
            if out[TABLE_CHECKSUM] == words_checksum(out, TABLE_ROUTES, TABLE_WORDS):
                return epoch
    return NO_TABLE


class RingFull(RuntimeError):
    """A worker that serves has not seen the table whose place is needed. Try again in some milliseconds."""


@dataclass(frozen=True)
class SeatRef:
    """An artifact's place: the seat, and the generation that it has there."""

    seat: int
    generation: int


@dataclass(frozen=True)
class Route:
    """Who answers for one model. canary_ppm: the canary's share, 0 to PPM; revision: of the decision behind it."""

    revision: int = 0
    stable: SeatRef | None = None
    canary: SeatRef | None = None
    shadow: SeatRef | None = None
    last_safe: SeatRef | None = None
    canary_ppm: int = 0
    salt: int = 0
    weight_epoch: int = 0
    pin_allowed: bool = False

    @property
    def seats(self) -> tuple[SeatRef, ...]:
        """All that it names, in the order of their importance."""
        return tuple(ref for ref in (self.stable, self.canary, self.shadow, self.last_safe) if ref is not None)


NO_ROUTES: Final = (Route(),) * MODELS_MAX


class NoTable(RuntimeError):
    """Control was writing all the time, or left a table that is not whole. Look again; act on nothing meanwhile."""


class RouteTables:
    """The plane's route tables. One writer at a time: control, or the parent before anything is started.

    What was read is known by its epoch, which only grows: two writers at once could give one epoch to two tables.
    """

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._table: Words = np.zeros(TABLE_WORDS, dtype=np.int64)
        self._known: tuple[int, tuple[Route, ...]] = 0, NO_ROUTES

    def current(self) -> tuple[int, tuple[Route, ...]]:
        """The current epoch, 0 before the first, and the route of each model. Raises NoTable."""
        if word_acquire(self._plane.routing, EPOCH) == self._known[0]:
            return self._known
        table: Words = np.zeros(TABLE_WORDS, dtype=np.int64)
        epoch = copy_routes(self._plane.routing, table)
        if epoch == NO_TABLE:
            text = f"routes: expected a whole table, got none in {TRIES} tries. Where that stays, restart the server."
            raise NoTable(text)
        records = table[TABLE_ROUTES:].reshape(MODELS_MAX, ROUTE_WORDS)
        routes = list(NO_ROUTES)
        # Few models have a route: the others cost a worker's loop no time.
        for index in np.flatnonzero((records != NO_ROUTE).any(axis=1)).tolist():
            routes[index] = _read_route(records[index])
        self._known = epoch, tuple(routes)
        return self._known

    def publish(self, routes: Sequence[Route], *, urgent: bool = False) -> int:
        """Makes these the routes of models 0, 1, ... and returns the new epoch. Models without one have no seats.

        Raises RingFull where a serving worker lags behind by the whole ring, unless `urgent`: going home does not
        wait, and a reader that is overtaken notices it by the checksum.
        """
        assert len(routes) <= MODELS_MAX, len(routes)
        epoch = int(self._plane.routing[EPOCH]) + 1
        if not urgent and not self.seen_by_all(epoch - TABLES_COUNT + 1):
            raise RingFull(f"routes: a worker has not seen epoch {epoch - TABLES_COUNT + 1} yet, got to write {epoch}")
        records = self._table[TABLE_ROUTES:].reshape(MODELS_MAX, ROUTE_WORDS)
        records[:] = NO_ROUTE
        for record, route in zip(records, routes, strict=False):
            _write_route(record, route)
        store_routes(self._plane.routing, self._table)
        return epoch

    def seen_by_all(self, epoch: int) -> bool:
        """True where every worker that serves follows this table or a later one."""
        blocks = [self._plane.block(index) for index in range(self._plane.workers)]
        return all(int(block.routing[SEEN_EPOCH]) >= epoch for block in blocks if block.state in SERVING)


def _write_route(record: Words, route: Route) -> None:
    assert 0 <= route.canary_ppm <= PPM, route
    assert route.canary is not None or route.canary_ppm == 0, route
    record[:] = 0
    record[ROUTE_REVISION] = route.revision
    for ref, seat, generation in (
        (route.stable, ROUTE_STABLE, ROUTE_STABLE_GENERATION),
        (route.canary, ROUTE_CANARY, ROUTE_CANARY_GENERATION),
        (route.shadow, ROUTE_SHADOW, ROUTE_SHADOW_GENERATION),
        (route.last_safe, ROUTE_LAST_SAFE, ROUTE_LAST_SAFE_GENERATION),
    ):
        assert ref is None or 0 <= ref.seat < SEATS_MAX, ref
        record[seat] = NO_SEAT if ref is None else ref.seat
        record[generation] = 0 if ref is None else ref.generation
    record[ROUTE_CANARY_PPM] = route.canary_ppm
    record[ROUTE_SALT] = route.salt
    record[ROUTE_WEIGHT_EPOCH] = route.weight_epoch
    record[ROUTE_FLAGS] = ROUTE_PIN_ALLOWED if route.pin_allowed else 0


def _read_route(record: Words) -> Route:
    def ref(seat: int, generation: int) -> SeatRef | None:
        # A table that was never written is all zeros: generation 0 names nothing.
        held = int(record[generation])
        return SeatRef(int(record[seat]), held) if held > 0 and record[seat] != NO_SEAT else None

    return Route(
        revision=int(record[ROUTE_REVISION]),
        stable=ref(ROUTE_STABLE, ROUTE_STABLE_GENERATION),
        canary=ref(ROUTE_CANARY, ROUTE_CANARY_GENERATION),
        shadow=ref(ROUTE_SHADOW, ROUTE_SHADOW_GENERATION),
        last_safe=ref(ROUTE_LAST_SAFE, ROUTE_LAST_SAFE_GENERATION),
        canary_ppm=int(record[ROUTE_CANARY_PPM]),
        salt=int(record[ROUTE_SALT]),
        weight_epoch=int(record[ROUTE_WEIGHT_EPOCH]),
        pin_allowed=bool(record[ROUTE_FLAGS] & ROUTE_PIN_ALLOWED),
    )
