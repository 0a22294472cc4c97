"""A worker's memory with a stable and a canary of one model, following a real plane."""

from __future__ import annotations

import numpy as np

from native.batch.memory import BatchMemory, QueueBounds
from native.lane.slots import claim_slot, release_slot
from native.plane.counters import COUNTERS_LENGTH
from native.plane.layout import Plane
from native.plane.routes import Route, RouteTables, SeatRef
from native.route.choose import choose_seat
from native.route.follow import follow_routes
from native.wire.datatypes import FP32
from native.wire.directory import ModelDirectory, WireModel, WireTensor

X, Y = WireTensor("x", FP32, (-1, 2)), WireTensor("y", FP32, (-1, 2))
NO_SEAT = -1
NO_CONNECTION = -1


def wire_model(version: str, max_rows: int = 8) -> WireModel:
    return WireModel("m", version, f"{version:0>12}", "stable", (X,), (Y,), max_rows, route=0)


class WorkerOfTwo:
    """Seat 0 has version 1, seat 1 version 2, both ready; nothing is routed yet."""

    def __init__(self, seed: int = 1, plane: Plane | None = None) -> None:
        self.plane = plane or Plane.create(1)
        self.tables = RouteTables(self.plane)
        self.counters = np.zeros(COUNTERS_LENGTH, np.int64)
        self.memory = BatchMemory(ModelDirectory([]), [], self.counters, slots_max=64)
        self.memory.attach_routes(self.plane.routing, self.plane.block(0).routing, seed)
        for seat in (0, 1):
            self.memory.set_model(seat, wire_model(str(seat + 1)), QueueBounds(3, 24))
            self.memory.set_ready(seat, 1)
        self.weight_epoch = 0

    @property
    def words(self):  # type: ignore[no-untyped-def]
        return self.memory.words

    def route(
        self, canary_ppm: int, *, salt: int = 0, canary: bool = True, stable: bool = True, **other: object
    ) -> None:
        """Publishes seat 0 as stable and seat 1 as canary, and follows."""
        self.weight_epoch += 1
        self.tables.publish(
            [
                Route(
                    revision=self.weight_epoch,
                    stable=SeatRef(0, 1) if stable else None,
                    canary=SeatRef(1, 1) if canary else None,
                    canary_ppm=canary_ppm if canary else 0,
                    salt=salt,
                    weight_epoch=self.weight_epoch,
                    **other,  # type: ignore[arg-type]
                )
            ],
            urgent=True,
        )
        follow_routes(self.words)

    def choose(self, key_hash: int | None = None, pin: int = 0, wanted: int = NO_SEAT) -> tuple[int, bool]:
        """(seat or HAND_OVER, whether it counts as evidence) for one call."""
        slot = claim_slot(self.words, NO_CONNECTION)
        entry = self.memory.slots[slot]
        entry["pin"] = pin
        if key_hash is not None:
            entry["keyed"], entry["key_hash"] = 1, key_hash
        seat = choose_seat(self.words, slot, 0, wanted)
        evidence = bool(entry["evidence"])
        release_slot(self.words, slot)
        return seat, evidence
