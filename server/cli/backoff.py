"""When a child that ended is started again. Pure: time arrives as `now_ns`.

Used by the parent, one `Restarts` a child. Always: the delay doubles from 0.1 s to 10 s while a child keeps failing,
and starts over once it has run for a while.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

SECOND_NS: Final = 1_000_000_000
FIRST_DELAY_NS: Final = SECOND_NS // 10
DELAY_NS_MAX: Final = 10 * SECOND_NS
STABLE_AFTER_NS: Final = 30 * SECOND_NS
START_FAILURES_MAX: Final = 5  # in a row, before the server was ready for the first time: then the start is given up


@dataclass(frozen=True)
class Restarts:
    """failures: ends in a row, each before the child was stable. due_ns: when the next start is allowed."""

    started_ns: int = 0
    failures: int = 0
    due_ns: int = 0

    def started(self, now_ns: int) -> Restarts:
        return replace(self, started_ns=now_ns)

    def ended(self, now_ns: int) -> Restarts:
        """The child ended unasked: counts it and sets the next start."""
        was_stable = now_ns - self.started_ns >= STABLE_AFTER_NS
        failures = 1 if was_stable else self.failures + 1
        delay_ns = min(FIRST_DELAY_NS << min(failures - 1, 10), DELAY_NS_MAX)
        return replace(self, failures=failures, due_ns=now_ns + delay_ns)
