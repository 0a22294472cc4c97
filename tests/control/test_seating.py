"""Seating: which artifact sits where, on a real plane whose workers are played by their words."""

import pytest

from native.plane.layout import Plane, WorkerState
from native.plane.routes import Route, RouteTables
from native.plane.routing import SEAT_STATE_EMPTY, SEAT_STATE_FAILED, SEAT_STATE_READY, SEATS_MAX
from native.plane.seats import SeatTable, WorkerSeats
from server.control.seating import NoSeat, Seating, Standing

A, B = "a" * 64, "b" * 64


@pytest.fixture
def plane() -> Plane:
    plane = Plane.create(2)
    for index in range(2):
        plane.block(index).enter(WorkerState.READY)
    return plane


def test_an_artifact_has_one_seat_however_often_it_is_taken_and_each_model_its_own(plane: Plane) -> None:
    seating = Seating(plane)
    first = seating.take(0, "1", A)
    assert seating.take(0, "1", A) == first == seating.find(0, A)
    assert seating.take(1, "1", A).index != first.index
    assert seating.find(0, B) is None
    assert seating.ref(0, None) is None


def test_it_is_ready_when_every_worker_that_serves_says_so_of_this_generation(plane: Plane) -> None:
    seating = Seating(plane)
    seat = seating.take(0, "1", A)
    workers = [WorkerSeats(plane.block(index)) for index in range(2)]
    assert seating.holding(seat).standing is Standing.LOADING
    workers[0].set_state(seat.index, seat.generation, SEAT_STATE_READY)
    workers[1].set_state(seat.index, seat.generation + 1, SEAT_STATE_READY)
    assert seating.holding(seat).standing is Standing.LOADING
    plane.block(1).enter(WorkerState.STARTING)
    assert seating.holding(seat).standing is Standing.READY
    plane.block(0).enter(WorkerState.DEAD)
    assert seating.holding(seat).standing is Standing.LOADING, "nobody serves"


def test_a_failure_is_told_in_the_workers_words_and_only_of_its_own_seat(plane: Plane) -> None:
    seating = Seating(plane)
    seat = seating.take(0, "1", A)
    worker = WorkerSeats(plane.block(1))
    worker.fail(seat.index, seat.generation, "model.onnx: truncated")
    assert seating.holding(seat).standing is Standing.FAILED
    assert seating.holding(seat).failure == "model.onnx: truncated"
    worker.fail(seat.index + 1, 1, "another")
    assert "log" in seating.holding(seat).failure


def test_a_banned_artifact_has_no_seat_and_gets_another_generation(plane: Plane) -> None:
    seating = Seating(plane)
    seat = seating.take(0, "1", A)
    SeatTable(plane).ban(seat.index, seat.generation)
    assert seating.banned(0, A)
    assert seating.find(0, A) is None
    assert seating.take(0, "1", A).index != seat.index


def test_a_seat_is_given_to_others_only_when_it_is_empty_everywhere_and_unrouted(plane: Plane) -> None:
    seating = Seating(plane)
    seats = [seating.take(0, "1", f"{number:064x}") for number in range(SEATS_MAX)]
    with pytest.raises(NoSeat, match=f"all {SEATS_MAX} seats are taken"):
        seating.take(0, "1", A)
    RouteTables(plane).publish([Route(stable=seating.ref(0, seats[3].digest))])
    worker = WorkerSeats(plane.block(0))
    worker.set_state(seats[5].index, seats[5].generation, SEAT_STATE_FAILED)
    seating.give_back(0, seats[3].digest)
    seating.give_back(0, seats[5].digest)
    with pytest.raises(NoSeat):
        seating.take(0, "1", A)
    worker.set_state(seats[5].index, seats[5].generation, SEAT_STATE_EMPTY)
    taken = seating.take(0, "1", A)
    assert (taken.index, taken.generation) == (seats[5].index, seats[5].generation + 1)
