"""Windows: what was counted of one artifact's rows in a minute, an hour, a day or a week of UTC.

Made by `cutting`, kept by `store`, judged by whoever reads them. Pure.
A window covers the time from one reading to another, half open. Its unit is the minute, hour, day or week of UTC in
which its middle lies: readings come a moment after a unit's end, and after a time without readings one window covers
all of it. Always: blocks by key and blocks by time add up to the same counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

MINUTE_NS: Final = 60 * 1_000_000_000
HOUR_NS: Final = 60 * MINUTE_NS
DAY_NS: Final = 24 * HOUR_NS
WEEK_NS: Final = 7 * DAY_NS
MONDAY_NS: Final = 4 * DAY_NS  # the first Monday after 1970-01-01, a Thursday
SLICES_MIN, SLICES_MAX = 16, 31  # as many as the effective sample needs, and bounded
assert SLICES_MAX == 2 * SLICES_MIN - 1, "one more, and pairs of them are SLICES_MIN again"


class WindowKind(Enum):
    """length_ns: of its unit. phase_ns: where one unit begins."""

    MINUTE = ("minute", MINUTE_NS, 0)
    HOUR = ("hour", HOUR_NS, 0)
    DAY = ("day", DAY_NS, 0)
    WEEK = ("week", WEEK_NS, MONDAY_NS)

    def __init__(self, word: str, length_ns: int, phase_ns: int) -> None:
        self.word = word
        self.length_ns = length_ns
        self.phase_ns = phase_ns

    def unit_start(self, at_utc_ns: int) -> int:
        """UTC nanoseconds at which the unit begins that holds this moment. Weeks begin on Monday."""
        return (at_utc_ns - self.phase_ns) // self.length_ns * self.length_ns + self.phase_ns


KINDS: Final = tuple(WindowKind)


@dataclass(frozen=True, eq=False)
class Span:
    """Counts of a stretch of time, half open, in UTC nanoseconds.

    blocks_by_key: int64[DRIFT_BUCKETS, T], by a hash of the rows' keys, or int64[1, T] where only the sum is kept.
    blocks_by_time: int64[S, T], S slices one after the other, 1 <= S <= SLICES_MAX. Neither is written to any more.
    """

    start_utc_ns: int
    end_utc_ns: int
    blocks_by_key: Counts
    blocks_by_time: Counts

    @cached_property
    def counts(self) -> Counts:
        """int64[T]."""
        return sum_of(self.blocks_by_key)

    @property
    def middle_utc_ns(self) -> int:
        return (self.start_utc_ns + self.end_utc_ns) // 2

    @property
    def is_empty(self) -> bool:
        """True where no row was counted."""
        return not bool(self.counts.any())


@dataclass(frozen=True, eq=False)
class Window(Span):
    """A span with a unit of its own: no two windows of a kind and an artifact have the same, and none overlap."""

    kind: WindowKind

    @property
    def unit_utc_ns(self) -> int:
        """When its unit begins."""
        return self.kind.unit_start(self.middle_utc_ns)

    @property
    def longer(self) -> bool:
        """True where it holds what was counted while nobody read: readings that come in time make a window longer than
        its unit by less than a sixteenth."""
        length_ns = self.kind.length_ns
        return self.end_utc_ns - self.start_utc_ns > length_ns + length_ns // SLICES_MIN

    @property
    def has_blocks(self) -> bool:
        """False where only the sums are kept, and no effective sample can be computed."""
        return len(self.blocks_by_key) > 1

    def without_blocks(self) -> Window:
        """The same with the sums alone, as it is kept when it is old."""
        if not self.has_blocks and self.blocks_by_time.shape[0] == 1:
            return self
        whole = self.counts[np.newaxis]
        return Window(self.start_utc_ns, self.end_utc_ns, whole, whole, self.kind)


def window_of(kind: WindowKind, span: Span) -> Window:
    return Window(span.start_utc_ns, span.end_utc_ns, span.blocks_by_key, span.blocks_by_time, kind)


def sum_of(blocks: Counts) -> Counts:
    """int64[T] of int64[G, T]."""
    total: Counts = blocks.sum(axis=0)
    return sealed(total)


def sealed(counts: Counts) -> Counts:
    """Not to be written to any more: it is shared between threads."""
    counts.flags.writeable = False
    return counts


def added(blocks: Counts, others: Counts) -> Counts:
    """Key blocks of both, bucket by bucket; int64[1, T] where one of them has the sum alone."""
    if blocks.shape[0] == others.shape[0]:
        return sealed(blocks + others)
    return sealed((sum_of(blocks) + sum_of(others))[np.newaxis])


def fewer_slices(blocks: Counts, slices: int) -> Counts:
    """int64[min(S, slices), T]: neighbours of int64[S, T] added up, so that they are as equally long as can be."""
    if blocks.shape[0] <= slices:
        return blocks
    first = np.arange(slices) * blocks.shape[0] // slices
    return sealed(np.add.reduceat(blocks, first, axis=0))


class Slices:
    """Consecutive pieces added up as they come: at least SLICES_MIN slices once there were so many pieces."""

    def __init__(self) -> None:
        self._sums: list[Counts] = []
        self._pieces = 1  # that make up a slice
        self._filled = 0  # of them are in the last one

    def add(self, counts: Counts) -> None:
        """counts: int64[T]."""
        if self._sums and self._filled < self._pieces:
            self._sums[-1] = self._sums[-1] + counts
            self._filled += 1
            return
        self._sums.append(counts)
        self._filled = 1
        if len(self._sums) > SLICES_MAX:
            self._filled += self._pieces
            self._pieces *= 2
            self._sums = [first + second for first, second in zip(self._sums[::2], self._sums[1::2], strict=True)]

    def stacked(self) -> Counts:
        """int64[S, T], at least one slice must have been added."""
        return sealed(np.stack(self._sums))


def joined(kind: WindowKind, first: Span, second: Span) -> Window:
    """One window of two that follow each other."""
    slices = Slices()
    for counts in (*first.blocks_by_time, *second.blocks_by_time):
        slices.add(counts)
    return Window(
        first.start_utc_ns, second.end_utc_ns, added(first.blocks_by_key, second.blocks_by_key), slices.stacked(), kind
    )


def merged(windows: Sequence[Window]) -> Window:
    """The sum of windows of one unit, of several artifacts with the same bins. Raises ValueError where they differ.

    Key blocks add up by bucket, since a key has the same in all of them. Time slices add up by their order.
    """
    first = windows[0]
    for other in windows[1:]:
        if (other.kind, other.unit_utc_ns) != (first.kind, first.unit_utc_ns):
            raise ValueError(
                f"windows: expected the {first.kind.word} that begins at {first.unit_utc_ns} ns, got the "
                f"{other.kind.word} that begins at {other.unit_utc_ns} ns. Merge windows of the same unit"
            )
        if other.counts.size != first.counts.size:
            raise ValueError(
                f"windows: expected {first.counts.size} bins, got {other.counts.size}. Merge only artifacts whose "
                "baselines have the same bins"
            )
    slices = min(window.blocks_by_time.shape[0] for window in windows)
    by_key, by_time = first.blocks_by_key, fewer_slices(first.blocks_by_time, slices)
    for other in windows[1:]:
        by_key = added(by_key, other.blocks_by_key)
        by_time = sealed(by_time + fewer_slices(other.blocks_by_time, slices))
    start_utc_ns = min(window.start_utc_ns for window in windows)
    end_utc_ns = max(window.end_utc_ns for window in windows)
    return Window(start_utc_ns, end_utc_ns, by_key, by_time, first.kind)
