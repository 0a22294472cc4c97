"""Several files as one stream of rows in the order of their times, as several workers record them side by side.

Used by `files`. Always: a piece of each file that overlaps in time is in memory, and no more; a row is given once no
file can have an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from server.replay.reading import Rows, RowsFile
from server.replay.times import Times


@dataclass
class _Open:
    """A file that is being read. rows: what is left of its last piece."""

    pieces: Iterator[Rows]
    rows: Rows

    @property
    def times_us(self) -> Times:
        assert self.rows.times_us is not None, "files without times are not merged"
        return self.rows.times_us

    def take(self, until_us: int) -> Rows:
        """Rows up to this time, that itself included."""
        count = int(np.searchsorted(self.times_us, until_us, side="right"))
        taken, self.rows = self.rows.taken(slice(0, count)), self.rows.taken(slice(count, None))
        return taken

    def refill(self) -> bool:
        """False where the file has no more."""
        if len(self.rows):
            return True
        following = next(self.pieces, None)
        if following is not None:
            self.rows = following
        return following is not None


def merged(files: Sequence[RowsFile]) -> Iterator[Rows]:
    """All rows of files that have times, whatever their order. Of equal times the earlier file's come first."""
    waiting = sorted(files, key=lambda file: file.first_us or 0)
    reading: list[_Open] = []
    while waiting or reading:
        if not reading:
            reading += _opened(waiting.pop(0))
            continue
        until_us = min(int(one.times_us[-1]) for one in reading)
        if waiting and (waiting[0].first_us or 0) <= until_us:
            reading += _opened(waiting.pop(0))
            continue
        yield _in_order([one.take(until_us) for one in reading])
        reading = [one for one in reading if one.refill()]


def _opened(file: RowsFile) -> list[_Open]:
    """None of a recording in which nothing is this artifact's."""
    pieces = file.pieces()
    first = next(pieces, None)
    return [] if first is None else [_Open(pieces, first)]


def _in_order(parts: Sequence[Rows]) -> Rows:
    parts = [part for part in parts if len(part)]
    if len(parts) == 1:
        return parts[0]
    times_us = np.concatenate([part.times_us for part in parts if part.times_us is not None])
    order = np.argsort(times_us, kind="stable")
    arrays = {name: np.concatenate([part.arrays[name] for part in parts])[order] for name in parts[0].arrays}
    return Rows(times_us[order], np.concatenate([part.buckets for part in parts])[order], arrays)
