"""The clock of the windows: UTC that always goes on, whatever is done to the clock of the machine. Pure.

A jump forward is followed at once. After a jump back it goes on at half the pace of the monotonic clock, from where it
was, until UTC has caught up: so windows neither overlap nor come twice, nor does one of them have to hold all of it.
"""

from __future__ import annotations


class WindowClock:
    """not_before_utc_ns: the end of what is kept already."""

    def __init__(self, not_before_utc_ns: int = 0) -> None:
        self._at_utc_ns = not_before_utc_ns
        self._now_ns: int | None = None
        self._first: tuple[int, int] | None = None
        self.ahead_ns = 0
        """By how much it was ahead of the machine's, when it was last read."""

    def read(self, at_utc_ns: int, now_ns: int) -> int:
        """UTC nanoseconds, later than at any time before. now_ns: monotonic; a step back of it counts as standing."""
        elapsed_ns = 0 if self._now_ns is None else max(now_ns - self._now_ns, 0)
        self._now_ns = now_ns
        slow_utc_ns = self._at_utc_ns + max(elapsed_ns // 2, 1)
        self._at_utc_ns = at_utc_ns if at_utc_ns > self._at_utc_ns else slow_utc_ns
        self.ahead_ns = max(self._at_utc_ns - at_utc_ns, 0)
        if self._first is None:
            self._first = self._at_utc_ns, now_ns
        return self._at_utc_ns

    def steady_utc_ns(self) -> int:
        """As `read` last said, but for jumps forward since the first reading: nothing is thrown away for such a one."""
        if self._first is None or self._now_ns is None:
            return self._at_utc_ns
        at_utc_ns, now_ns = self._first
        return min(self._at_utc_ns, at_utc_ns + max(self._now_ns - now_ns, 0))
