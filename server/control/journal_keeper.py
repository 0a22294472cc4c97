"""The journal's keeper: what is decided goes to its file, in order, and what must wait until it is there.

Used by the driver. The plane's ring has each decision until the journal has it, and takes DECISIONS_COUNT. So from
DECISIONS_HELD unwritten decisions on plans go no further, and operators can only hold or take back: the rest of the
ring is for going home, which waits for nothing. Always: a journal that could not be read is never taken for an empty
one, nor one that was cut off for a whole one: nothing is appended and no plan goes further until it is as it should be,
and what it lacks is found out then.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from native.plane.routing import DECISIONS_COUNT
from server.control.decision_text import Decision
from server.control.journal_file import JournalFile
from server.control.journal_mark import FIRST_DIGITS, JournalMark
from server.control.outbox import Outbox
from server.control.recovery import NOTES, missing
from server.control.slow_calls import SlowCalls
from server.lifecycle.events import Event, Freeze, Pause, Quarantine, Request, Rollback
from server.lifecycle.journal import BrokenJournal, Head, Line
from server.lifecycle.refusal import Refused, Why
from server.lifecycle.state import ModelState

log = logging.getLogger("roost.control")

DIGEST_BYTES: Final = 32
HOME_DECISIONS: Final = 32  # of the ring, for going home
DECISIONS_HELD: Final = DECISIONS_COUNT - HOME_DECISIONS

assert 0 < HOME_DECISIONS < DECISIONS_COUNT


class JournalUnread(RuntimeError):
    """Why the journal can't be read, and what to do, in one line."""


def identity(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells an entry from others. Notes have the revision that stood: they are told apart by their time."""
    return tuple(entry.get(key) for key in ("model", "revision", "kind", "at_utc"))


@dataclass
class _CatchUp:
    """In the place of entries: what the journal lacks of these decisions, once it can be read."""

    decisions: tuple[Decision, ...]
    lines: tuple[Line, ...] = ()


class JournalKeeper:
    """journal: None where the server keeps none. alert: of the outbox.

    written: told of each entry that is on disk. found: told of the lines, where they could not be read at first.
    """

    def __init__(
        self,
        journal: JournalFile | None,
        alert: Callable[[str | None], None],
        written: Callable[[Mapping[str, Any]], None],
        found: Callable[[tuple[Line, ...]], None],
    ) -> None:
        self._journal = journal
        self._alert = alert
        self._told = written
        self._found = found
        self._put = 0
        self._digests = bytearray()  # of the lines, one after the other
        self._appended: deque[Mapping[str, Any]] = deque(maxlen=DECISIONS_COUNT)  # the newest
        self._wanted: JournalMark | None = None  # what the file must have, if it is this journal's
        self._suspect = False  # the file was found to be without it, and was not looked at since
        self._held = ""
        self._unwritten: deque[Mapping[str, Any]] = deque()  # decisions, without the notes among them
        self.unread = ""
        self.box: Outbox[Mapping[str, Any] | _CatchUp] = Outbox("journal", self._write, alert, written=self._written)

    async def read(self) -> tuple[Line, ...]:
        """All lines, before anything is put. None where they can't be read: then `unread` says why."""
        try:
            return await SlowCalls("journal-read").call(self._lines)
        except JournalUnread as error:
            self._distrust(str(error), "the journal can't be read")
            return ()

    def recover(self, decisions: Iterable[Decision], lines: Iterable[Line]) -> tuple[Mapping[str, Any], ...]:
        """Puts what the journal lacks of the ring's decisions, and returns it; while it is unread, any may lack."""
        if not self.unread:
            lacking = missing(decisions, lines)
            for entry in lacking:
                self.put(entry)
            return lacking
        caught = _CatchUp(tuple(decisions))
        self._unwritten.extend(decision.entry for decision in caught.decisions)
        self.box.put(self._next_key(), caught)
        return tuple(decision.entry for decision in caught.decisions)

    def put(self, entry: Mapping[str, Any]) -> None:
        if entry.get("kind") not in NOTES:
            self._unwritten.append(entry)
            if len(self._unwritten) > DECISIONS_COUNT:
                # Going home comes first. Should this process be killed before the disk is well, the log has the entry.
                lost = self._unwritten[-DECISIONS_COUNT - 1]
                log.error(
                    "a decision has left the plane's ring before the journal had it: keep this line",
                    extra={"fields": {"unwritten": len(self._unwritten), "entry": dict(lost)}},
                )
        self.box.put(self._next_key(), entry)

    @property
    def hold(self) -> str:
        """Why plans go no further; empty where they may."""
        if self.unread:
            return self._held
        if len(self._unwritten) >= DECISIONS_HELD:
            return f"{DECISIONS_HELD} decisions or more wait for the journal"
        return ""

    def check(self, model: ModelState, event: Event) -> None:
        """Raises Refused for what an operator must not ask now. Whatever holds or takes back, once a model, goes on."""
        if len(self._unwritten) < DECISIONS_HELD or not isinstance(event, Request):
            return
        if isinstance(event, Rollback | Freeze | Pause) or (
            isinstance(event, Quarantine) and event.digest in model.needed
        ):
            return
        why = self.box.failure or "it is slow"
        raise Refused(
            Why.RESOURCE_EXHAUSTED, "journal", f"fewer than {DECISIONS_HELD} decisions that wait to be written",
            f"{len(self._unwritten)} ({why})",
            "Make room for it, or mend what it says, and ask again. Rollback, Quarantine, Freeze and Pause go on.",
        )  # fmt: skip

    # --- The head ----------------------------------------------------------------------------------------------------
    @property
    def head(self) -> Head:
        """Behind the last line that is known to have been written, whatever the file has now."""
        if self.unread and self._wanted is not None:
            return self._wanted.head
        return Head() if self._journal is None else self._journal.head

    @property
    def mark(self) -> JournalMark | None:
        """What is kept elsewhere of this journal. None where it has no line, or is not known."""
        if self._journal is None or self.unread or not self._digests:
            return None
        return JournalMark(self._journal.head, self._first)

    def lacks(self, mark: JournalMark) -> bool:
        """True for a mark of this journal that names a line which it has not. From any thread."""
        return bool(self._digests) and mark.first == self._first and not _has(self._digests, mark.head)

    def found_lacking(self, mark: JournalMark) -> None:
        """The registry names a line that the file has not: nothing more is appended until it has."""
        if self._wanted is None or self._wanted.first != mark.first or self._wanted.head.number < mark.head.number:
            self._wanted = mark
        self._suspect = True
        if self.unread or self._journal is None:
            return  # it is looked at again, as it is
        self._distrust(_cut_off(self._journal, mark, len(self._digests) // DIGEST_BYTES), "the journal was cut off")
        self.box.put(self._next_key(), _CatchUp(()))

    @property
    def _first(self) -> str:
        return self._digests[:DIGEST_BYTES].hex()[:FIRST_DIGITS]

    def _distrust(self, why: str, held: str) -> None:
        self.unread, self._held = why, held
        log.error("%s", held, extra={"fields": {"reason": why}})
        self._alert(why)

    # --- In a thread -------------------------------------------------------------------------------------------------
    def _lines(self) -> tuple[Line, ...]:
        if self._journal is None:
            return ()
        try:
            lines = self._journal.lines()
        except (OSError, BrokenJournal) as error:
            raise JournalUnread(
                f"{self._journal.path}: {error}. Nothing is appended, and plans go no further, until it can be read: "
                "`roost journal verify` says where it breaks. Keep the file; moved away, a new one is begun."
            ) from error
        digests = bytearray().join(bytes.fromhex(line.digest) for line in lines)
        wanted = self._wanted
        is_the_same = bool(lines) and wanted is not None and lines[0].digest.startswith(wanted.first)
        if wanted is not None and is_the_same and not _has(digests, wanted.head):
            raise JournalUnread(_cut_off(self._journal, wanted, len(lines)))
        self._digests = digests
        if lines:
            self._journal.head = Head(lines[-1].number, lines[-1].digest)
        return lines

    def _write(self, item: Mapping[str, Any] | _CatchUp) -> None:
        if self._suspect:
            self._make_up()
        if isinstance(item, _CatchUp):
            item.lines = self._lines()
            for entry in missing(item.decisions, item.lines):
                self._append(entry)
        else:
            self._append(item)

    def _make_up(self) -> None:
        """Another file, or the whole one, may lie there now: what was appended to the short one belongs to it."""
        if self._journal is not None:
            self._journal.close()
        written = {identity(line.entry) for line in self._lines()}
        for entry in self._appended:
            if identity(entry) not in written:
                self._append_line(entry)
        self._suspect = False

    def _append(self, entry: Mapping[str, Any]) -> None:
        self._append_line(entry)
        self._appended.append(entry)

    def _append_line(self, entry: Mapping[str, Any]) -> None:
        if self._journal is None:
            return
        head = self._journal.append(entry)
        if len(self._digests) == DIGEST_BYTES * (head.number - 1):
            self._digests += bytes.fromhex(head.digest)
        else:  # another file was put there while the disk was not well
            self._digests = bytearray().join(bytes.fromhex(line.digest) for line in self._journal.lines())

    # --- Afterwards --------------------------------------------------------------------------------------------------
    def _written(self, item: Mapping[str, Any] | _CatchUp) -> None:
        if isinstance(item, _CatchUp):
            self.unread = ""
            for _ in item.decisions:
                self._unwritten.popleft()
            self._alert(None)
            log.info("the journal is as it should be again", extra={"fields": {"lines": len(item.lines)}})
            self._found(item.lines)
            for decision in item.decisions:
                self._told(decision.entry)
        else:
            if item.get("kind") not in NOTES:
                self._unwritten.popleft()
            self._told(item)

    def _next_key(self) -> int:
        self._put += 1
        return self._put


def _has(digests: bytearray, head: Head) -> bool:
    end = DIGEST_BYTES * head.number
    return digests[end - DIGEST_BYTES : end].hex() == head.digest


def _cut_off(journal: JournalFile, mark: JournalMark, lines_count: int) -> str:
    got = "another line there" if lines_count >= mark.head.number else f"{lines_count} lines"
    return (
        f"{journal.path}: expected line {mark.head.number} ({mark.head.digest[:12]}), as the registry's tag "
        f"roost.journal says, got {got}: lines were cut off. Nothing is appended, and plans go no further. Put the "
        "whole file back; or move this one away and keep it, and a new one is begun."
    )
