"""Rows counted by bin, a time slice at a time, by the worker's own counter over memory that nobody shares.

Used by `replaying`. Always: a row falls into the bins and the bucket that it would have fallen into in a worker, which
of many features draws rows too.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from native.plane.drift import open_counts
from native.plane.layout import DRIFT_BUCKETS, DRIFT_HEADER_WORDS, DRIFT_SIDES
from native.route.layout import MAIN
from registry_client.baseline.reference import PIECE_ROWS_MAX
from server.control.drift.windows import Counts, sealed
from server.replay.reading import Rows
from server.replay.subject import Subject
from server.worker.counting import RowCounter

GENERATION: Final = 1
SEED: Final = 0


class SliceCounter:
    """Of one subject. Call `count` for the rows of a slice, then `take`."""

    def __init__(self, subject: Subject) -> None:
        bins = subject.artifact.bins
        region = np.zeros(DRIFT_HEADER_WORDS + DRIFT_SIDES * DRIFT_BUCKETS * bins, dtype=np.int64)
        self._counter = RowCounter(
            subject.artifact.baseline, subject.signature, region, GENERATION, PIECE_ROWS_MAX, SEED
        )
        self._counts = open_counts(region, GENERATION, bins)[MAIN]
        self.empty = sealed(np.zeros((DRIFT_BUCKETS, bins), dtype=np.int64))
        """int64[DRIFT_BUCKETS, T]: what a slice without rows has."""

    def count(self, rows: Rows) -> None:
        self._counter.count_arrays(MAIN, rows.arrays, rows.buckets)

    def take(self) -> Counts:
        """int64[DRIFT_BUCKETS, T]: all that was counted since it was last taken."""
        taken = self._counts.copy()
        self._counts[:] = 0
        return sealed(taken)
