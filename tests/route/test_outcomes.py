"""What is counted of requests, and where: every word of a cell after outcomes of every kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from native.batch.commit import add_request, gathering_arena
from native.batch.finish import collect_finished, finish_arena
from native.batch.memory import BatchMemory, QueueBounds, address_of, aligned_bytes
from native.batch.seal import next_arena, take_arena
from native.lane.layout import LANE_AGE_LIMIT_NS, LANE_NOW_NS, LANE_STRAIN, STRAIN_BUSY, STRAIN_LATE, STRAIN_NONE
from native.lane.slots import claim_slot, release_slot
from native.plane.counters import BATCHES_INLINE, COUNTERS_LENGTH, LATE_EXCUSED
from native.plane.evidence import Cell, EvidenceReader, clear_first_events
from native.plane.layout import Plane
from native.plane.routes import Route, SeatRef
from native.plane.routing import (
    CELL_SEQUENCE,
    CELL_WORDS,
    CELLS,
    CELLS_KEPT,
    EVENT_ERROR,
    EVENT_NON_FINITE,
    EVENT_NONE,
    EVENT_TIMEOUT,
)
from native.route.choose import choose_seat
from native.route.follow import follow_routes
from native.route.layout import MAIN, PIN_CANARY, TRIAL
from native.route.outcomes import count_outcome, count_shadow, publish_evidence, rows_finite
from native.wire.datatypes import DATATYPES
from native.wire.directory import ModelDirectory, WireModel, WireTensor
from tests.route.worker_of_two import NO_CONNECTION, NO_SEAT, WorkerOfTwo

STABLE, CANARY = 0, 1
CODES = {kind.name: code for code, kind in DATATYPES.items()}


@dataclass(frozen=True)
class Asked:
    """One call. values: of its output's rows, in place of 1.0. failed: its run raised. age_ns: when it is answered."""

    key: int | None = None
    values: tuple[float, ...] = (1.0,)
    failed: bool = False
    age_ns: int = 0
    retry: bool = False
    pin: int = 0


def answer(worker: WorkerOfTwo, *calls: Asked) -> None:
    """Each call by itself, from the split to the published cell."""
    for call in calls:
        memory, words = worker.memory, worker.words
        words[LANE_NOW_NS] = 1_000_000_000
        slot = claim_slot(words, NO_CONNECTION)
        entry = memory.slots[slot]
        entry["pin"], entry["evidence"] = call.pin, int(not call.retry)
        if call.key is not None:
            entry["keyed"], entry["key_hash"] = 1, call.key
        seat = choose_seat(words, slot, 0, NO_SEAT)
        add_request(words, gathering_arena(words, seat, len(call.values)), slot, seat, len(call.values))
        arena = max(next_arena(words, side) for side in (MAIN, TRIAL))
        take_arena(words, arena, 0, 0, memory.refused)
        _, (output,) = memory.arena_columns(arena)
        output[: len(call.values)] = np.array(call.values)[:, None]
        words[LANE_NOW_NS] += call.age_ns
        if call.failed:
            count_outcome(words, slot, EVENT_ERROR)
        else:
            assert collect_finished(words, arena) == 1
        release_slot(words, slot)
        finish_arena(words, arena, BATCHES_INLINE)


def cells(worker: WorkerOfTwo) -> dict[tuple[int, int], Cell]:
    """By seat and weight epoch."""
    return {(cell.seat, cell.weight_epoch): cell for cell in EvidenceReader(worker.plane).read()}


def counts(cell: Cell) -> dict[str, int]:
    """What is not zero of a cell."""
    places = {"worker", "seat", "generation", "weight_epoch"}
    return {name: value for name, value in vars(cell).items() if value and name not in places}


@pytest.fixture
def worker() -> WorkerOfTwo:
    worker = WorkerOfTwo()
    worker.words[LANE_AGE_LIMIT_NS] = 1_000
    worker.route(1_000_000)
    return worker


NAN, INF = float("nan"), float("inf")


COUNTED = {"requests": 1, "units": 1, "answered": 1, "rows": 1}
LATE = {"timeouts": 1, "timeouts_all": 1, "failed": 1}
FAILED = {"errors": 1, "errors_all": 1, "failed": 1}
NO_NUMBER = {"non_finite": 1, "non_finite_all": 1}


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (Asked(), COUNTED),
        (Asked(values=(1.0, 2.0)), COUNTED | {"rows": 2}),
        (Asked(values=(1.0, NAN)), COUNTED | NO_NUMBER | {"rows": 2}),
        (Asked(values=(-INF,)), COUNTED | NO_NUMBER),
        (Asked(values=(3.4e38, -3.4e38)), COUNTED | {"rows": 2}),
        (Asked(failed=True), COUNTED | FAILED),
        (Asked(age_ns=1_000), COUNTED),
        (Asked(age_ns=1_001), COUNTED | LATE),
        (Asked(values=(NAN,), age_ns=1_001), COUNTED | NO_NUMBER),
        (Asked(retry=True, values=(NAN,)), {"answered": 1, "rows": 1}),
        (Asked(pin=PIN_CANARY, failed=True), {"answered": 1, "failed": 1, "rows": 1}),
    ],
)
def test_an_outcome_is_counted_once_where_it_belongs(
    worker: WorkerOfTwo, call: Asked, expected: dict[str, int]
) -> None:
    worker.route(1_000_000, pin_allowed=True)
    answer(worker, call)
    assert {place: counts(cell) for place, cell in cells(worker).items()} == {(CANARY, 2): expected}


def test_a_key_is_one_unit_with_one_first_event_and_all_its_requests_and_events_are_counted_beside(
    worker: WorkerOfTwo,
) -> None:
    late = Asked(key=6, age_ns=1_001)
    answer(worker, Asked(key=5), Asked(key=5, values=(NAN,)), *[Asked(key=5, failed=True)] * 2, late, late)
    assert counts(cells(worker)[CANARY, 1]) == {
        "requests": 6, "non_finite": 1, "timeouts": 1, "answered": 6, "failed": 4, "rows": 6,
        "units": 2, "errors_all": 2, "non_finite_all": 1, "timeouts_all": 2,
    }  # fmt: skip
    clear_first_events(worker.plane, 0)
    answer(worker, Asked(key=5, failed=True))
    cell = cells(worker)[CANARY, 1]
    assert (cell.errors, cell.units) == (1, 3), "another rollout: the key's first event and first request again"


def test_each_keyless_request_is_a_unit_and_each_of_its_events_a_first_one(worker: WorkerOfTwo) -> None:
    answer(worker, *[Asked(values=(NAN,))] * 3)
    cell = cells(worker)[CANARY, 1]
    assert (cell.non_finite, cell.non_finite_all, cell.units) == (3, 3, 3)


def test_a_key_that_a_higher_weight_moves_to_the_canary_is_a_unit_of_the_canarys(worker: WorkerOfTwo) -> None:
    worker.route(0)
    answer(worker, Asked(key=5), Asked(key=5))
    assert counts(cells(worker)[STABLE, 2]) == {"requests": 2, "answered": 2, "rows": 2}
    worker.route(1_000_000)
    answer(worker, Asked(key=5), Asked(key=5))
    assert (cells(worker)[CANARY, 3].requests, cells(worker)[CANARY, 3].units) == (2, 1)


def test_a_key_that_another_worker_met_is_no_unit_again(worker: WorkerOfTwo) -> None:
    answer(worker, Asked(key=5))
    successor = WorkerOfTwo(plane=worker.plane)
    follow_routes(successor.words)
    answer(successor, Asked(key=5), Asked(key=6))
    assert (cells(successor)[CANARY, 1].requests, cells(successor)[CANARY, 1].units) == (3, 2)


def test_a_retry_or_a_pinned_request_makes_its_key_no_unit(worker: WorkerOfTwo) -> None:
    worker.route(1_000_000, pin_allowed=True)
    answer(worker, Asked(key=5, retry=True), Asked(key=5, pin=PIN_CANARY), Asked(key=5))
    assert (cells(worker)[CANARY, 2].requests, cells(worker)[CANARY, 2].units) == (1, 1)


def test_counts_belong_to_the_weights_that_split_the_request(worker: WorkerOfTwo) -> None:
    answer(worker, Asked())
    worker.route(0)
    answer(worker, Asked(), Asked())
    assert {place: cell.requests for place, cell in cells(worker).items()} == {(CANARY, 1): 1, (STABLE, 2): 2}


def test_a_worker_that_cannot_serve_the_canary_tells_nothing_about_shares(worker: WorkerOfTwo) -> None:
    worker.memory.set_ready(CANARY, 0)
    answer(worker, Asked(values=(NAN,)))
    assert counts(cells(worker)[STABLE, 1]) == {"answered": 1, "rows": 1}


def test_another_artifact_in_the_seat_starts_from_zero(worker: WorkerOfTwo) -> None:
    answer(worker, Asked())
    worker.memory.set_ready(CANARY, 2)
    worker.tables.publish([Route(3, SeatRef(0, 1), SeatRef(1, 2), canary_ppm=1_000_000, weight_epoch=1)])
    follow_routes(worker.words)
    answer(worker, Asked())
    cell = cells(worker)[CANARY, 1]
    assert (cell.generation, cell.requests) == (2, 1)


def test_a_straggler_of_long_gone_weights_takes_no_later_counts_away(worker: WorkerOfTwo) -> None:
    late = claim_slot(worker.words, NO_CONNECTION)
    assert choose_seat(worker.words, late, 0, NO_SEAT) == CANARY
    worker.memory.slots[late]["model"], worker.memory.slots[late]["rows"] = CANARY, 1
    for _ in range(CELLS_KEPT):
        worker.route(1_000_000)
    answer(worker, Asked())
    count_outcome(worker.words, late, EVENT_ERROR)
    publish_evidence(worker.words)
    assert counts(cells(worker)[CANARY, 1 + CELLS_KEPT]) == {"requests": 1, "units": 1, "answered": 1, "rows": 1}


def test_counts_of_a_worker_that_was_killed_while_it_published_go_on(worker: WorkerOfTwo) -> None:
    answer(worker, Asked())
    shared = worker.plane.block(0).routing
    at = CELLS + (CANARY * CELLS_KEPT + 1) * CELL_WORDS + CELL_SEQUENCE
    shared[at] += 1
    assert not cells(worker), "torn for good"
    successor = WorkerOfTwo(plane=worker.plane)
    follow_routes(successor.words)
    answer(successor, Asked())
    assert cells(successor)[CANARY, 1].requests == 2


LATE_NS = 10_000_000_000
NAN = float("nan")


@pytest.mark.parametrize(
    ("strain", "wanted"),
    [
        # In time, late, not a number, failed: units of evidence, and events.
        (STRAIN_NONE, {"requests": 4, "units": 4, "timeouts": 1, "non_finite": 1, "errors": 1}),
        (STRAIN_BUSY, {"requests": 3, "units": 3, "timeouts": 0, "non_finite": 1, "errors": 1}),
        (STRAIN_LATE, {"requests": 2, "units": 2, "timeouts": 0, "non_finite": 1, "errors": 1}),
    ],
)
def test_lateness_for_want_of_processor_time_is_no_evidence(
    worker: WorkerOfTwo, strain: int, wanted: dict[str, int]
) -> None:
    worker.words[LANE_STRAIN] = strain
    answer(worker, Asked(), Asked(age_ns=LATE_NS), Asked(values=(NAN,)), Asked(failed=True))
    cell = cells(worker)[CANARY, 1]
    assert {name: getattr(cell, name) for name in wanted} == wanted
    assert (cell.answered, cell.failed) == (4, 2), "shown all the same"
    assert worker.memory.counters[LATE_EXCUSED] == int(strain != STRAIN_NONE)


def test_shadows_are_counted_apart(worker: WorkerOfTwo) -> None:
    for rows, outcome, non_finite in ((3, EVENT_NONE, 2), (2, EVENT_ERROR, 0), (4, EVENT_TIMEOUT, 0)):
        count_shadow(worker.words, CANARY, 1, rows, outcome, non_finite)
    publish_evidence(worker.words)
    assert counts(cells(worker)[CANARY, 1]) == {
        "shadowed": 5, "shadow_errors": 2, "shadow_skipped": 4, "shadow_non_finite": 2,
    }  # fmt: skip


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP32", "FP64", "INT64", "UINT8"])
def test_every_bit_pattern_is_told_from_a_number(datatype: str) -> None:
    """Against numpy, over patterns of all exponents; integers are never found wanting."""
    out = WireTensor("y", CODES[datatype], (-1, 3))
    model = WireModel("m", "1", "", "stable", (out,), (out,), 4)
    memory = BatchMemory(ModelDirectory([model]), [QueueBounds(2, 8)], np.zeros(COUNTERS_LENGTH, np.int64), slots_max=4)
    random = np.random.default_rng(20_261_124)
    block = aligned_bytes(memory.directory.output_block_bytes(0))
    (column,) = memory.directory.output_columns(0, block)
    edges = {"FP16": (0x7BFF, 0x7C00, 0xFC01), "BF16": (0x7F7F, 0x7F80, 0xFF81)}.get(datatype)
    for attempt in range(400):
        block[:] = random.integers(0, 256, block.size, dtype=np.uint8)
        if edges:
            column.view(np.uint16)[attempt % 4, attempt % 3] = edges[attempt % len(edges)]
        if datatype == "BF16":
            values = (column.astype(np.uint32) << 16).view(np.float32)
        else:
            values = column
        finite = np.isfinite(values).all(axis=1) if datatype[0] in "FB" else np.ones(4, dtype=bool)
        first, rows = attempt % 3, 1 + attempt % 2
        expected = int(finite[first : first + rows].all())
        assert rows_finite(memory.words, 0, address_of(block), first, rows) == expected


def test_nothing_is_counted_without_a_plane() -> None:
    model = WorkerOfTwo().memory.directory.model(STABLE)
    memory = BatchMemory(ModelDirectory([model]), [QueueBounds(2, 8)], np.zeros(COUNTERS_LENGTH, np.int64), slots_max=4)
    slot = claim_slot(memory.words, NO_CONNECTION)
    count_outcome(memory.words, slot, EVENT_NON_FINITE)
    publish_evidence(memory.words)


def test_cells_of_two_workers_are_told_apart() -> None:
    plane = Plane.create(2)
    worker = WorkerOfTwo(plane=plane)
    worker.route(1_000_000)
    other = BatchMemory(ModelDirectory([]), [], np.zeros(COUNTERS_LENGTH, np.int64), slots_max=4)
    other.attach_routes(plane.routing, plane.block(1).routing, 2)
    other.set_model(STABLE, worker.memory.directory.model(STABLE), QueueBounds(2, 8))
    other.set_ready(STABLE, 1)
    slot = claim_slot(other.words, NO_CONNECTION)
    assert choose_seat(other.words, slot, 0, NO_SEAT) == STABLE
    other.slots[slot]["rows"] = 1
    count_outcome(other.words, slot, EVENT_NONE)
    publish_evidence(other.words)
    answer(worker, Asked())
    reader = EvidenceReader(plane)
    cells = list(reader.read())
    assert {(cell.worker, cell.seat) for cell in cells} == {(0, CANARY), (1, STABLE)}
    epochs = [cell.weight_epoch for cell in cells]
    assert list(reader.read(epochs)) == cells
    assert list(reader.read([max(epochs) + 1])) == list(reader.read(())) == []
