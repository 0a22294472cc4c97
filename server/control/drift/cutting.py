"""Cutting: what was counted between readings, into minutes, these into hours, hours into days, days into weeks.

One `Cutter` an artifact. Pure; time comes with each span.
A span belongs to the unit in which its middle lies. A minute consists of the differences between readings, about 16 of
them, each a slice; a larger window of the windows below it. A window is closed when it has reached the end of its unit,
when a span of a later unit arrives, or when time has passed it by. So a reading after a long silence makes one longer
window, and cuts the one before it short.
Always: each span is in exactly one window of each kind, closed or in progress; windows of a kind follow each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from server.control.drift.windows import (
    KINDS,
    SLICES_MIN,
    Counts,
    Slices,
    Span,
    Window,
    WindowKind,
    added,
    fewer_slices,
    joined,
    window_of,
)

CHILD: Final = {
    WindowKind.HOUR: WindowKind.MINUTE,
    WindowKind.DAY: WindowKind.HOUR,
    WindowKind.WEEK: WindowKind.DAY,
}
"""What a window is the sum of."""

SLICES_OF_PART: Final = {
    WindowKind.MINUTE: SLICES_MIN,  # a reading is one; a minute that was read again from disk has what it had
    WindowKind.HOUR: 1,
    WindowKind.DAY: 1,
    WindowKind.WEEK: 3,
}
"""Slices that each part brings: 60, 24 and 7 * 3 of them make at least SLICES_MIN."""


class _InProgress:
    """A window that grows. `unit_utc_ns` is None as long as it has nothing."""

    def __init__(self, kind: WindowKind) -> None:
        self.kind = kind
        self.unit_utc_ns: int | None = None
        self._begin()

    def _begin(self) -> None:
        self._start_utc_ns = self._end_utc_ns = 0
        self._by_key: Counts | None = None
        self._slices = Slices()

    def add(self, part: Span) -> tuple[Window, ...]:
        """What this has closed: the window of an earlier unit, this one where the part reaches its end, or both."""
        unit_utc_ns = self.kind.unit_start(part.middle_utc_ns)
        closed = () if unit_utc_ns == self.unit_utc_ns else self.close()
        if self._by_key is None:
            self.unit_utc_ns, self._start_utc_ns = unit_utc_ns, part.start_utc_ns
        self._end_utc_ns = part.end_utc_ns
        self._by_key = part.blocks_by_key if self._by_key is None else added(self._by_key, part.blocks_by_key)
        for counts in fewer_slices(part.blocks_by_time, SLICES_OF_PART[self.kind]):
            self._slices.add(counts)
        return (*closed, *self.expire(part.end_utc_ns))

    def expire(self, at_utc_ns: int) -> tuple[Window, ...]:
        """Closes it where its unit has ended by now."""
        if self.unit_utc_ns is None or at_utc_ns < self.unit_utc_ns + self.kind.length_ns:
            return ()
        return self.close()

    def close(self) -> tuple[Window, ...]:
        """As far as it is; nothing where it has nothing."""
        window = self.window()
        self.unit_utc_ns = None
        self._begin()
        return () if window is None else (window,)

    def window(self) -> Window | None:
        """As far as it is, without an end to it."""
        if self._by_key is None:
            return None
        return Window(self._start_utc_ns, self._end_utc_ns, self._by_key, self._slices.stacked(), self.kind)


class Cutter:
    """The windows in progress of one artifact. covered_utc_ns: nothing earlier is taken any more."""

    def __init__(self, covered_utc_ns: int = 0) -> None:
        self.covered_utc_ns = covered_utc_ns
        self._in_progress = {kind: _InProgress(kind) for kind in KINDS}

    def resume(self, parts: Mapping[WindowKind, Iterable[Window]], minute: Window | None) -> tuple[Window, ...]:
        """Takes up what another one had in progress. Closes what its parts have brought to an end.

        parts: for each kind that has any, the windows below it that its last closed window does not hold, in order.
        """
        closed: list[Window] = []
        for kind in reversed(CHILD):  # the largest first: what a smaller one closes comes after the parts that it has
            for part in parts.get(kind, ()):
                closed += self._larger(self._in_progress[kind].add(part))
                self._cover(part.end_utc_ns)
        if minute is not None:
            closed += self.add(minute)
        return tuple(closed)

    def add(self, span: Span) -> tuple[Window, ...]:
        """The windows that this has closed, a minute before its hour. The span begins at `covered_utc_ns`, or later."""
        assert self.covered_utc_ns <= span.start_utc_ns < span.end_utc_ns, "spans follow each other"
        self._cover(span.end_utc_ns)
        return self._larger(self._in_progress[WindowKind.MINUTE].add(span))

    def expire(self, at_utc_ns: int) -> tuple[Window, ...]:
        """Closes windows whose unit is over, though nothing has come: their artifact is not served any more."""
        closed: list[Window] = []
        for kind in KINDS:  # small ones first: they are parts of the larger
            ended = self._in_progress[kind].expire(at_utc_ns)
            closed += self._larger(ended)
            for window in ended:
                self._cover(window.unit_utc_ns + kind.length_ns)
        return tuple(closed)

    def close(self) -> tuple[Window, ...]:
        """Closes everything as far as it is."""
        closed: list[Window] = []
        for kind in KINDS:
            closed += self._larger(self._in_progress[kind].close())
        return tuple(closed)

    def in_progress(self, kind: WindowKind) -> Window | None:
        """As far as it is, what the smaller ones have included."""
        whole: Window | None = None
        for smaller in reversed(KINDS[: KINDS.index(kind) + 1]):
            part = self._in_progress[smaller].window()
            if part is None:
                continue
            if whole is None or kind.unit_start(part.middle_utc_ns) != whole.unit_utc_ns:
                whole = window_of(kind, part)
            else:
                whole = joined(kind, whole, part)
        return whole

    def _larger(self, closed: Iterable[Window]) -> tuple[Window, ...]:
        """These, and what they have closed by being parts of larger windows."""
        found: list[Window] = []
        for window in closed:
            found.append(window)
            for kind, child in CHILD.items():
                if child is window.kind:
                    found += self._larger(self._in_progress[kind].add(window))
        return tuple(found)

    def _cover(self, until_utc_ns: int) -> None:
        self.covered_utc_ns = max(self.covered_utc_ns, until_utc_ns)
