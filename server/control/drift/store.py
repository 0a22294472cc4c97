"""The store: what the windows are is written to `drift.db` by a thread of its own, and found again at the next start.

Used by `book`, which never waits for it. Always: whatever the disk does, what was put stays in memory, within bounds,
until it is written; a damaged file is set aside and never deleted; a file that could not be read at the start is not
written to, so that nothing is counted in it twice.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from server.control.drift.cutting import CHILD
from server.control.drift.database import Damaged, Database, FromNewerBuild
from server.control.drift.kept import Kept, Stream, Unsaved, unsaved_max
from server.control.drift.windows import HOUR_NS, KINDS, Window, WindowKind, joined

log = logging.getLogger("roost.control")

NAME: Final = "drift.db"
FILE_BYTES_MAX: Final = 8 << 30
FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 60.0
DAMAGED_MAX: Final = 3  # files set aside: with so many, the disk is not to be trusted with another
PARENT: Final = {child: kind for kind, child in CHILD.items()}


class Store:
    """folder: None keeps nothing, for a server that serves files only. plane: names this server's start.

    Call `load` first, and `close` at the end. `put` may be called from the loop; all else blocks.
    """

    def __init__(
        self,
        folder: Path | None,
        plane: str,
        *,
        file_bytes_max: int = FILE_BYTES_MAX,
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        self._plane = plane
        self._database = None if folder is None else Database(folder / NAME, file_bytes_max)
        self._first_wait_s = first_wait_s
        self._bytes_max = file_bytes_max
        self._using = threading.Lock()  # the database, by this thread or another that asks for old windows
        self._changed = threading.Condition()
        self._unsaved: dict[Stream, Unsaved] = {}
        self._at_utc_ns = 0
        self._purged_hour = 0
        self._is_writing = False
        self._is_closing = False
        self._thread: threading.Thread | None = None
        self._failure: str | None = None
        self._aside: tuple[tuple[Path, str], ...] = ()
        self.files_begun = 0
        """Grows where a file is begun in the place of one that was lost: it lacks all that was written before."""

    @property
    def trouble(self) -> str | None:
        """What is wrong with the file and what to do, for people; None where it is well."""
        texts = [] if self._failure is None else [self._failure]
        texts += [text for _, text in self._aside]
        return " ".join(texts) or None

    def load(self) -> Mapping[Stream, Kept]:
        """What the last control process has left. Blocks; raises nothing: without the file, nothing was left."""
        if self._database is None:
            return {}
        with self._using:
            try:
                return self._load(self._database)
            except (sqlite3.Error, OSError, FromNewerBuild, Damaged) as error:
                # Its readings are not known: what is read now would be counted in it a second time.
                self._database.close()
                self._failure = (
                    f"{self._database.path}: {_said(error)}. It could not be read when control started: drift is "
                    "judged from memory, and nothing is written until control starts again. See that the file is "
                    "readable, no other server's, and of this build or an older one; then restart."
                )
                log.error("windows of drift can't be read", extra={"fields": {"reason": self._failure}})
                self._database = None
                return {}

    def _load(self, database: Database) -> Mapping[Stream, Kept]:
        try:
            database.open()
            return database.load(self._plane)
        except Damaged as error:
            self._set_aside(database, error)
            database.open()
            return {}

    def put(self, unsaved: Mapping[Stream, Unsaved], at_utc_ns: int) -> None:
        """To be written, in one transaction. Never waits. at_utc_ns: from when on the age of old windows is counted."""
        if self._database is None:
            return
        with self._changed:
            for stream, one in unsaved.items():
                self._unsaved[stream] = _later(self._unsaved.get(stream), one)
            self._at_utc_ns = at_utc_ns
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="roost-drift", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def windows(self, stream: Stream, kind: WindowKind, since_utc_ns: int = 0, count: int = 1000) -> tuple[Window, ...]:
        """The newest `count` closed windows that begin then or later, in order, as they are on disk. Blocks.

        Nothing where the disk gives nothing: `trouble` says why.
        """
        database = self._database
        if database is None:
            return ()
        with self._using:
            try:
                try:
                    return database.windows(stream, kind, since_utc_ns, count) if database.is_there else ()
                except Damaged as error:
                    self._set_aside(database, error)  # the next write begins another
                    return ()
            except (sqlite3.Error, OSError) as error:
                self._fails(database, error)
                return ()

    def flush(self, timeout_s: float) -> bool:
        """True once all that was put is written; False where that takes longer. Blocks."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._unsaved and not self._is_writing, timeout_s)

    def close(self, timeout_s: float) -> bool:
        """As `flush`, and lets go of the file. Blocks."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return False
        if self._database is not None:
            with self._using:
                self._database.close()
        return not self._unsaved

    # --- The thread --------------------------------------------------------------------------------------------------
    def _run(self) -> None:
        wait_s = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closing, wait_s)
                self._changed.wait_for(lambda: bool(self._unsaved) or self._is_closing)
                taken, self._unsaved = self._unsaved, {}
                self._is_writing = True
            written = not taken or self._write(taken)
            with self._changed:
                self._is_writing = False
                if not written:
                    # What came meanwhile is later than what could not be written.
                    came, self._unsaved = self._unsaved, taken
                    for stream, one in came.items():
                        self._unsaved[stream] = _later(taken.get(stream), one)
                self._changed.notify_all()
                if self._is_closing and (not written or not self._unsaved):
                    return
            wait_s = 0.0 if written else min(max(self._first_wait_s, 2 * wait_s), LONGEST_WAIT_S)

    def _write(self, taken: Mapping[Stream, Unsaved]) -> bool:
        """False where it could not be done: then nothing was."""
        database = self._database
        assert database is not None, "nothing is put where no file is kept"
        with self._using:
            try:
                try:
                    self._write_once(database, taken)
                except Damaged as error:
                    self._set_aside(database, error)
                    self._write_once(database, taken)
            except Exception as error:  # noqa: BLE001  # whatever it is: it is shown, and tried again
                self._fails(database, error)
                return False
            if self._failure is not None:
                self._failure = None
                log.info("windows of drift are written again")
            self._aside = tuple((path, text) for path, text in self._aside if path.exists())
            return True

    def _write_once(self, database: Database, taken: Mapping[Stream, Unsaved]) -> None:
        if not database.is_there:
            database.close()
            if database.open():
                self.files_begun += 1
        try:
            database.write(self._plane, taken)
        except sqlite3.OperationalError:
            # A file that has reached its bound takes nothing more before something has left it.
            database.purge(self._at_utc_ns)
            database.write(self._plane, taken)
        hour = self._at_utc_ns // HOUR_NS
        if hour != self._purged_hour:
            database.purge(self._at_utc_ns)
            self._purged_hour = hour

    def _fails(self, database: Database, error: Exception) -> None:
        # A connection that has failed may hold a transaction, or half a page: the next try takes another.
        database.close()
        if self._failure is None:
            fields = {"reason": _said(error)}
            log.error("windows of drift can't be written, and it is tried again", extra={"fields": fields})
        self._failure = (
            f"{database.path}: {_said(error)}. Drift is judged from memory, and what is not written waits. Make room "
            f"on its disk, or mend what this says (the file itself takes {self._bytes_max >> 20:,} MiB at most); it "
            "goes on by itself. Windows of a long outage are joined."
        )

    def _set_aside(self, database: Database, error: Damaged) -> None:
        """Raises OSError, and leaves all as it is, where enough were set aside already."""
        database.close()
        path = database.path
        before = [one for one in path.parent.glob(f"{NAME}.damaged-*") if not one.name.endswith("-wal")]
        if len(before) >= DAMAGED_MAX:
            raise OSError(
                f"damaged ({error}), as {len(before)} were that lie beside it. Look at the disk, then remove these"
            )
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = path.with_name(f"{NAME}.damaged-{stamp}")
        log_file = path.with_name(f"{NAME}-wal")
        if log_file.exists():
            log_file.rename(aside.with_name(f"{aside.name}-wal"))
        path.rename(aside)
        text = (
            f"{path}: damaged ({_said(error)}), and set aside as {aside.name}: a new one is begun, without what was "
            "kept until then. Look at the disk; move the damaged file away to end this alert."
        )
        self._aside = (*self._aside, (aside, text))
        log.error("windows of drift were damaged", extra={"fields": {"reason": text}})


def _later(before: Unsaved | None, now: Unsaved) -> Unsaved:
    """Both in one: all windows, within bounds, and what the later one says of the rest."""
    if before is None:
        return now
    windows = _bounded((*before.windows, *now.windows))
    return Unsaved(windows, now.minute, now.readings, {**before.states, **now.states})


def _bounded(windows: Iterable[Window]) -> tuple[Window, ...]:
    """Where too many wait, the oldest two of one larger window become one; one whose larger window is closed, and
    waits beside it, goes. So no row is lost, only when exactly it came."""
    found: list[Window] = []
    waiting = tuple(windows)
    for kind in KINDS:
        same = [window for window in waiting if window.kind is kind]
        parent = PARENT.get(kind)
        while same and len(same) > unsaved_max(same[-1]):
            first, second, *rest = same
            if parent is None or parent.unit_start(first.middle_utc_ns) == parent.unit_start(second.middle_utc_ns):
                same = [joined(kind, first, second), *rest]
            else:
                same = [second, *rest]
        found += same
    return tuple(found)


def _said(error: Exception) -> str:
    return " ".join(f"{error}".split()) or type(error).__name__
