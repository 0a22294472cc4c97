"""Seats whose rows are counted by bin, as the plane would show them, and a clock that is set by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from native.plane.layout import DRIFT_BUCKETS
from server.control.drift.book import Closed, DriftBook
from server.control.drift.readings import SLICE_NS, Reading, Source
from server.control.drift.store import Store
from server.control.drift.windows import Counts, Window, WindowKind

MONDAY = 1_790_553_600 * 10**9  # 2026-09-28, a Monday, 0:00 UTC
SECOND = 10**9
MODEL, DIGEST, OTHER = "m", "d" * 64, "e" * 64


@dataclass
class CountedSeat:
    """counts: int64[DRIFT_BUCKETS, T], of a source that only grows."""

    source: Source
    counts: Counts
    digest: str = DIGEST

    def count(self, random: np.random.Generator, rows: int) -> None:
        keys = random.integers(0, DRIFT_BUCKETS, rows)
        np.add.at(self.counts, (keys, random.integers(0, self.counts.shape[1], rows)), 1)

    def reading(self) -> Reading:
        return Reading(MODEL, self.digest, self.source, self.counts)

    @property
    def total(self) -> Counts:
        total: Counts = self.counts.sum(axis=0)
        return total


def seat(index: int = 0, generation: int = 1, bins: int = 5, digest: str = DIGEST) -> CountedSeat:
    return CountedSeat(Source(index, generation), np.zeros((DRIFT_BUCKETS, bins), dtype=np.int64), digest)


class Clock:
    """Both clocks of a machine; `step` moves them together, `jump` only UTC."""

    def __init__(self, at_utc_ns: int = MONDAY) -> None:
        self.at_utc_ns, self.now_ns = at_utc_ns, 7 * SECOND

    def step(self, ns: int) -> None:
        self.at_utc_ns += ns
        self.now_ns += ns

    def jump(self, ns: int) -> None:
        self.at_utc_ns += ns


class Observed:
    """A book that is fed by hand, and all windows that it has closed."""

    def __init__(self, store: Store, clock: Clock, plane_started_utc_ns: int = MONDAY) -> None:
        self.store, self.clock = store, clock
        self.book = DriftBook(store, store.load(), plane_started_utc_ns)
        self.closed: list[Closed] = []

    def observe(self, seats: Iterable[CountedSeat]) -> tuple[Closed, ...]:
        found = self.book.observe(
            [seat.reading() for seat in seats], at_utc_ns=self.clock.at_utc_ns, now_ns=self.clock.now_ns
        )
        self.closed += found
        return found

    def run(self, seats: Sequence[CountedSeat], slices: int, random: np.random.Generator, rows: int = 20) -> None:
        """So many readings on time, each with new rows, each saved."""
        for _ in range(slices):
            self.clock.step(SLICE_NS)
            for one in seats:
                one.count(random, rows)
            self.observe(seats)
            self.book.save()

    def windows(self, kind: WindowKind, digest: str = DIGEST) -> list[Window]:
        return [one.window for one in self.closed if one.window.kind is kind and one.stream.digest == digest]


def store_in(folder: Path | None, plane: str = "plane", **settings: float) -> Store:
    return Store(folder, plane, first_wait_s=0.01, **settings)  # type: ignore[arg-type]


def check_sequence(windows: Sequence[Window]) -> None:
    """One after the other, each unit once."""
    for before, after in pairwise(windows):
        assert before.start_utc_ns < before.end_utc_ns <= after.start_utc_ns
        assert before.unit_utc_ns < after.unit_utc_ns


def total_of(windows: Iterable[Window], bins: int = 5) -> Counts:
    return sum((window.counts for window in windows), np.zeros(bins, dtype=np.int64))


def check_blocks(window: Window) -> None:
    assert (window.blocks_by_time.sum(axis=0) == window.counts).all()
    assert (window.blocks_by_key.sum(axis=0) == window.counts).all()
