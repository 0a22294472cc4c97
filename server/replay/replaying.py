"""A replay: rows in the order of their times become windows, reports and what the policy asks for, as in the server.

Used by the command and by whoever tunes a policy. Counting, cutting, judging and the policy are the server's own; what
is here is the clock: it reads at the end of each slice of a minute, as the server's looks do. Always: one pass, and
nothing but the windows in progress is kept.

**Where nothing comes** the server goes on to look, and finds windows without rows. So does this, for up to IDLE_NS_MAX;
what lies further apart is taken as two times in which the model was served, with none in between. So is the end: the
windows that it comes in are closed as far as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from server.control.drift.book import Closed
from server.control.drift.cutting import Cutter
from server.control.drift.judging import WindowJudge
from server.control.drift.kept import Stream
from server.control.drift.policies import policy_of
from server.control.drift.readings import SLICE_NS
from server.control.drift.signals import Signal
from server.control.drift.windows import DAY_NS, SLICES_MIN, Counts, Span, Window, WindowKind, sum_of
from server.judgement.drift.policy import Asked, Response, Taken, decide
from server.judgement.drift.report import Verdict
from server.replay.keeping import MemoryKeeper
from server.replay.reading import Rows
from server.replay.slices import SliceCounter
from server.replay.subject import Subject
from server.replay.thumb import LargestPsi, largest_psi
from server.replay.times import NS_PER_US
from server.settings import DriftSettings

IDLE_NS_MAX: Final = DAY_NS


@dataclass(frozen=True)
class Told:
    """What one window says of one signal. at_utc_ns: when it was judged. rows: that were counted.

    whole: False where the rows begin or end inside it. log_r: the detector's, of which an alarm needs `log_threshold`.
    moved: plain figures of the features that moved, in order of concern. largest: what the rules of thumb look at.
    """

    signal: str
    window: WindowKind
    start_utc_ns: int
    end_utc_ns: int
    at_utc_ns: int
    whole: bool
    rows: int
    verdict: Verdict
    why: str
    log_r: float
    log_threshold: float
    moved: tuple[dict[str, Any], ...]
    largest: LargestPsi | None
    asked: Asked

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features that moved."""
        return tuple(str(feature["name"]) for feature in self.moved)


class Replay:
    """Call `add` with rows in the order of their times, then `end`. Both give what was judged meanwhile, in order."""

    def __init__(self, subject: Subject, settings: DriftSettings) -> None:
        self.subject = subject
        self._stream = Stream(subject.name, subject.digest)
        self._policy = policy_of(settings)
        self._signals = [one for one in subject.signals if self._policy.response(one.name) is not Response.OFF]
        self._judge = WindowJudge(MemoryKeeper(), settings)
        self._cutter = Cutter()
        self._counter = SliceCounter(subject)
        self._slice: int | None = None  # that is being counted
        self._taken: list[Taken] = []
        self.rows = 0
        self.first_us = self.last_us = 0
        self.pauses: list[tuple[int, int]] = []
        """From and until when, in UTC nanoseconds, nothing came for more than IDLE_NS_MAX."""

    def add(self, rows: Rows) -> Iterator[Told]:
        """Rows none of which is earlier than those before."""
        times_us = rows.times_us
        assert times_us is not None and len(rows), "a replay needs a clock"
        if self.rows == 0:
            self.first_us = int(times_us[0])
        assert self.last_us <= times_us[0], "rows follow each other"
        slices = times_us * NS_PER_US // SLICE_NS
        first = np.flatnonzero(np.diff(slices, prepend=-1))
        for start, stop in pairwise([*first.tolist(), len(rows)]):
            following = int(slices[start])
            if self._slice is not None and following != self._slice:
                yield from self._read(self._slice, self._counter.take())
                yield from self._idle(self._slice + 1, following)
            self._slice = following
            self._counter.count(rows.taken(slice(start, stop)))
            self.rows += stop - start
            self.last_us = int(times_us[stop - 1])

    def end(self) -> Iterator[Told]:
        """No more rows: everything is closed as far as it is."""
        if self._slice is None:
            return
        yield from self._read(self._slice, self._counter.take())
        last_ns = (self._slice + 1) * SLICE_NS
        yield from self._expire(WindowKind.WEEK.unit_start(last_ns) + WindowKind.WEEK.length_ns)
        self._slice = None

    def _idle(self, first: int, stop: int) -> Iterator[Told]:
        """Slices without rows, from `first` up to `stop`."""
        if (stop - first) * SLICE_NS > IDLE_NS_MAX:
            self.pauses.append((first * SLICE_NS, stop * SLICE_NS))
            yield from self._expire(stop * SLICE_NS)
            return
        at = first
        while at < stop:
            # A minute that has no rows at all says the same in one piece.
            whole = at % SLICES_MIN == 0 and at + SLICES_MIN <= stop
            pieces = SLICES_MIN if whole else 1
            yield from self._read(at, self._counter.empty, pieces)
            at += pieces

    def _read(self, first: int, by_key: Counts, slices: int = 1) -> Iterator[Told]:
        """What a look at the end of so many slices finds."""
        start, end = first * SLICE_NS, (first + slices) * SLICE_NS
        closed = self._cutter.add(Span(start, end, by_key, sum_of(by_key)[np.newaxis]))
        for window in closed:
            yield from self._judged(window, end)

    def _expire(self, at_utc_ns: int) -> Iterator[Told]:
        """Nothing is served any more up to then."""
        for window in self._cutter.expire(at_utc_ns):
            yield from self._judged(window, window.unit_utc_ns + window.kind.length_ns)

    def _judged(self, window: Window, at_utc_ns: int) -> Iterator[Told]:
        for signal in self._signals:
            yield self._told(window, signal, at_utc_ns)

    def _told(self, window: Window, signal: Signal, at_utc_ns: int) -> Told:
        report = self._judge.judge(Closed(self._stream, window), signal).report
        found = report.measured
        has_moved = found is not None and bool((found.named & found.practical).any())
        now_s = at_utc_ns / 1e9
        asked = decide(self._policy, signal.name, report.verdict is Verdict.DRIFT, now_s, self._taken)
        if asked.response is not Response.OFF:
            self._taken.append(Taken(signal.name, asked.response, now_s))
        unit_end_ns = window.unit_utc_ns + window.kind.length_ns
        return Told(
            signal=signal.name,
            window=window.kind,
            start_utc_ns=window.start_utc_ns,
            end_utc_ns=window.end_utc_ns,
            at_utc_ns=at_utc_ns,
            whole=window.start_utc_ns <= window.unit_utc_ns and window.end_utc_ns >= unit_end_ns,
            rows=self.subject.artifact.rows(window.counts),
            verdict=report.verdict,
            why=report.why,
            log_r=report.log_r,
            log_threshold=report.limits.log_threshold,
            moved=tuple(feature.to_dict() for feature in report.features if feature.moved) if has_moved else (),
            largest=largest_psi(signal, window),
            asked=asked,
        )


def replayed(replay: Replay, stream: Iterable[Rows]) -> Iterator[Told]:
    """All that the rows of a stream give, to their end."""
    for rows in stream:
        yield from replay.add(rows)
    yield from replay.end()
