"""Cells of evidence: whose counts they are, published whole, and a key's first event and first request."""

import ctypes
import mmap
import os
from collections.abc import Callable

import numpy as np
import pytest

from native.plane.evidence import (
    CELLS_COUNT,
    EvidenceReader,
    clear_first_events,
    copy_cells,
    first_event,
    first_request,
    open_cell,
    private_cells,
    publish_cell,
)
from native.plane.layout import ROUTING_AT, Plane, plane_bytes
from native.plane.routing import (
    CELL_ERRORS,
    CELL_GENERATION,
    CELL_REQUESTS,
    CELL_SEQUENCE,
    CELL_WORDS,
    CELLS,
    CELLS_KEPT,
    FIRST_EVENTS_BITS,
    MODELS_MAX,
    ROUTING_WORDS,
    SEATS_MAX,
    UNITS,
    UNITS_BITS,
    UNITS_WORDS,
)
from tests.plane.changing import writer


@pytest.fixture
def plane() -> Plane:
    return Plane.create(2)


def counted(plane: Plane, worker: int, seat: int, generation: int, weight_epoch: int, requests: int) -> None:
    routing = plane.block(worker).routing
    cells = private_cells(routing)
    at = open_cell(cells, seat, generation, weight_epoch)
    cells[at + CELL_REQUESTS] += requests
    cells[at + CELL_ERRORS] += 1
    publish_cell(cells, routing, at)


def test_counts_are_told_by_worker_artifact_and_weights(plane: Plane) -> None:
    counted(plane, 0, 3, 1, 5, 10)
    counted(plane, 1, 3, 1, 5, 20)
    counted(plane, 1, 3, 1, 6, 30)
    counted(plane, 1, 31, 2, 6, 40)
    cells = list(EvidenceReader(plane).read())
    found = {(c.worker, c.seat, c.generation, c.weight_epoch): (c.requests, c.errors) for c in cells}
    assert found == {(0, 3, 1, 5): (10, 1), (1, 3, 1, 5): (20, 1), (1, 3, 1, 6): (30, 1), (1, 31, 2, 6): (40, 1)}


def test_nobody_inherits_a_predecessors_counts(plane: Plane) -> None:
    counted(plane, 0, 3, 1, 5, 10)
    counted(plane, 0, 3, 2, 5, 1)  # the seat has another artifact
    assert [(c.generation, c.requests) for c in EvidenceReader(plane).read()] == [(2, 1)]
    counted(plane, 0, 3, 2, 5 + CELLS_KEPT, 7)  # the same place in the ring
    assert [(c.weight_epoch, c.requests) for c in EvidenceReader(plane).read()] == [(5 + CELLS_KEPT, 7)]


def test_a_worker_that_is_started_again_goes_on_counting(plane: Plane) -> None:
    counted(plane, 0, 3, 1, 5, 10)
    at = CELLS + (3 * CELLS_KEPT + 5) * CELL_WORDS
    plane.block(0).routing[at + CELL_SEQUENCE] += 1  # killed while it published
    assert list(EvidenceReader(plane).read()) == []
    plane.block(0).begin(1, 2)
    counted(plane, 0, 3, 1, 5, 1)
    assert [c.requests for c in EvidenceReader(plane).read()] == [11]


@pytest.mark.parametrize("seat", [-1, SEATS_MAX, 2**62])
def test_a_seat_that_does_not_exist_has_no_cell(plane: Plane, seat: int) -> None:
    cells = private_cells(plane.block(0).routing)
    assert open_cell(cells, seat, 1, 1) == -1
    before = plane.block(0).routing.copy()
    for at in (-1, cells.size, cells.size - CELL_WORDS + 1, 2**62):
        publish_cell(cells, plane.block(0).routing, at)
    assert np.array_equal(before, plane.block(0).routing)


def test_a_copy_into_too_little_room_is_refused(plane: Plane) -> None:
    assert copy_cells(plane.block(0).routing, np.zeros((CELLS_COUNT - 1, CELL_WORDS), np.int64)) == -1
    assert copy_cells(plane.block(0).routing, np.zeros((CELLS_COUNT, CELL_WORDS - 1), np.int64)) == -1
    assert copy_cells(np.zeros(8, np.int64), np.zeros((CELLS_COUNT, CELL_WORDS), np.int64)) == -1


def test_cells_are_read_whole_while_a_worker_counts(plane: Plane) -> None:
    reader, looks = EvidenceReader(plane), 0
    with writer(plane, "cells", 2_000_000) as process:
        while process.poll() is None:
            for cell in reader.read():
                looks += 1
                assert {cell.answered, cell.failed, cell.rows, cell.shadowed, cell.shadow_non_finite} == {
                    -cell.requests
                }
        assert process.returncode == 0
    assert looks > 1_000, "reader and writer only took turns"
    assert sum(cell.requests for cell in reader.read()) <= 2_000_000


def test_only_the_first_event_of_a_key_counts_until_the_next_rollout(plane: Plane) -> None:
    for key in (0, 1, 63, 64, FIRST_EVENTS_BITS - 1, -(2**63) + 5, -1 - FIRST_EVENTS_BITS // 2):
        assert first_event(plane.routing, 2, key) == 1
        assert first_event(plane.routing, 2, key) == 0
        assert first_event(plane.routing, 3, key) == 1, "another model's rollout"
    clear_first_events(plane, 2)
    assert first_event(plane.routing, 2, 1) == 1
    assert first_event(plane.routing, 3, 1) == 0


def test_a_key_is_met_once_until_the_next_rollout_whether_or_not_it_had_an_event(plane: Plane) -> None:
    assert first_event(plane.routing, 2, 1) == 1
    for key in (0, 1, 63, 64, FIRST_EVENTS_BITS, UNITS_BITS - 1, -(2**63) + 5, -1 - UNITS_BITS // 2):
        assert first_request(plane.routing, 2, key) == 1
        assert first_request(plane.routing, 2, key) == 0
        assert first_request(plane.routing, 3, key) == 1, "another model's rollout"
    assert first_request(plane.routing, 2, UNITS_BITS) == 0, "keys of one bit count as one"
    clear_first_events(plane, 2)
    assert first_request(plane.routing, 2, 1) == first_event(plane.routing, 2, 1) == 1
    assert first_request(plane.routing, 3, 1) == 0


def test_no_models_keys_lie_among_anothers_or_beyond_the_plane(plane: Plane) -> None:
    for model in (0, MODELS_MAX - 1):
        for key in (0, -1):
            first_request(plane.routing, model, key)
    assert np.flatnonzero(plane.routing).tolist() == [
        UNITS, UNITS + UNITS_WORDS - 1, plane.routing.size - UNITS_WORDS, plane.routing.size - 1,
    ]  # fmt: skip


@pytest.mark.parametrize("note", [first_event, first_request])
def test_a_key_that_is_known_is_only_read(plane: Plane, note: Callable[[np.ndarray, int, int], int]) -> None:
    """A write, be it of the bits that are there, would take the cache line from every other worker at each request."""
    assert note(plane.routing, 0, 5) == 1
    with mmap.mmap(plane.fd, plane_bytes(plane.workers), prot=mmap.PROT_READ) as memory:
        address = np.frombuffer(memory, np.int64)[ROUTING_AT:].ctypes.data
        # Writeable to numpy and Numba, but not to the machine.
        routing = np.ctypeslib.as_array((ctypes.c_int64 * ROUTING_WORDS).from_address(address))
        process = os.fork()
        if process == 0:
            os._exit(note(routing, 0, 5))
        assert os.waitpid(process, 0)[1] == 0


@pytest.mark.parametrize("note", [first_event, first_request])
@pytest.mark.parametrize("model", [-1, MODELS_MAX, 2**62])
def test_a_model_that_does_not_exist_has_no_keys(
    plane: Plane, model: int, note: Callable[[np.ndarray, int, int], int]
) -> None:
    before = plane.routing.copy()
    assert note(plane.routing, model, 5) == 0
    assert note(plane.routing[:-1], 0, 5) == 0, "a plane that is too short"
    assert np.array_equal(before, plane.routing)


def test_an_empty_cell_is_not_reported(plane: Plane) -> None:
    assert list(EvidenceReader(plane).read()) == []
    assert plane.block(0).routing[CELLS + CELL_GENERATION] == 0
