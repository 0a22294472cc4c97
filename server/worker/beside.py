"""A canary's answers counted once more, by the bins of its stable's predictions: so that the two can be compared.

Used by the engine. Its own baseline may have other bins, and the stable's own counts are at hand already. Only a
canary's rows are counted twice. Always: both arms are counted as often, one row of so many; what was counted is cleared
for another canary only once no thread can be at counting the one before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from native.batch.memory import BatchMemory
from native.drift.program import rows_between
from native.lane.layout import LANE_EPOCH
from native.plane.drift import against
from native.plane.routing import NO_SEAT
from server.worker.counting import RowCounter
from server.worker.models.served import ServedModel
from server.worker.runner import Runner

Words = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pair:
    """Seats and generations: whose rows, by whose bins."""

    canary: int
    canary_generation: int
    stable: int
    stable_generation: int


class CountedBeside:
    """Of one worker. region: by model, where its canary is counted; see `Plane.drift_beside`. runners: of all threads
    in which rows are counted, but for the loop's own."""

    def __init__(
        self, memory: BatchMemory, region: Callable[[int], Words], seed: int, runners: Sequence[Runner]
    ) -> None:
        self._runners = runners
        self._ending: dict[int, list[asyncio.Future[None]]] = {}
        self._memory = memory
        self._region = region
        self._seed = seed
        self._models: dict[int, tuple[int, ServedModel]] = {}
        self._pairs: dict[int, Pair] = {}
        self._settled_at: tuple[int, int] | None = None
        self._changes = 0

    def put(self, seat: int, generation: int, model: ServedModel) -> None:
        """A model is loaded, its own counter in place."""
        self._models[seat] = generation, model
        self._changes += 1

    def take_out(self, seat: int) -> None:
        """It is gone, and nothing of it is under way."""
        self._models.pop(seat, None)
        self._changes += 1

    def follow(self) -> None:
        """Counts for the canaries that there are now. Costs nothing where neither routes nor models have changed."""
        now = int(self._memory.words[LANE_EPOCH]), self._changes
        if now == self._settled_at:
            return
        served = {self._memory.directory.route_of(seat) for seat in self._models}
        settled = [self._settle(route) for route in sorted(served | self._pairs.keys() | self._ending.keys())]
        self._settled_at = now if all(settled) else None

    def _settle(self, route: int) -> bool:
        """False: there is more to do at the next look."""
        wanted, counting = self._wanted(route), self._pairs.get(route)
        if wanted == counting:
            return True
        if counting is not None:
            self._stop(counting)
            del self._pairs[route]
            # Whoever took the counter before this has ended with it once the thread comes to what follows.
            self._ending[route] = [runner.start(_nothing) for runner in self._runners]
        if not all(end.done() for end in self._ending.get(route, ())):
            return False
        self._ending.pop(route, None)
        if wanted is not None:
            self._start(route, wanted)
        return True

    def _wanted(self, route: int) -> Pair | None:
        stable, canary = (int(self._memory.routes[route][place]) for place in ("stable", "canary"))
        if NO_SEAT in (stable, canary) or stable not in self._models or canary not in self._models:
            return None
        baseline = self._models[stable][1].baseline
        if baseline is None or not baseline.predictions or self._models[canary][1].counter is None:
            return None
        return Pair(canary, self._models[canary][0], stable, self._models[stable][0])

    def _start(self, route: int, pair: Pair) -> None:
        canary, stable = self._models[pair.canary][1], self._models[pair.stable][1]
        assert canary.counter is not None and stable.baseline is not None, pair
        canary.counter.beside = RowCounter(
            replace(stable.baseline, inputs=()), canary.signature, self._region(route), pair.canary_generation,
            canary.max_batch_size, self._seed ^ pair.canary_generation,
            against=against(pair.canary, pair.stable, pair.stable_generation),
            rows_between=rows_between(len(stable.baseline.inputs) + len(stable.baseline.predictions)),
        )  # fmt: skip
        self._pairs[route] = pair

    def _stop(self, pair: Pair) -> None:
        generation, canary = self._models.get(pair.canary, (0, None))
        if canary is not None and generation == pair.canary_generation and canary.counter is not None:
            canary.counter.beside = None


def _nothing() -> None:
    """Work that comes after all that a thread was given before."""
