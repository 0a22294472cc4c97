"""The store on a disk that is not well: a full disk, a damaged file and a second server do no harm."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from server.control.drift.kept import unsaved_max
from server.control.drift.store import DAMAGED_MAX, NAME
from server.control.drift.windows import DAY_NS, HOUR_NS, KINDS, MINUTE_NS, SLICES_MIN, WindowKind
from tests.control.drift.counted_seats import (
    DIGEST,
    MODEL,
    SECOND,
    Clock,
    Observed,
    check_sequence,
    seat,
    store_in,
    total_of,
)
from tests.control.drift.stored_windows import STREAM, WAIT_S, filled, on_disk

MINUTE, HOUR, DAY, WEEK = WindowKind


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(5)


def test_a_full_disk_is_survived_told_and_made_up_for(tmp_path: Path, random: np.random.Generator) -> None:
    """SQLite's own bound on the file stands for the disk's: the same error, SQLITE_FULL."""
    filled(tmp_path, random, seat(bins=300), slices=16)
    size = (tmp_path / NAME).stat().st_size
    store = store_in(tmp_path, plane="another", file_bytes_max=size)
    observed, counted = Observed(store, Clock()), seat(bins=300)
    observed.clock.step(HOUR_NS)
    for minute in range(1, 40):
        observed.run([counted], 16, random, rows=1000)
        if store.trouble is not None and minute > 20:
            break
    assert "database or disk is full" in str(observed.book.trouble)
    assert "Make room on its disk" in str(observed.book.trouble)
    assert len(observed.windows(MINUTE)) >= 20, "windows are cut on, whatever the disk does"
    assert store._database is not None
    store._database._file_bytes_max = 1 << 30  # somebody has made room
    assert store.flush(WAIT_S)
    assert observed.book.trouble is None
    minutes = [window for window in on_disk(store) if window.start_utc_ns >= observed.closed[0].window.start_utc_ns]
    assert (total_of(minutes, 300) == total_of(observed.windows(MINUTE), 300)).all()
    assert len(minutes) == len(observed.windows(MINUTE))
    store.close(WAIT_S)


def test_putting_waits_for_no_disk(tmp_path: Path, random: np.random.Generator) -> None:
    store = store_in(tmp_path)
    observed = Observed(store, Clock())
    with store._using:  # what a write that hangs holds
        observed.run([seat()], 16 * 3, random)
        observed.book.save_everything()
        assert not store.flush(0.0)
        assert not store.close(0.01)
        assert observed.book.latest(MODEL, DIGEST, MINUTE) is not None
    assert store.close(WAIT_S)


def test_what_waits_for_a_disk_is_bounded_and_no_row_of_it_is_lost(
    tmp_path: Path, random: np.random.Generator
) -> None:
    store, counted = store_in(tmp_path), seat(bins=5000)
    observed = Observed(store, Clock())
    observed.run([counted], 3, random)
    observed.book.save_everything()  # the minute in progress is on disk, and will leave it
    assert store.flush(WAIT_S)
    waiting_minutes = []
    with store._using:
        for _ in range(500):
            observed.clock.step(5 * MINUTE_NS)
            counted.count(random, 50)
            observed.observe([counted])
            observed.book.save()
            waiting = store._unsaved.get(STREAM)
            assert waiting is not None
            waiting_minutes.append(sum(window.kind is MINUTE for window in waiting.windows))
        assert len(observed.windows(MINUTE)) > 400
        for kind in KINDS:
            of_kind = [window for window in waiting.windows if window.kind is kind]
            assert not of_kind or len(of_kind) <= unsaved_max(of_kind[-1]) < 60
        assert set(waiting_minutes[200:]) == {max(waiting_minutes)}, "no more than must are given up"
    observed.book.save_everything()
    assert store.close(WAIT_S)
    # The oldest minutes have gone, in hours that were kept; what the next process goes on from is whole.
    again = Observed(store_in(tmp_path), observed.clock)
    assert again.book.trouble is None
    again.clock.step(SECOND)
    again.observe([counted])
    for kind in (HOUR, DAY, WEEK):
        check_sequence(on_disk(again.store, kind))
        progress = again.book.in_progress(MODEL, DIGEST, kind)
        assert progress is not None
        assert (total_of([*on_disk(again.store, kind), progress], 5000) == counted.total).all(), kind
    again.store.close(WAIT_S)


def damage_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"not a database at all")


def damage_pages(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))


def damage_content(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE windows SET by_key = x'00' WHERE unfinished = 0")
    connection.close()


def damage_state(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE states SET state = x'0102'")
    connection.close()


def damage_order(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE windows SET end_utc_ns = end_utc_ns + 1000000000000 WHERE unfinished = 0")
    connection.close()


@pytest.mark.parametrize("damage", [damage_header, damage_pages, damage_content, damage_state, damage_order])
def test_a_damaged_file_is_set_aside_and_told_and_a_new_one_begun(
    damage: object, tmp_path: Path, random: np.random.Generator
) -> None:
    counted = seat()
    clock = filled(tmp_path, random, counted)
    assert callable(damage)
    damage(tmp_path / NAME)
    as_it_was = (tmp_path / NAME).read_bytes()
    observed = Observed(store_in(tmp_path), clock)
    observed.run([counted], 24, random)  # to a minute's end
    assert observed.store.flush(WAIT_S)
    (aside,) = tmp_path.glob(f"{NAME}.damaged-*")
    assert aside.read_bytes() == as_it_was
    assert f"set aside as {aside.name}" in str(observed.book.trouble)
    # All that the plane shows was counted since it started.
    assert (total_of(on_disk(observed.store)) == counted.total).all()
    aside.unlink()
    observed.run([counted], 16, random)
    assert observed.store.flush(WAIT_S)
    assert observed.book.trouble is None
    observed.store.close(WAIT_S)


def test_a_file_that_is_damaged_while_it_is_used_is_begun_anew_with_all_that_is_in_memory(
    tmp_path: Path, random: np.random.Generator
) -> None:
    counted = seat()
    observed = Observed(store_in(tmp_path), Clock())
    observed.run([counted], 16 * 3, random)
    observed.book.keep_state(MODEL, DIGEST, "inputs", b"evidence")
    observed.book.save()
    assert observed.store.flush(WAIT_S)
    # Out of reach of the page cache: the connection is closed, as after any failure.
    assert observed.store._database is not None
    observed.store._database.close()
    damage_header(tmp_path / NAME)
    observed.run([counted], 16, random)
    assert observed.store.flush(WAIT_S)
    observed.run([counted], 1, random)  # the book has seen it by now
    assert observed.store.flush(WAIT_S)
    assert "damaged" in str(observed.book.trouble)
    kept = on_disk(observed.store)
    assert (total_of(kept) == total_of(observed.windows(MINUTE))).all()
    assert len(kept) == 4
    observed.store.close(WAIT_S)
    again = Observed(store_in(tmp_path), observed.clock)
    assert again.book.state(MODEL, DIGEST, "inputs") == b"evidence"
    again.store.close(WAIT_S)


def test_a_file_that_is_moved_away_is_begun_anew_with_all_that_is_in_memory(
    tmp_path: Path, random: np.random.Generator
) -> None:
    observed = Observed(store_in(tmp_path), Clock())
    observed.run([seat()], 16 * 2, random)
    assert observed.store.flush(WAIT_S)
    (tmp_path / NAME).rename(tmp_path / "away.db")
    observed.run([seat()], 16, random)
    assert observed.store.flush(WAIT_S)
    observed.run([seat()], 1, random)
    assert observed.store.flush(WAIT_S)
    assert len(on_disk(observed.store)) == 3
    # Once, and not with every reading from now on.
    with observed.store._using:
        observed.run([seat()], 1, random)
        assert observed.store._unsaved == {}
    observed.store.close(WAIT_S)


def test_no_more_files_are_set_aside_than_a_disk_can_be_trusted_with(
    tmp_path: Path, random: np.random.Generator
) -> None:
    for number in range(DAMAGED_MAX):
        (tmp_path / f"{NAME}.damaged-{number}").write_bytes(b"")
    (tmp_path / NAME).write_bytes(b"not a database" * 100)
    observed = Observed(store_in(tmp_path), Clock())
    observed.run([seat()], 16, random)
    assert "Look at the disk, then remove these" in str(observed.book.trouble)
    assert (tmp_path / NAME).read_bytes() == b"not a database" * 100
    observed.store.close(WAIT_S)


def test_a_file_that_another_server_has_is_left_to_it(
    tmp_path: Path, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys; from pathlib import Path; from server.control.drift.store import Store\n"
        "store = Store(Path(sys.argv[1]), 'plane'); store.load(); print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        monkeypatch.setattr("server.control.drift.database.BUSY_WAIT_S", 0.01)
        observed = Observed(store_in(tmp_path), Clock())
        observed.run([seat()], 16, random)
        assert "database is locked" in str(observed.book.trouble)
        assert "no other server's" in str(observed.book.trouble)
        assert len(observed.windows(MINUTE)) == 1
    finally:
        holder.kill()
        holder.wait()
    # Its readings were not known: now that it is free, what was counted is not written into it a second time.
    observed.run([seat()], 16, random)
    assert observed.store.flush(WAIT_S)
    assert on_disk(observed.store) == ()
    assert sqlite3.connect(tmp_path / NAME).execute("SELECT count(*) FROM windows").fetchone() == (0,)


def test_a_file_of_a_newer_build_is_left_as_it_is(tmp_path: Path, random: np.random.Generator) -> None:
    clock = filled(tmp_path, random, seat())
    with sqlite3.connect(tmp_path / NAME) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    before = (tmp_path / NAME).read_bytes()
    observed = Observed(store_in(tmp_path), clock)
    observed.run([seat()], 32, random)
    assert "expected format 1, got 2, of a newer build" in str(observed.book.trouble)
    observed.store.close(WAIT_S)
    assert (tmp_path / NAME).read_bytes() == before


def test_a_folder_that_can_not_be_written_to_stops_nothing(tmp_path: Path, random: np.random.Generator) -> None:
    (tmp_path / "file").write_text("")
    observed = Observed(store_in(tmp_path / "file" / "state"), Clock())
    observed.run([seat()], 16, random)
    assert "Not a directory" in str(observed.book.trouble)
    assert len(observed.windows(MINUTE)) == 1


def test_a_file_that_has_reached_its_bound_takes_more_once_something_in_it_is_old(
    tmp_path: Path, random: np.random.Generator
) -> None:
    counted, clock = seat(), Clock()
    store = store_in(tmp_path, file_bytes_max=1 << 20)
    observed = Observed(store, clock)
    for signal in range(8):
        observed.run([counted], SLICES_MIN, random)
        observed.book.keep_state(MODEL, DIGEST, f"signal {signal}", random.bytes(250_000))
        observed.book.save()
        while not store.flush(0.05) and store.trouble is None:
            pass
        if store.trouble is not None:
            break
    assert store.trouble is not None
    assert "1 MiB at most" in store.trouble, "which limit it is"
    clock.step(12 * 366 * DAY_NS)
    observed.run([counted], 2 * SLICES_MIN, random)
    observed.book.save()
    assert store.flush(WAIT_S)
    assert store.trouble is None
