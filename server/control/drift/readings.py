"""Readings: counts that only grow, as they are read off the plane, and what was counted between two of them. Pure.

Always: no difference is negative. A counter that went back has begun anew, and all that it shows was counted since.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from native.plane.layout import DRIFT_BUCKETS
from server.control.drift.windows import SLICES_MIN, Counts, WindowKind, sealed

SLICE_NS: Final = WindowKind.MINUTE.length_ns // SLICES_MIN
"""From one reading to the next: each is a time slice of its minute."""


@dataclass(frozen=True, order=True)
class Source:
    """Who counts: a seat, as long as it holds one artifact."""

    seat: int
    generation: int


@dataclass(frozen=True, eq=False)
class Reading:
    """counts: int64[DRIFT_BUCKETS, T], all rows of this source since it began, summed over workers."""

    model: str
    digest: str
    source: Source
    counts: Counts


@dataclass(frozen=True, eq=False)
class KeptReading:
    """The last reading of a source. at_utc_ns: when, by the clock of the windows."""

    source: Source
    at_utc_ns: int
    counts: Counts


def own_copy(reading: Reading) -> Counts:
    """The counts, checked and not the caller's any more. Raises ValueError."""
    shape = reading.counts.shape
    if reading.counts.dtype != np.int64 or len(shape) != 2 or shape[0] != DRIFT_BUCKETS or shape[1] == 0:
        raise ValueError(
            f"counts of {reading.model} in seat {reading.source.seat}: expected int64[{DRIFT_BUCKETS}, bins], got "
            f"{reading.counts.dtype}{list(shape)}. Read them with the bins of the artifact's baseline"
        )
    if (reading.counts < 0).any():
        raise ValueError(
            f"counts of {reading.model} in seat {reading.source.seat}: expected 0 or more, got "
            f"{reading.counts.min()}. The plane is not as this build lays it out: restart the server"
        )
    return sealed(reading.counts.copy())


def went_back(before: Counts, now: Counts) -> bool:
    """True where any count is less than it was: the counter was reset, or is another one."""
    return bool((now < before).any())


def counted_between(before: Counts | None, now: Counts) -> Counts:
    """What the second reading has that the first has not. before: None for a source that was never read."""
    if before is None or went_back(before, now):
        return now
    return sealed(now - before)
