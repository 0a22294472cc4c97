"""The journal's file: `journal.jsonl` of the state folder, appended and synced, never rewritten.

Used by the driver through an outbox, so that nothing here is waited for by a decision; all of it blocks. Always: one
server appends at a time (a lock on the file); an unfinished last line, which a crash leaves, is cut off; a file that
was changed in any other way is left as it is and not appended to.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from server.lifecycle.journal import Head, Line, next_line, read, repaired, verify

NAME: Final = "journal.jsonl"


class JournalHeld(RuntimeError):
    """Another server appends."""


class JournalFile:
    """Opened with the first append, and again after any failure. Safe between the threads of one process."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()
        self.head = Head()

    def append(self, entry: Mapping[str, Any]) -> Head:
        """The new head, once the disk has it. Raises OSError, BrokenJournal, JournalHeld: then nothing was added."""
        with self._lock:
            file = self._file or self._open()
            line, head = next_line(self.head, entry)
            size = os.fstat(file.fileno()).st_size
            try:
                written = file.write(line)
                if written != len(line):  # a disk that is nearly full takes a part, and says nothing
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                os.fsync(file.fileno())
            except OSError:
                self._undo(size)
                raise
            self.head = head
            return head

    def lines(self) -> tuple[Line, ...]:
        """All of it as it is on disk. Raises OSError, BrokenJournal."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return ()
        return tuple(read(repaired(data)[0]))

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _open(self) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        file = os.fdopen(descriptor, "r+b", buffering=0)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise JournalHeld(
                    f"lifecycle.state: expected a folder of this server's own, got {self.path.parent}, where another "
                    "server writes. Give each server its own; entries wait meanwhile."
                ) from None
            data, torn = repaired(file.read())
            self.head = verify(data)
            if torn:
                os.ftruncate(descriptor, len(data))
                os.fsync(descriptor)
        except BaseException:
            file.close()
            raise
        self._file = file
        return file

    def _undo(self, size: int) -> None:
        """Half a line must not stay before the next one. Where even that fails, opening it again mends it."""
        assert self._file is not None
        try:
            os.ftruncate(self._file.fileno(), size)
        except OSError:
            pass
        finally:
            self._file.close()
            self._file = None
