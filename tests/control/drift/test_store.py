"""The store: what was put is on disk as it was, for as long as it is kept."""

import sqlite3
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from server.control.drift.kept import BLOCKS_KEPT_NS, KEPT_NS, Stream, Unsaved
from server.control.drift.store import NAME
from server.control.drift.windows import DAY_NS, MINUTE_NS, SLICES_MIN, Window, WindowKind
from tests.control.drift.counted_seats import (
    DIGEST,
    MODEL,
    MONDAY,
    Clock,
    Observed,
    check_blocks,
    seat,
    store_in,
    total_of,
)
from tests.control.drift.stored_windows import STREAM, WAIT_S, filled, on_disk

MINUTE, HOUR, DAY, WEEK = WindowKind


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(5)


def test_windows_come_back_from_disk_as_they_were(tmp_path: Path, random: np.random.Generator) -> None:
    observed = Observed(store_in(tmp_path / "state"), Clock())
    observed.run([seat()], 16 * 4, random)
    assert observed.store.flush(WAIT_S)
    found = on_disk(observed.store)
    closed = observed.windows(MINUTE)
    assert len(found) == len(closed) == 4
    for kept, window in zip(found, closed, strict=True):
        assert (kept.start_utc_ns, kept.end_utc_ns, kept.kind) == (window.start_utc_ns, window.end_utc_ns, MINUTE)
        assert (kept.blocks_by_key == window.blocks_by_key).all()
        assert (kept.blocks_by_time == window.blocks_by_time).all()
    assert len(observed.store.windows(STREAM, MINUTE, since_utc_ns=closed[2].start_utc_ns)) == 2
    assert [one.start_utc_ns for one in observed.store.windows(STREAM, MINUTE, count=1)] == [closed[3].start_utc_ns]
    assert observed.store.windows(Stream("other", DIGEST), MINUTE) == ()
    assert observed.store.trouble is None
    assert observed.store.close(WAIT_S)


def test_nobody_else_can_read_the_file_or_its_log(tmp_path: Path, random: np.random.Generator) -> None:
    observed = Observed(store_in(tmp_path), Clock())
    observed.run([seat()], 16, random)
    assert observed.store.flush(WAIT_S)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {NAME: 0o600, f"{NAME}-wal": 0o600}
    observed.store.close(WAIT_S)


def test_without_a_folder_everything_goes_on_in_memory(random: np.random.Generator) -> None:
    observed = Observed(store_in(None), Clock())
    observed.run([seat()], 16, random)
    observed.book.save_everything()
    assert observed.store.flush(WAIT_S)
    assert on_disk(observed.store) == ()
    assert observed.book.trouble is None
    assert observed.store.close(WAIT_S)


def test_states_and_readings_come_back_and_those_of_another_plane_do_not(
    tmp_path: Path, random: np.random.Generator
) -> None:
    counted = seat()
    clock = filled(tmp_path, random, counted)
    again = Observed(store_in(tmp_path), clock)
    assert again.book.state(MODEL, DIGEST, "inputs") == b"evidence"
    again.run([counted], 24, random)
    assert (total_of([*on_disk(again.store)]) <= counted.total).all()
    again.book.save_everything()
    assert again.store.close(WAIT_S)
    # The server started anew: the same seat and generation are another counter.
    anew = seat()
    third = Observed(store_in(tmp_path, plane="another"), clock, plane_started_utc_ns=clock.at_utc_ns)
    third.run([anew], 16, random)
    assert third.store.flush(WAIT_S)
    assert (total_of(on_disk(third.store)) == counted.total + anew.total).all()
    assert third.book.resets == 0
    assert third.book.state(MODEL, DIGEST, "inputs") == b"evidence"
    third.store.close(WAIT_S)
    with sqlite3.connect(tmp_path / NAME) as connection:
        assert connection.execute("SELECT DISTINCT plane FROM readings").fetchall() == [("another",)]
    connection.close()


def test_readings_of_a_plane_that_has_gone_are_thrown_away(tmp_path: Path, random: np.random.Generator) -> None:
    filled(tmp_path, random, seat())
    observed = Observed(store_in(tmp_path, plane="another"), Clock())
    observed.store.put({Stream("n", DIGEST): Unsaved((), None, (), {"inputs": b""})}, 0)
    assert observed.store.close(WAIT_S)
    with sqlite3.connect(tmp_path / NAME) as connection:
        assert connection.execute("SELECT count(*) FROM readings").fetchone() == (0,)
    connection.close()


def test_the_minute_in_progress_is_that_of_the_last_save(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.load()
    first, second, third = (
        Window(start, start + MINUTE_NS, np.ones((16, 2), dtype=np.int64), np.full((1, 2), 16), MINUTE)
        for start in (MONDAY, MONDAY + MINUTE_NS, MONDAY + 2 * MINUTE_NS)
    )
    for windows, minute in (((first,), second), ((), third)):
        store.put({STREAM: Unsaved(windows, minute, ())}, MONDAY)
        assert store.flush(WAIT_S)
    assert store.close(WAIT_S)
    found = store_in(tmp_path).load()[STREAM].minute
    assert found is not None
    assert found.start_utc_ns == third.start_utc_ns


# --- Age -------------------------------------------------------------------------------------------------------------
def test_windows_are_kept_for_as_long_as_their_kind_says_and_their_blocks_for_less(
    tmp_path: Path, random: np.random.Generator
) -> None:
    observed, counted = Observed(store_in(tmp_path), Clock()), seat()
    for _ in range(6 * 24 * 8):  # eight days
        observed.clock.step(10 * MINUTE_NS)
        counted.count(random, 3)
        observed.observe([counted])
    observed.book.save()
    assert observed.store.flush(WAIT_S)
    at = observed.clock.at_utc_ns
    for kind in (MINUTE, HOUR):
        kept = on_disk(observed.store, kind)
        expected = [window for window in observed.windows(kind) if at - window.end_utc_ns <= KEPT_NS[kind]]
        assert [window.start_utc_ns for window in kept] == [window.start_utc_ns for window in expected]
        for window in kept:
            assert window.has_blocks == (at - window.end_utc_ns <= BLOCKS_KEPT_NS[kind])
            check_blocks(window)
    assert len(on_disk(observed.store, MINUTE)) < len(observed.windows(MINUTE)) / 3
    assert len(on_disk(observed.store, DAY)) == 8
    assert len(on_disk(observed.store, WEEK)) == 1
    observed.store.close(WAIT_S)


def test_a_jump_of_the_clock_makes_nothing_old(tmp_path: Path, random: np.random.Generator) -> None:
    observed, counted = Observed(store_in(tmp_path), Clock()), seat()
    observed.run([counted], 16 * 2, random)
    observed.clock.jump(4000 * DAY_NS)
    observed.run([counted], 16 * 2, random)
    assert observed.store.flush(WAIT_S)
    assert len(on_disk(observed.store)) >= 4
    assert (total_of(on_disk(observed.store)) == total_of(observed.windows(MINUTE))).all()
    observed.store.close(WAIT_S)


def test_an_artifact_of_which_nothing_is_kept_any_more_is_forgotten(
    tmp_path: Path, random: np.random.Generator
) -> None:
    clock = filled(tmp_path, random, seat())
    later = Clock(clock.at_utc_ns + 11 * 366 * DAY_NS)
    observed = Observed(store_in(tmp_path, plane="another"), later, plane_started_utc_ns=later.at_utc_ns)
    assert len(observed.book.windows(MODEL, DIGEST, MINUTE, 10)) > 0
    observed.run([seat(digest="f" * 64)], 17 + SLICES_MIN, random)
    assert observed.store.close(WAIT_S)
    connection = sqlite3.connect(tmp_path / NAME)
    assert connection.execute("SELECT digest FROM streams").fetchall() == [("f" * 64,)]
    assert connection.execute("SELECT count(*) FROM states").fetchone() == (0,)
    connection.close()


def test_the_thread_ends_with_the_store(tmp_path: Path, random: np.random.Generator) -> None:
    before = threading.active_count()
    observed = Observed(store_in(tmp_path), Clock())
    observed.run([seat()], 16, random)
    assert threading.active_count() == before + 1
    assert observed.store.close(WAIT_S)
    assert threading.active_count() == before
