"""Seats: generations, half-written records, bans, and what workers say of them."""

import numpy as np
import pytest

from native.plane.layout import Plane, WorkerState
from native.plane.routes import Route, RouteTables, SeatRef
from native.plane.routing import (
    FAILURE_TEXT_BYTES,
    SEAT_DIGEST,
    SEAT_STATE_EMPTY,
    SEAT_STATE_FAILED,
    SEAT_STATE_READY,
    SEAT_WORDS,
    SEATS,
    SEATS_MAX,
    SEATS_SEQUENCE,
)
from native.plane.seats import SeatTable, WorkerSeats
from tests.plane.changing import writer

DIGEST = "0123456789abcdef" * 4


@pytest.fixture
def plane() -> Plane:
    return Plane.create(2)


def test_a_filled_seat_is_read_as_it_was_written(plane: Plane) -> None:
    seats = SeatTable(plane)
    written = seats.fill(31, 15, "999999999", DIGEST)
    assert SeatTable(plane).read()[31] == written
    assert (written.generation, written.wanted, written.model, written.digest) == (1, True, 15, DIGEST)


def test_a_generation_grows_with_every_artifact_and_stays_when_the_seat_is_vacated(plane: Plane) -> None:
    seats = SeatTable(plane)
    seats.fill(0, 0, "1", DIGEST)
    seats.vacate(0)
    assert (seats.read()[0].generation, seats.read()[0].wanted, seats.read()[0].digest) == (1, False, DIGEST)
    assert seats.fill(0, 0, "2", DIGEST).generation == 2


def test_the_sequence_moves_with_every_change(plane: Plane) -> None:
    seats = SeatTable(plane)
    before = seats.sequence
    seats.fill(0, 0, "1", DIGEST)
    assert seats.sequence > before


def test_a_record_that_was_cut_off_counts_as_empty_and_its_seat_is_used_again(plane: Plane) -> None:
    seats = SeatTable(plane)
    seats.fill(0, 0, "1", DIGEST)
    plane.routing[SEATS + SEAT_DIGEST] += 1  # control was killed while it wrote,
    plane.routing[SEATS_SEQUENCE] += 1  # so that the sequence is odd, too
    assert not seats.read()[0].wanted
    assert SeatTable(plane).fill(0, 0, "2", DIGEST).generation == 2
    assert seats.read()[0].wanted
    assert seats.sequence % 2 == 0


def test_a_seat_is_free_when_nobody_wants_routes_or_holds_it(plane: Plane) -> None:
    seats, tables = SeatTable(plane), RouteTables(plane)
    plane.block(0).enter(WorkerState.READY)
    plane.block(1).enter(WorkerState.DEAD)
    WorkerSeats(plane.block(1)).set_state(1, 1, SEAT_STATE_READY)  # of a worker that is gone
    seats.fill(0, 0, "1", DIGEST)
    tables.publish([Route(1, SeatRef(0, 1))])
    assert seats.free_index() == 1
    seats.vacate(0)
    assert seats.free_index() == 1, "a route names seat 0"
    tables.publish([Route(2)])
    WorkerSeats(plane.block(0)).set_state(0, 1, SEAT_STATE_READY)
    assert seats.free_index() == 1, "a worker holds seat 0"
    WorkerSeats(plane.block(0)).set_state(0, 1, SEAT_STATE_EMPTY)
    assert seats.free_index() == 0


def test_there_is_no_free_seat_when_all_are_taken(plane: Plane) -> None:
    seats = SeatTable(plane)
    for index in range(SEATS_MAX):
        seats.fill(index, 0, "1", f"{index:064x}")
    assert seats.free_index() is None


def test_a_ban_is_of_one_artifact_not_of_its_seat(plane: Plane) -> None:
    seats = SeatTable(plane)
    first = seats.fill(4, 0, "1", DIGEST)
    seats.ban(4, first.generation)
    assert seats.banned(first)
    assert not seats.banned(seats.fill(4, 0, "2", DIGEST))
    assert not seats.banned(seats.read()[5]), "a seat that was never used"


def test_why_a_load_failed_is_told_and_cut_to_its_room(plane: Plane) -> None:
    worker = WorkerSeats(plane.block(0))
    assert worker.failure()[1] == 0
    worker.fail(3, 7, "x" * 9999)
    assert worker.failure() == (3, 7, "x" * FAILURE_TEXT_BYTES)
    worker.fail(4, 8, "zu groß")
    assert worker.failure() == (4, 8, "zu groß")
    assert worker.state(4) == (SEAT_STATE_FAILED, 8)


def test_a_worker_that_begins_forgets_what_its_predecessor_had_loaded(plane: Plane) -> None:
    WorkerSeats(plane.block(0)).set_state(3, 1, SEAT_STATE_READY)
    plane.block(0).begin(1, 2)
    assert WorkerSeats(plane.block(0)).state(3) == (SEAT_STATE_EMPTY, 0)


def test_seats_are_read_whole_while_control_changes_them(plane: Plane) -> None:
    seats = SeatTable(plane)
    seen = set()
    with writer(plane, "seats", 30_000) as process:
        while process.poll() is None:
            for seat in seats.read()[:3]:
                if seat.wanted:
                    assert int(seat.digest, 16) == int(seat.version)
                    seen.add(seat.version)
        assert process.returncode == 0
    assert len(seen) > 100, "reader and writer only took turns"
    record = plane.routing[SEATS : SEATS + SEAT_WORDS]
    assert np.any(record)
