"""Cells of evidence: whose counts they are, published whole, and a key's first event."""

import numpy as np
import pytest

from native.plane.evidence import (
    CELLS_COUNT,
    EvidenceReader,
    clear_first_events,
    copy_cells,
    first_event,
    open_cell,
    private_cells,
    publish_cell,
)
from native.plane.layout import Plane
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
    SEATS_MAX,
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


@pytest.mark.parametrize("model", [-1, MODELS_MAX, 2**62])
def test_a_model_that_does_not_exist_has_no_events(plane: Plane, model: int) -> None:
    before = plane.routing.copy()
    assert first_event(plane.routing, model, 5) == 0
    assert np.array_equal(before, plane.routing)


def test_an_empty_cell_is_not_reported(plane: Plane) -> None:
    assert list(EvidenceReader(plane).read()) == []
    assert plane.block(0).routing[CELLS + CELL_GENERATION] == 0
