"""The database of windows: `drift.db` of the state folder, in SQLite. What is asked of it, as SQL.

Used by `store`, from one thread at a time; everything blocks. Always: what is written together is there whole or not at
all, also after a SIGKILL; one process has the file at a time; nobody else can read it (0600).
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from native.plane.layout import DRIFT_BINS_MAX, DRIFT_BUCKETS
from server.control.drift.cutting import CHILD
from server.control.drift.kept import (
    BLOCKS_KEPT_NS,
    KEPT_NS,
    STATE_BYTES_MAX,
    STATES_KEPT_NS,
    STREAMS_MAX,
    Kept,
    Stream,
    Unsaved,
    recent_max,
)
from server.control.drift.packed_counts import packed, unpacked
from server.control.drift.readings import KeptReading, Source
from server.control.drift.windows import KINDS, SLICES_MAX, Counts, Window, WindowKind

FORMAT: Final = 1
BUSY_WAIT_S: Final = 5.0  # for a predecessor that is ending
WAL_BYTES_MAX: Final = 16 << 20  # what stays of the log once it was copied into the file
STATE_LEVEL: Final = 1  # floats that hardly deflate, or zeros that do
DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

# unfinished: 1 for the minute in progress. The unique key is the order in which windows are asked for.
SCHEMA: Final = """
CREATE TABLE streams (stream INTEGER PRIMARY KEY, model TEXT NOT NULL, digest TEXT NOT NULL, UNIQUE (model, digest));
CREATE TABLE windows (
    stream INTEGER NOT NULL, kind TEXT NOT NULL, start_utc_ns INTEGER NOT NULL, end_utc_ns INTEGER NOT NULL,
    unfinished INTEGER NOT NULL, bins INTEGER NOT NULL, counts BLOB NOT NULL, by_key BLOB, by_time BLOB,
    UNIQUE (stream, kind, start_utc_ns)
);
CREATE INDEX windows_by_end ON windows (kind, end_utc_ns);
CREATE TABLE readings (
    plane TEXT NOT NULL, seat INTEGER NOT NULL, generation INTEGER NOT NULL, stream INTEGER NOT NULL,
    at_utc_ns INTEGER NOT NULL, bins INTEGER NOT NULL, counts BLOB NOT NULL, PRIMARY KEY (plane, seat, generation)
);
CREATE TABLE states (
    stream INTEGER NOT NULL, signal TEXT NOT NULL, saved_utc_ns INTEGER NOT NULL, state BLOB NOT NULL,
    PRIMARY KEY (stream, signal)
);
"""
SUMS: Final = "kind, start_utc_ns, end_utc_ns, bins, counts, NULL, NULL"
COLUMNS: Final = "kind, start_utc_ns, end_utc_ns, bins, counts, by_key, by_time"


class Damaged(Exception):
    """The file is not what was written."""


class FromNewerBuild(Exception):
    """The file is whole, and not for this build to change."""


class Database:
    """Call `open` first. Methods raise sqlite3.Error, OSError, Damaged: then `close` it, and open it again."""

    def __init__(self, path: Path, file_bytes_max: int) -> None:
        self.path = path
        self._file_bytes_max = file_bytes_max
        self._connection: sqlite3.Connection | None = None
        self._inode = 0

    @property
    def is_there(self) -> bool:
        """True where what was opened still has its name: somebody may have moved it away."""
        try:
            return self._connection is not None and self.path.stat().st_ino == self._inode
        except OSError:
            return False

    def open(self) -> bool:
        """True where it is another file than the last time. Makes it where there is none. Raises FromNewerBuild too."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # SQLite gives the log the mode of the file.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            self.path, timeout=BUSY_WAIT_S, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        try:
            with _named_damage():
                made = self._begin(connection)
            inode = self.path.stat().st_ino
        except BaseException:
            connection.close()
            raise
        is_another = made or inode != self._inode
        self._connection, self._inode = connection, inode
        return is_another

    def _begin(self, connection: sqlite3.Connection) -> bool:
        """True where it was empty."""
        # Before the first look at the file: it is locked for as long as it is open, and needs no shared memory.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing with that, and a machine that stops loses the plane, too.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}")
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute(f"PRAGMA max_page_count = {self._file_bytes_max // page_bytes}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            (found,) = connection.execute("PRAGMA user_version").fetchone()
            if found > FORMAT:
                raise FromNewerBuild(f"expected format {FORMAT}, got {found}, of a newer build")
            if found == 0:
                for statement in SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return bool(found == 0)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- Writing -----------------------------------------------------------------------------------------------------
    def write(self, plane: str, unsaved: Mapping[Stream, Unsaved]) -> None:
        """All of it, or nothing."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM readings WHERE plane <> ?", (plane,))
            for stream, one in unsaved.items():
                number = _number(connection, stream)
                connection.execute(
                    "DELETE FROM windows WHERE stream = ? AND kind = ? AND unfinished = 1",
                    (number, WindowKind.MINUTE.word),
                )
                minute = () if one.minute is None else ((one.minute, 1),)
                for window, unfinished in (*((window, 0) for window in one.windows), *minute):
                    connection.execute(
                        "INSERT OR REPLACE INTO windows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        (number, *_row(window, unfinished)),
                    )
                connection.execute("DELETE FROM readings WHERE stream = ?", (number,))
                for reading in one.readings:
                    source, counts = reading.source, packed(reading.counts)
                    connection.execute(
                        "INSERT OR REPLACE INTO readings VALUES (?, ?, ?, ?, ?, ?, ?)",
                        (
                            plane, source.seat, source.generation, number, reading.at_utc_ns, reading.counts.shape[1],
                            counts,
                        ),
                    )  # fmt: skip
                saved_utc_ns = max((reading.at_utc_ns for reading in one.readings), default=_end(one.windows))
                for signal, state in one.states.items():
                    connection.execute(
                        "INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?)",
                        (number, signal, saved_utc_ns, zlib.compress(state, STATE_LEVEL)),
                    )

    def purge(self, at_utc_ns: int) -> None:
        """Throws away what is older than it is kept, seen from then."""
        with self._transaction() as connection:
            for kind in KINDS:
                connection.execute(
                    "DELETE FROM windows WHERE kind = ? AND end_utc_ns < ?", (kind.word, at_utc_ns - KEPT_NS[kind])
                )
                connection.execute(
                    "UPDATE windows SET by_key = NULL, by_time = NULL "
                    "WHERE kind = ? AND end_utc_ns < ? AND by_key IS NOT NULL",
                    (kind.word, at_utc_ns - BLOCKS_KEPT_NS[kind]),
                )
            connection.execute("DELETE FROM states WHERE saved_utc_ns < ?", (at_utc_ns - STATES_KEPT_NS,))
            connection.execute(
                "DELETE FROM streams WHERE stream NOT IN (SELECT stream FROM windows) "
                "AND stream NOT IN (SELECT stream FROM readings) AND stream NOT IN (SELECT stream FROM states)"
            )

    # --- Reading -----------------------------------------------------------------------------------------------------
    def load(self, plane: str) -> dict[Stream, Kept]:
        """Of the artifacts that have the latest windows."""
        connection = self._opened()
        with _named_damage():
            found = connection.execute(
                "SELECT stream, model, digest, max(end_utc_ns) FROM streams JOIN windows USING (stream) "
                "GROUP BY stream ORDER BY max(end_utc_ns) DESC LIMIT ?",
                (STREAMS_MAX,),
            ).fetchall()
            return {Stream(model, digest): self._load_one(plane, number) for number, model, digest, _ in found}

    def _load_one(self, plane: str, number: int) -> Kept:
        connection = self._opened()
        # Another build may have laid the bins out otherwise: those that were written last are today's.
        (bins,) = connection.execute(
            "SELECT bins FROM windows WHERE stream = ? ORDER BY end_utc_ns DESC LIMIT 1", (number,)
        ).fetchone()
        recent = {kind: self._recent(number, bins, kind) for kind in KINDS}
        ends = {kind: _end(recent[kind]) for kind in KINDS}
        parts = {kind: self._windows(number, bins, CHILD[kind], ends[kind], None) for kind in CHILD}
        minutes = [
            _window(row)
            for row in connection.execute(
                f"SELECT {COLUMNS} FROM windows WHERE stream = ? AND bins = ? AND unfinished = 1", (number, bins)
            )
        ]
        readings = tuple(
            KeptReading(Source(seat, generation), at_utc_ns, _blocks(counts, bins, DRIFT_BUCKETS))
            for seat, generation, at_utc_ns, counts in connection.execute(
                "SELECT seat, generation, at_utc_ns, counts FROM readings WHERE plane = ? AND stream = ? AND bins = ?",
                (plane, number, bins),
            )
        )
        states = {
            signal: _state(state)
            for signal, state in connection.execute("SELECT signal, state FROM states WHERE stream = ?", (number,))
        }
        kept = Kept(bins, max(ends.values()), recent, parts, minutes[0] if minutes else None, readings, states)
        _check_order(kept)
        return kept

    def windows(self, stream: Stream, kind: WindowKind, since_utc_ns: int, count: int) -> tuple[Window, ...]:
        """The newest `count` closed windows that begin then or later, in order."""
        connection = self._opened()
        with _named_damage():
            row = connection.execute(
                "SELECT stream, bins FROM streams JOIN windows USING (stream) WHERE model = ? AND digest = ? "
                "ORDER BY end_utc_ns DESC LIMIT 1",
                stream,
            ).fetchone()
            return () if row is None else self._windows(row[0], row[1], kind, since_utc_ns, count)

    def _recent(self, number: int, bins: int, kind: WindowKind) -> tuple[Window, ...]:
        sums = self._windows(number, bins, kind, 0, recent_max(kind, bins), SUMS)
        return (*sums[:-1], *self._windows(number, bins, kind, 0, 1))

    def _windows(
        self, number: int, bins: int, kind: WindowKind, since_utc_ns: int, count: int | None, columns: str = COLUMNS
    ) -> tuple[Window, ...]:
        rows = self._opened().execute(
            f"SELECT {columns} FROM windows WHERE stream = ? AND bins = ? AND kind = ? AND unfinished = 0 "
            "AND start_utc_ns >= ? ORDER BY start_utc_ns DESC LIMIT ?",
            (number, bins, kind.word, since_utc_ns, -1 if count is None else count),
        ).fetchall()
        return tuple(_window(row) for row in reversed(rows))

    def _opened(self) -> sqlite3.Connection:
        assert self._connection is not None, "open it first"
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._opened()
        with _named_damage():
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # some errors have ended it already
                    connection.execute("ROLLBACK")
                raise


@contextmanager
def _named_damage() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        # The low byte is the kind of error; the rest tells where it arose.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE:
            raise Damaged(str(error)) from error
        raise
    except ValueError as error:
        raise Damaged(str(error)) from error


def _number(connection: sqlite3.Connection, stream: Stream) -> int:
    connection.execute("INSERT OR IGNORE INTO streams (model, digest) VALUES (?, ?)", stream)
    (number,) = connection.execute("SELECT stream FROM streams WHERE model = ? AND digest = ?", stream).fetchone()
    return int(number)


def _row(window: Window, unfinished: int) -> tuple[Any, ...]:
    return (
        window.kind.word, window.start_utc_ns, window.end_utc_ns, unfinished, window.counts.size,
        packed(window.counts),
        packed(window.blocks_by_key) if window.has_blocks else None,
        packed(window.blocks_by_time) if window.has_blocks else None,
    )  # fmt: skip


def _window(row: tuple[Any, ...]) -> Window:
    """Raises ValueError where parts of it don't belong together."""
    word, start_utc_ns, end_utc_ns, bins, counts, by_key, by_time = row
    kinds = {kind.word: kind for kind in KINDS}
    if word not in kinds or not 0 < bins <= DRIFT_BINS_MAX or not start_utc_ns < end_utc_ns:
        raise ValueError(f"windows: expected a kind, bins and a stretch of time, got {row[:4]}")
    whole = _blocks(counts, bins, 1)
    if by_key is None:
        return Window(start_utc_ns, end_utc_ns, whole, whole, kinds[word])
    window = Window(
        start_utc_ns, end_utc_ns, _blocks(by_key, bins, DRIFT_BUCKETS), _blocks(by_time, bins, SLICES_MAX), kinds[word]
    )
    if (window.counts != whole[0]).any() or (window.blocks_by_time.sum(axis=0) != whole[0]).any():
        raise ValueError(f"windows: expected blocks that add up to the counts, got others, at {start_utc_ns}")
    return window


def _blocks(data: Any, bins: int, rows_max: int) -> Counts:
    if not isinstance(data, bytes):
        raise ValueError(f"counts: expected bytes, got {type(data).__name__}")
    return unpacked(data, bins, rows_max)


def _state(data: Any) -> bytes:
    inflate = zlib.decompressobj()
    try:
        state = inflate.decompress(data, STATE_BYTES_MAX + 1)
    except (zlib.error, TypeError) as error:
        raise ValueError(f"states: expected what was packed, got {error}") from error
    if not inflate.eof or len(state) > STATE_BYTES_MAX:
        raise ValueError(f"states: expected at most {STATE_BYTES_MAX} bytes, got more, or a part of them")
    return state


def _end(windows: Iterable[Window]) -> int:
    return max((window.end_utc_ns for window in windows), default=0)


def _check_order(kept: Kept) -> None:
    """Raises ValueError where windows overlap: what goes on from them would count twice."""
    last = () if kept.minute is None else (kept.minute,)
    for windows in (*kept.recent.values(), (*kept.parts[WindowKind.HOUR], *last)):
        for before, after in pairwise(windows):
            if before.end_utc_ns > after.start_utc_ns:
                raise ValueError(f"windows: expected one after the other, got two at {after.start_utc_ns}")
