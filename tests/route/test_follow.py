"""A worker that follows the plane: who answers, who runs what waits, and what is told back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numba import njit

from native.batch.commit import add_request, gathering_arena, sort_ready
from native.batch.layout import NO_ARENA
from native.batch.memory import QueueBounds
from native.batch.seal import free_arena, next_arena, note_cancelled, take_arena
from native.lane.slots import claim_slot
from native.plane.routes import Route, SeatRef
from native.plane.routing import EPOCH, NO_SEAT, PPM, SEEN_EPOCH, TABLE_ROUTES, TABLE_WORDS, TABLES
from native.route.follow import follow_routes, settle_seats
from native.route.layout import MAIN, PIN_CANARY, PIN_STABLE, PIN_UNKNOWN, ROLE_CANARY, ROLE_STABLE, TRIAL
from native.wire.codes import HAND_OVER
from native.wire.directory import WireModel
from native.wire.kernel import Words
from tests.route.worker_of_two import NO_CONNECTION, WorkerOfTwo, wire_model

STABLE, CANARY = 0, 1


@pytest.fixture
def worker() -> WorkerOfTwo:
    return WorkerOfTwo()


def queued(worker: WorkerOfTwo, seat: int, rows: int = 1) -> tuple[int, int]:
    """(arena, slot) of a call that waits."""
    slot = claim_slot(worker.words, NO_CONNECTION)
    arena = gathering_arena(worker.words, seat, rows)
    add_request(worker.words, arena, slot, seat, rows)
    return arena, slot


def taken(worker: WorkerOfTwo, side: int) -> int:
    arena = next_arena(worker.words, side)
    if arena != NO_ARENA:
        take_arena(worker.words, arena, 0, 0, worker.memory.refused)
    return int(arena)


def test_nothing_is_served_before_the_first_table(worker: WorkerOfTwo) -> None:
    assert worker.choose() == (HAND_OVER, True)
    assert not follow_routes(worker.words)


def test_a_table_is_taken_once_and_the_plane_is_told(worker: WorkerOfTwo) -> None:
    worker.route(0)
    assert worker.plane.block(0).routing[SEEN_EPOCH] == worker.plane.routing[EPOCH] == 1
    assert not follow_routes(worker.words), "one load, where nothing has moved"
    assert worker.choose()[0] == STABLE


def test_weights_of_nothing_and_of_all_need_no_chance(worker: WorkerOfTwo) -> None:
    worker.route(0)
    assert {worker.choose()[0] for _ in range(300)} == {STABLE}
    worker.route(PPM)
    assert {worker.choose()[0] for _ in range(300)} == {CANARY}


def test_a_canary_that_is_not_ready_here_leaves_its_share_to_the_stable_and_no_evidence(worker: WorkerOfTwo) -> None:
    worker.memory.set_ready(CANARY, 0)
    worker.route(500_000)
    assert {worker.choose() for _ in range(300)} == {(STABLE, False)}
    worker.memory.set_ready(CANARY, 2)
    assert {worker.choose()[0] for _ in range(300)} == {STABLE}, "the seat holds another artifact"
    worker.memory.set_ready(CANARY, 1)
    assert {worker.choose() for _ in range(300)} == {(STABLE, True), (CANARY, True)}


def test_a_model_without_a_ready_stable_is_handed_over(worker: WorkerOfTwo) -> None:
    worker.route(0, canary=False, stable=False)
    assert worker.choose()[0] == HAND_OVER


def test_a_torn_table_is_not_followed(worker: WorkerOfTwo) -> None:
    worker.route(0)
    at = TABLES + 2 * TABLE_WORDS + TABLE_ROUTES
    worker.tables.publish([Route(9, SeatRef(1, 1))])
    worker.plane.routing[at] += 1
    assert not follow_routes(worker.words)
    assert worker.choose()[0] == STABLE


@pytest.mark.parametrize(
    ("pin_allowed", "pin", "wanted", "answer"),
    [
        (True, PIN_CANARY, -1, CANARY),
        (True, PIN_STABLE, -1, STABLE),
        (False, PIN_CANARY, -1, HAND_OVER),
        (False, PIN_STABLE, -1, HAND_OVER),
        (True, PIN_UNKNOWN, -1, HAND_OVER),
        (False, 0, STABLE, STABLE),
        (False, 0, CANARY, HAND_OVER),
        (True, 0, CANARY, CANARY),
        (True, PIN_STABLE, CANARY, HAND_OVER),
    ],
)
def test_a_caller_may_choose_where_that_is_allowed_and_is_no_evidence(
    worker: WorkerOfTwo, pin_allowed: bool, pin: int, wanted: int, answer: int
) -> None:
    worker.route(500_000, pin_allowed=pin_allowed)
    assert worker.choose(pin=pin, wanted=wanted) == (answer, False)


def test_a_version_that_is_neither_stable_nor_canary_is_handed_over(worker: WorkerOfTwo) -> None:
    worker.memory.set_model(2, wire_model("3"), QueueBounds(3, 24))
    worker.memory.set_ready(2, 1)
    worker.route(500_000, pin_allowed=True, last_safe=SeatRef(2, 1))
    assert worker.choose(wanted=2)[0] == HAND_OVER


def test_a_canary_waits_and_runs_apart_from_the_stable(worker: WorkerOfTwo) -> None:
    worker.route(500_000)
    stable, _ = queued(worker, STABLE)
    canary, _ = queued(worker, CANARY)
    assert next_arena(worker.words, MAIN) == stable
    assert next_arena(worker.words, TRIAL) == canary
    assert taken(worker, TRIAL) == canary
    assert taken(worker, TRIAL) == NO_ARENA
    assert taken(worker, MAIN) == stable


def test_rows_of_a_canary_that_went_home_are_run_by_the_stable_and_are_no_evidence(worker: WorkerOfTwo) -> None:
    worker.route(500_000)
    full = [queued(worker, CANARY, rows=8) for _ in range(2)]  # one sealed, one gathering
    worker.route(0, canary=False)
    sort_ready(worker.words)
    assert taken(worker, TRIAL) == NO_ARENA
    for arena, slot in full:
        assert taken(worker, MAIN) == arena
        assert worker.memory.arenas[arena]["runs_as"] == STABLE
        assert worker.memory.slots[slot]["model"] == STABLE
        assert worker.memory.slots[slot]["evidence"] == 0
        assert worker.memory.busy(CANARY)
        free_arena(worker.words, arena)
    assert not worker.memory.busy(CANARY)
    arena, _ = queued(worker, CANARY)
    assert worker.memory.arenas[arena]["model"] == CANARY, "it was given back to its own queue"


def without_batches(version: str) -> WireModel:
    return replace(wire_model(version), batchable=False)


def with_other_batches(version: str) -> WireModel:
    return wire_model(version, max_rows=4)


def put(worker: WorkerOfTwo, seat: int, model: WireModel) -> None:
    worker.memory.remove_model(seat)
    worker.memory.set_model(seat, model, QueueBounds(3, 24))
    worker.memory.set_ready(seat, 1)


def refused_on(worker: WorkerOfTwo, side: int) -> tuple[int, list[int]]:
    """The arena that is taken next, of which nothing is run, and the slots whose callers are to be told."""
    arena = int(next_arena(worker.words, side))
    count = take_arena(worker.words, arena, 0, 0, worker.memory.refused)
    assert worker.memory.arenas[arena]["runs_as"] == NO_SEAT
    assert worker.memory.arenas[arena]["rows"] == 0
    return arena, worker.memory.refused[:count].tolist()


@pytest.mark.parametrize("stable", [without_batches, with_other_batches])
def test_rows_of_a_canary_that_went_home_are_not_run_where_the_stable_cannot_take_them(
    worker: WorkerOfTwo, stable: Callable[[str], WireModel]
) -> None:
    put(worker, STABLE, stable("1"))
    worker.route(500_000)
    waiting = [queued(worker, CANARY, rows=8) for _ in range(2)]  # one sealed, one gathering
    worker.memory.slots[waiting[0][1]]["deadline_ns"] = 1
    worker.route(0, canary=False)
    sort_ready(worker.words)
    assert taken(worker, TRIAL) == NO_ARENA
    assert [refused_on(worker, MAIN) for _ in waiting] == [(arena, [slot]) for arena, slot in waiting]
    for arena, _ in waiting:
        free_arena(worker.words, arena)
    assert taken(worker, MAIN) == NO_ARENA
    assert not worker.memory.busy(CANARY)


def test_callers_of_a_canary_that_went_home_who_gave_up_are_told_nothing(worker: WorkerOfTwo) -> None:
    put(worker, STABLE, without_batches("1"))
    worker.route(500_000)
    (arena, gone), (_, waiting) = queued(worker, CANARY), queued(worker, CANARY)
    worker.memory.slots[gone]["cancelled"] = 1
    note_cancelled(worker.words, gone)
    worker.route(0, canary=False)
    assert refused_on(worker, MAIN) == (arena, [waiting])
    assert worker.memory.slots_in_use == 1


def test_rows_of_a_model_without_any_stable_are_not_run(worker: WorkerOfTwo) -> None:
    worker.route(500_000)
    waiting = [queued(worker, seat) for seat in (STABLE, CANARY)]
    worker.route(0, canary=False, stable=False)
    assert [refused_on(worker, MAIN) for _ in waiting] == [(arena, [slot]) for arena, slot in waiting]


def test_a_canary_that_became_a_shadow_answers_nobody(worker: WorkerOfTwo) -> None:
    put(worker, STABLE, without_batches("1"))
    worker.route(500_000)
    arena, slot = queued(worker, CANARY)
    worker.route(0, canary=False, shadow=SeatRef(1, 1))
    assert refused_on(worker, MAIN) == (arena, [slot])


@pytest.mark.parametrize("canary", [without_batches, with_other_batches])
def test_no_row_is_lost_by_a_promotion_where_the_new_stable_cannot_take_it(
    worker: WorkerOfTwo, canary: Callable[[str], WireModel]
) -> None:
    put(worker, CANARY, canary("2"))
    worker.route(500_000)
    arena, _ = queued(worker, STABLE)
    worker.tables.publish([Route(9, SeatRef(1, 1), last_safe=SeatRef(0, 1), weight_epoch=9)])
    assert taken(worker, MAIN) == arena
    assert worker.memory.arenas[arena]["runs_as"] == STABLE
    assert worker.memory.arenas[arena]["rows"] == 1


def test_a_promoted_canary_is_a_stable_from_then_on(worker: WorkerOfTwo) -> None:
    worker.route(500_000)
    arena, slot = queued(worker, CANARY)
    old, _ = queued(worker, STABLE)
    worker.tables.publish([Route(9, SeatRef(1, 1), last_safe=SeatRef(0, 1), weight_epoch=9)])
    follow_routes(worker.words)
    assert worker.choose()[0] == CANARY
    assert {taken(worker, MAIN), taken(worker, MAIN)} == {arena, old}
    assert worker.memory.slots[slot]["evidence"] == 1
    assert worker.memory.arenas[old]["runs_as"] == CANARY, "what waited for the old one is run by the new"


def test_replies_name_the_place_in_the_traffic(worker: WorkerOfTwo) -> None:
    from native.wire.directory import MODEL_PREDICT_HEAD_BYTES, MODEL_PREDICT_HEAD_OFFSET

    def head(seat: int) -> bytes:
        directory = worker.memory.directory
        offset = directory.model_word(seat, MODEL_PREDICT_HEAD_OFFSET)
        return directory.blob[offset : offset + directory.model_word(seat, MODEL_PREDICT_HEAD_BYTES)].tobytes()

    worker.route(500_000)
    assert (head(STABLE)[-6:], head(CANARY)[-6:]) == (b"stable", b"canary")
    worker.tables.publish([Route(9, SeatRef(1, 1), weight_epoch=9)])
    follow_routes(worker.words)
    assert head(CANARY)[-6:] == b"stable"


def test_a_thousand_replacements_take_no_more_memory(worker: WorkerOfTwo) -> None:
    for version in range(1000):
        worker.memory.remove_model(CANARY)
        worker.memory.set_model(CANARY, wire_model(str(version), max_rows=8 - version % 3), QueueBounds(3, 24))
    assert worker.memory.arenas.size == 6
    assert worker.memory._arena_slots.size == 6 * 8


def test_what_waits_is_still_there_after_arenas_have_moved(worker: WorkerOfTwo) -> None:
    worker.route(500_000)
    sealed = [queued(worker, STABLE, rows=8)[0] for _ in range(2)]
    worker.memory.set_model(7, wire_model("8"), QueueBounds(5, 24))
    assert [taken(worker, MAIN) for _ in range(2)] == sealed
    assert worker.memory.arena_requests(sealed[0]) == [0]


def test_a_busy_place_is_not_made_vacant(worker: WorkerOfTwo) -> None:
    worker.route(500_000)
    queued(worker, CANARY)
    with pytest.raises(AssertionError):
        worker.memory.remove_model(CANARY)
    assert np.count_nonzero(worker.memory.seats["generation"]) == 2


def test_what_waits_for_a_seat_that_is_not_ready_any_more_is_run_once_by_the_stable(worker: WorkerOfTwo) -> None:
    worker.route(500_000)
    full = [queued(worker, CANARY, rows=8)[0] for _ in range(2)]
    worker.memory.set_ready(CANARY, 0)
    ran = []
    while (arena := taken(worker, MAIN)) != NO_ARENA:
        ran.append((arena, int(worker.memory.arenas[arena]["runs_as"])))
        free_arena(worker.words, arena)
    assert ran == [(arena, STABLE) for arena in full]
    assert taken(worker, TRIAL) == NO_ARENA


def test_an_arena_that_is_not_next_is_not_taken(worker: WorkerOfTwo) -> None:
    worker.route(500_000)
    first, second = (queued(worker, STABLE, rows=8)[0] for _ in range(2))
    queued(worker, STABLE, rows=8)  # seals the second
    assert take_arena(worker.words, second, 0, 0, worker.memory.refused) == NO_ARENA
    assert taken(worker, MAIN) == first
    assert taken(worker, MAIN) == second


@njit("void(int64[::1], int64)", nogil=True)
def settle_again_and_again(lane: Words, times: int) -> None:
    for _ in range(times):
        settle_seats(lane)


def test_a_role_is_never_another_on_its_way(worker: WorkerOfTwo) -> None:
    """The runners' threads look at it while the loop settles seats."""
    worker.route(500_000)
    thread = threading.Thread(target=settle_again_and_again, args=(worker.words, 200_000))
    thread.start()
    seen = set()
    while thread.is_alive():
        seen.add(tuple(worker.memory.seats["role"][[STABLE, CANARY]].tolist()))
    assert seen == {(ROLE_STABLE, ROLE_CANARY)}
