"""What happened, for those who watch: a bounded log of events, numbered from 1.

The driver appends, `WatchEvents` and the metrics read. Always: numbers only grow; EVENTS_MAX are kept, the oldest make
room; who asks for events that are gone sees it by the gap in the numbers. A restarted control process goes on with
numbers that are higher than all it gave before, since they start at the clock's microseconds.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from server.lifecycle.explain import sentence

log = logging.getLogger("roost.control")

EVENTS_MAX: Final = 4096


def utc_text(at_s: float) -> str:
    """ISO 8601 with milliseconds, as the journal writes it."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class LoggedEvent:
    """model: empty where it is the whole server's. kind: one word, see docs/reference/events.md."""

    sequence: int
    at_utc: str
    model: str
    kind: str
    text: str
    detail: Mapping[str, Any] = field(default_factory=dict)


class EventLog:
    """One loop's. `append` never waits; any number of readers wait in `after`."""

    def __init__(self, first_sequence: int | None = None) -> None:
        self._events: deque[LoggedEvent] = deque(maxlen=EVENTS_MAX)
        self._next = int(time.time() * 1e6) if first_sequence is None else first_sequence
        self._grown = asyncio.Event()

    @property
    def last_sequence(self) -> int:
        """Of the newest event; one less than the first number where there is none yet."""
        return self._next - 1

    def append(
        self, kind: str, text: str, *, model: str = "", detail: Mapping[str, Any] | None = None, at_utc: str = ""
    ) -> LoggedEvent:
        """at_utc: when it happened, where that is not now."""
        event = LoggedEvent(self._next, at_utc or utc_text(time.time()), model, kind, text, detail or {})
        self._next += 1
        self._events.append(event)
        self._grown.set()
        self._grown = asyncio.Event()
        return event

    def decided(self, entry: Mapping[str, Any]) -> None:
        """A decision, as the journal has it. Also a line of the log."""
        said, model, at_utc = sentence(entry), str(entry.get("model")), str(entry.get("at_utc", ""))
        fields = {"model": model, "revision": entry.get("revision"), "decided_utc": at_utc}
        log.info("%s", said, extra={"fields": fields})
        self.append("decision", said, model=model, detail=entry, at_utc=at_utc)

    def kept_after(self, sequence: int) -> tuple[LoggedEvent, ...]:
        """Those that are kept with a higher number, oldest first."""
        # From the end: who follows has seen nearly all of them.
        newer = list(itertools.takewhile(lambda event: event.sequence > sequence, reversed(self._events)))
        return tuple(reversed(newer))

    async def after(self, sequence: int) -> tuple[LoggedEvent, ...]:
        """As `kept_after`, but waits until there is one."""
        while True:
            grown = self._grown
            found = self.kept_after(sequence)
            if found:
                return found
            await grown.wait()
