"""Seating: which seat of the plane holds which artifact, and how far the workers are with it.

Used by the driver. An artifact is wanted by a model under its digest; the same digest of two models takes two seats,
since seats, queues and counters are a model's. Always: an artifact whose run ended a worker keeps no seat; a new seat
is one that is empty at every worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from native.plane.layout import Plane, WorkerState
from native.plane.routes import SeatRef
from native.plane.routing import SEAT_STATE_FAILED, SEAT_STATE_READY, SEATS_MAX
from native.plane.seats import Seat, SeatTable, WorkerSeats


class Standing(Enum):
    """Of an artifact at the workers that serve, all together."""

    LOADING = "loading"
    READY = "ready"  # at every one, and there is one
    FAILED = "failed"  # at one at least


@dataclass(frozen=True)
class Holding:
    """How a seat stands: `failure` says why where it is FAILED."""

    standing: Standing
    ready: int
    serving: int
    failure: str = ""


class NoSeat(RuntimeError):
    """All seats are taken."""


class Seating:
    """The driver's alone: one writer of seats."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._table = SeatTable(plane)

    def seats(self) -> tuple[Seat, ...]:
        """Those that hold an artifact, banned ones too."""
        return tuple(seat for seat in self._table.read() if seat.wanted)

    def everything(self) -> tuple[Seat, ...]:
        """All seats, those that are being emptied among them: a route may still name one."""
        return self._table.read()

    def find(self, model: int, digest: str) -> Seat | None:
        """The seat that an artifact has."""
        for seat in self.seats():
            if seat.model == model and seat.digest == digest and not self._table.banned(seat):
                return seat
        return None

    def ref(self, model: int, digest: str | None) -> SeatRef | None:
        """As a route names it; None without a digest, and for one that has no seat."""
        seat = None if digest is None else self.find(model, digest)
        return None if seat is None else SeatRef(seat.index, seat.generation)

    def take(self, model: int, version: str, digest: str) -> Seat:
        """The artifact's seat, a new one where it has none. Raises NoSeat."""
        held = self.find(model, digest)
        if held is not None:
            return held
        index = self._table.free_index()
        if index is None:
            raise NoSeat(
                f"all {SEATS_MAX} seats are taken, or not empty at every worker yet. "
                "Try again in a moment, or take a canary or shadow out"
            )
        return self._table.fill(index, model, version, digest)

    def give_back(self, model: int, digest: str) -> None:
        """Workers unload the artifact once nothing of it is in flight."""
        for seat in self.seats():
            if seat.model == model and seat.digest == digest:
                self._table.vacate(seat.index)

    def banned(self, model: int, digest: str) -> bool:
        """True where a run of the artifact, as it is seated now, ended a worker."""
        seats = [seat for seat in self.seats() if seat.model == model and seat.digest == digest]
        return any(self._table.banned(seat) for seat in seats)

    def named(self, index: int, generation: int) -> Seat | None:
        """What a seat holds, where it still is that generation."""
        if not 0 <= index < SEATS_MAX:
            return None
        seat = self._table.read()[index]
        return seat if seat.generation == generation and seat.digest else None

    def holding(self, seat: Seat) -> Holding:
        """How the workers stand with a seat. One that starts counts only once it serves."""
        ready, serving, failure = 0, 0, ""
        for index in range(self._plane.workers):
            block = self._plane.block(index)
            if block.state is not WorkerState.READY:
                continue
            serving += 1
            worker = WorkerSeats(block)
            state, generation = worker.state(seat.index)
            if generation != seat.generation:
                continue
            ready += state == SEAT_STATE_READY
            if state == SEAT_STATE_FAILED:
                failure = _failure(worker, seat)
        if failure:
            return Holding(Standing.FAILED, ready, serving, failure)
        whole = serving > 0 and ready == serving
        return Holding(Standing.READY if whole else Standing.LOADING, ready, serving)


def _failure(worker: WorkerSeats, seat: Seat) -> str:
    index, generation, text = worker.failure()
    if (index, generation) == (seat.index, seat.generation) and text:
        return text
    return "a worker could not load it; its log says why"
