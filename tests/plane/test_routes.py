"""Route tables while control flips them, and the ring that keeps them."""

import numpy as np
import pytest
from numba import njit

from native.plane.layout import Plane, WorkerState
from native.plane.routes import NO_TABLE, NoTable, RingFull, Route, RouteTables, SeatRef, copy_routes, words_checksum
from native.plane.routing import (
    EPOCH,
    MODELS_MAX,
    PPM,
    ROUTE_SALT,
    ROUTE_WORDS,
    ROUTING_WORDS,
    SEATS_MAX,
    SEEN_EPOCH,
    TABLE_CHECKSUM,
    TABLE_EPOCH,
    TABLE_ROUTES,
    TABLE_WORDS,
    TABLES,
    TABLES_COUNT,
)
from tests.plane.changing import writer

FLIPS = 1_000_000


@njit("void(int64[::1], int64[::1], int64[::1], int64)", nogil=True)
def follow(routing, table, seen, rounds):  # type: ignore[no-untyped-def]
    """seen: tables got, torn or wrong ones, epochs that went backwards, changes, reads that got none."""
    last = seen[5]
    for _ in range(rounds):
        epoch = copy_routes(routing, table)
        if epoch == NO_TABLE:
            seen[4] += 1
            continue
        if epoch == 0:
            continue
        seen[0] += 1
        for word in range(TABLE_ROUTES, TABLE_WORDS):
            if table[word] != epoch:
                seen[1] += 1
                break
        if epoch < last:
            seen[2] += 1
        if epoch != last:
            seen[3] += 1
        last = epoch
    seen[5] = last


def test_no_reader_sees_a_torn_or_recycled_table_while_control_flips_a_million_times() -> None:
    plane = Plane.create(1)
    table, seen = np.zeros(TABLE_WORDS, np.int64), np.zeros(6, np.int64)
    with writer(plane, "routes", FLIPS) as process:
        while process.poll() is None:
            follow(plane.routing, table, seen, 10_000)
        assert process.returncode == 0
    follow(plane.routing, table, seen, 1)
    got, torn, backwards, changes, none, last = seen.tolist()
    assert last == plane.routing[EPOCH] == FLIPS
    assert (torn, backwards) == (0, 0)
    assert changes > 1_000, "reader and writer only took turns: the run proves nothing"
    assert got > none


def test_a_table_whose_words_were_changed_behind_its_checksum_is_not_taken() -> None:
    plane = Plane.create(1)
    RouteTables(plane).publish([Route(1, SeatRef(0, 1))])
    plane.routing[TABLES + TABLE_WORDS + TABLE_ROUTES + ROUTE_SALT] += 1
    assert copy_routes(plane.routing, np.zeros(TABLE_WORDS, np.int64)) == NO_TABLE


def test_a_table_that_was_recycled_while_it_was_copied_is_not_taken() -> None:
    plane = Plane.create(1)
    RouteTables(plane).publish([Route(1, SeatRef(0, 1))])
    plane.routing[TABLES + TABLE_WORDS + TABLE_EPOCH] = 1 + TABLES_COUNT
    assert copy_routes(plane.routing, np.zeros(TABLE_WORDS, np.int64)) == NO_TABLE


def test_arrays_that_are_too_short_are_refused() -> None:
    assert copy_routes(np.ones(4, np.int64), np.zeros(TABLE_WORDS, np.int64)) == NO_TABLE
    assert copy_routes(np.ones(ROUTING_WORDS, np.int64), np.zeros(4, np.int64)) == NO_TABLE


def test_a_checksum_depends_on_the_places_of_words() -> None:
    words = np.arange(20, dtype=np.int64)
    swapped = words.copy()
    swapped[[3, 9]] = swapped[[9, 3]]
    assert words_checksum(words, 0, 20) != words_checksum(swapped, 0, 20)
    assert words_checksum(words, 0, 20) != words_checksum(words, 0, 19)


def test_what_is_published_is_what_is_current() -> None:
    tables = RouteTables(Plane.create(1))
    assert tables.current()[0] == 0
    assert all(route == Route() for route in tables.current()[1])
    route = Route(7, SeatRef(0, 3), SeatRef(31, 2), None, SeatRef(4, 9), 50_000, -(2**63), 12, True)
    assert tables.publish([Route(), route]) == 1
    epoch, routes = tables.current()
    assert (epoch, routes[0], routes[1]) == (1, Route(), route)
    assert route.seats == (SeatRef(0, 3), SeatRef(31, 2), SeatRef(4, 9))


def test_a_reader_sees_what_was_published_since_and_what_was_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = Plane.create(1)
    written, read = RouteTables(plane), RouteTables(plane)
    full = [Route(index + 1, SeatRef(index, 1)) for index in range(MODELS_MAX)]
    for table in ([], full, full[:1], [], [Route(), full[1]]):
        epoch = written.publish(table)
        expected = *table, *[Route()] * (MODELS_MAX - len(table))
        assert read.current() == (epoch, expected)
        with monkeypatch.context() as patched:
            patched.delattr("native.plane.routes.copy_routes")
            assert read.current() == (epoch, expected), "known, and not read again"


def test_a_reader_that_is_overtaken_all_the_time_is_told_that_it_got_none(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = Plane.create(1)
    written, read = RouteTables(plane), RouteTables(plane)
    written.publish([Route(1, SeatRef(0, 1))])
    read.current()
    written.publish([Route(2, SeatRef(3, 1))])
    with monkeypatch.context() as patched:
        patched.setattr("native.plane.routes.copy_routes", lambda *_: NO_TABLE)
        for reader in (read, RouteTables(plane)):
            with pytest.raises(NoTable):
                reader.current()
    assert read.current() == written.current()
    assert read.current()[1][0].revision == 2


@pytest.mark.parametrize(
    "wrong", [Route(canary_ppm=PPM + 1, canary=SeatRef(1, 1)), Route(canary_ppm=1), Route(1, SeatRef(SEATS_MAX, 1))]
)
def test_a_route_that_cannot_be_is_our_own_mistake(wrong: Route) -> None:
    with pytest.raises(AssertionError):
        RouteTables(Plane.create(1)).publish([wrong])


def test_a_place_in_the_ring_is_not_reused_before_every_serving_worker_has_seen_a_later_table() -> None:
    plane = Plane.create(2)
    tables = RouteTables(plane)
    plane.block(0).enter(WorkerState.READY)
    plane.block(1).enter(WorkerState.DEAD)
    for _ in range(TABLES_COUNT - 1):
        tables.publish([Route()])
    with pytest.raises(RingFull):
        tables.publish([Route()])
    plane.block(0).routing[SEEN_EPOCH] = 1
    assert tables.publish([Route()]) == TABLES_COUNT
    with pytest.raises(RingFull):
        tables.publish([Route()])
    assert tables.publish([Route(5)], urgent=True) == TABLES_COUNT + 1
    assert tables.current()[1][0].revision == 5


def test_all_have_seen_an_epoch_only_when_the_last_worker_that_serves_has() -> None:
    plane = Plane.create(2)
    tables = RouteTables(plane)
    for index in (0, 1):
        plane.block(index).enter(WorkerState.READY)
    plane.block(0).routing[SEEN_EPOCH] = 4
    assert not tables.seen_by_all(4)
    plane.block(1).routing[SEEN_EPOCH] = 5
    assert tables.seen_by_all(4)
    plane.block(1).routing[SEEN_EPOCH] = 0
    plane.block(1).enter(WorkerState.STARTING)
    assert tables.seen_by_all(4)


def test_the_checksum_covers_every_word_of_every_route() -> None:
    table = np.zeros(TABLE_WORDS, np.int64)
    whole = words_checksum(table, TABLE_ROUTES, TABLE_WORDS)
    for word in range(TABLE_ROUTES, TABLE_WORDS, ROUTE_WORDS // 2):
        changed = table.copy()
        changed[word] = 1
        assert words_checksum(changed, TABLE_ROUTES, TABLE_WORDS) != whole
    assert TABLE_CHECKSUM < TABLE_ROUTES
