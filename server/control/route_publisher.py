"""The publisher: turns what is decided into route tables, and keeps the decision beside them.

Used by the driver and, with control dead, by the break-glass command: one writer at a time (`plane_lock`). Always: the
decision's text lies in the plane before the table that follows from it; evidence is collected before a table is
replaced; a model's weight epoch grows whenever its arms or their weights change.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from native.plane.decisions import DecisionRing
from native.plane.evidence import clear_first_events
from native.plane.layout import Plane, WorkerState
from native.plane.routes import RingFull, Route, RouteTables, SeatRef
from native.plane.routing import SEEN_EPOCH, TABLES_COUNT

RING_KEPT: Final = TABLES_COUNT - 2  # tables that a worker may lag behind
RING_WAIT_S: Final = 0.5
RING_RETRY_S: Final = 0.005


@dataclass(frozen=True)
class WantedRoute:
    """A model's route as it is decided, its artifacts as seats."""

    revision: int
    stable: SeatRef | None
    canary: SeatRef | None
    shadow: SeatRef | None
    last_safe: SeatRef | None
    canary_ppm: int
    salt: int


class RoutePublisher:
    """Begins with the plane's current table. pin_allowed: None leaves each route as it is."""

    def __init__(self, plane: Plane, models: int, *, pin_allowed: bool | None) -> None:
        self._plane = plane
        self._tables = RouteTables(plane)
        self._ring = DecisionRing(plane)
        self._pin_allowed = pin_allowed
        self.epoch, routes = self._tables.current()
        self._routes = list(routes[:models])

    @property
    def routes(self) -> Sequence[Route]:
        """Of each model, as published."""
        return self._routes

    @property
    def decisions(self) -> DecisionRing:
        return self._ring

    def workers(self) -> tuple[int, int]:
        """How many serve, and how many of them follow the current table."""
        blocks = [self._plane.block(index) for index in range(self._plane.workers)]
        serving = [block for block in blocks if block.state is WorkerState.READY]
        return len(serving), sum(int(block.routing[SEEN_EPOCH]) >= self.epoch for block in serving)

    def following(self, epoch: int) -> bool:
        """True where every worker that serves follows this table or a later one."""
        return self._tables.seen_by_all(epoch)

    def next_route(self, model: int, wanted: WantedRoute) -> Route:
        """The route as it will be published, its weight epoch included."""
        now = self._routes[model]
        arms = (wanted.stable, wanted.canary, wanted.canary_ppm, wanted.salt)
        same = arms == (now.stable, now.canary, now.canary_ppm, now.salt) and now.weight_epoch > 0
        # The first one is the clock's, so that no two servers' lives share a weight epoch: evidence outlives both.
        grown = now.weight_epoch + 1 if now.weight_epoch else time.time_ns() // 1_000_000
        return Route(
            revision=wanted.revision,
            stable=wanted.stable,
            canary=wanted.canary,
            shadow=wanted.shadow,
            last_safe=wanted.last_safe,
            canary_ppm=wanted.canary_ppm if wanted.canary is not None else 0,
            salt=wanted.salt,
            weight_epoch=now.weight_epoch if same else grown,
            pin_allowed=now.pin_allowed if self._pin_allowed is None else self._pin_allowed,
        )

    def publish(
        self, changes: Mapping[int, Route], decisions: Sequence[str], *, urgent: bool, fresh: Collection[int] = ()
    ) -> int:
        """The decisions into the ring, then the table. Raises RingFull, unless urgent, before anything is written.

        fresh: models whose canary begins without evidence, so that every key's first event is to come.
        """
        if not urgent and not self._tables.seen_by_all(self.epoch - RING_KEPT):
            raise RingFull(f"routes: a worker has not seen epoch {self.epoch - RING_KEPT} yet")
        for model in fresh:
            clear_first_events(self._plane, model)
        for decision in decisions:
            self._ring.append(decision)
        routes = [changes.get(model, route) for model, route in enumerate(self._routes)]
        self.epoch = self._tables.publish(routes, urgent=True)
        self._routes = routes
        return self.epoch

    async def publish_soon(
        self,
        changes: Mapping[int, Route],
        decisions: Sequence[str],
        *,
        urgent: bool = False,
        fresh: Collection[int] = (),
    ) -> int:
        """As `publish`; waits for a worker that lags, then goes on without it: it will notice that it was overtaken."""
        deadline = time.monotonic() + RING_WAIT_S
        while True:
            try:
                late = time.monotonic() >= deadline
                return self.publish(changes, decisions, urgent=urgent or late, fresh=fresh)
            except RingFull:
                await asyncio.sleep(RING_RETRY_S)
