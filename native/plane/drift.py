"""Counts of rows by bin, as workers publish them: for each seat what it was given, against its artifact's baseline, and
for each model's canary what it answered, against its stable's.

A worker counts straight into its own part of the plane (`open_counts`), one writer for each side on which a batch can
run; control sums them up (`DriftReader`). Always: counts of one generation only grow, over restarts of their worker
too; each row adds one to one bin of every feature, so that whatever a reader sees is the count of some set of rows.
Words are aligned and do not tear; no order between them is promised, or needed.

Rows are split by BUCKETS, a hash of their request's key: rows of one key move together, and judgement sees how much.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from numba import njit

from native.plane.atomics import (
    fence_acquire,
    fence_release,
    load_acquire,
    load_relaxed,
    store_relaxed,
    store_release,
)
from native.plane.layout import DRIFT_BINS_MAX, DRIFT_BUCKETS, DRIFT_HEADER_WORDS, DRIFT_SIDES, Plane, Words
from native.plane.routes import SeatRef
from native.plane.routing import SEATS_MAX
from native.plane.seqlock import word_acquire

DRIFT_GENERATION = 0  # of the artifact that is counted here; 0: what stands here is being cleared
DRIFT_BINS = 1
DRIFT_AGAINST = 2  # whose bins these are, see `against`; OWN: those of the artifact that is counted
assert DRIFT_AGAINST < DRIFT_HEADER_WORDS
OWN = 0


def against(canary: int, stable: int, stable_generation: int) -> int:
    """A word for two seats, and for the artifact whose bins are counted into: of one model, whose canary may have been
    in another seat before."""
    assert 0 <= canary < SEATS_MAX >= stable >= 0 < stable_generation, (canary, stable, stable_generation)
    return (stable_generation * SEATS_MAX + stable) * SEATS_MAX + canary


def open_counts(region: Words, generation: int, bins: int, word: int = OWN) -> Words:
    """The worker's counts of an artifact, int64[DRIFT_SIDES, DRIFT_BUCKETS, bins], shared.

    region: `Plane.drift` of this worker and seat, or `Plane.drift_beside` of its model, with `against` of the seats.
    Counts of the same artifacts go on, those of others are cleared.
    """
    assert 0 < bins <= DRIFT_BINS_MAX, bins
    counts = region[DRIFT_HEADER_WORDS : DRIFT_HEADER_WORDS + DRIFT_SIDES * DRIFT_BUCKETS * bins]
    if [int(region[at]) for at in (DRIFT_GENERATION, DRIFT_BINS, DRIFT_AGAINST)] != [generation, bins, word]:
        clear_counts(region, generation, bins, word)
    return counts.reshape(DRIFT_SIDES, DRIFT_BUCKETS, bins)


@njit("void(int64[::1], int64, int64, int64)", nogil=True, cache=True, error_model="numpy")
def clear_counts(region: Words, generation: int, bins: int, against: int) -> None:
    """Gives a region to another artifact. A reader that sees any of it cleared finds another generation, or none."""
    words = DRIFT_SIDES * DRIFT_BUCKETS * bins
    if bins < 0 or region.size < DRIFT_HEADER_WORDS + words:
        return
    store_relaxed(region, DRIFT_GENERATION, 0)
    fence_release()
    store_relaxed(region, DRIFT_BINS, bins)
    store_relaxed(region, DRIFT_AGAINST, against)
    for index in range(words):
        store_relaxed(region, DRIFT_HEADER_WORDS + index, 0)
    store_release(region, DRIFT_GENERATION, generation)


@njit("int64(int64[::1], int64, int64, int64[::1])", nogil=True, cache=True, error_model="numpy")
def add_counts(region: Words, generation: int, against: int, out: Words) -> int:
    """Adds both sides of an artifact's counts to `out`, int64[DRIFT_BUCKETS * bins]. 1, or 0 where it holds another's.

    What was added is to be thrown away where this says 0.
    """
    bins = out.size // DRIFT_BUCKETS
    if region.size < DRIFT_HEADER_WORDS + DRIFT_SIDES * DRIFT_BUCKETS * bins:
        return 0
    if load_acquire(region, DRIFT_GENERATION) != generation or load_relaxed(region, DRIFT_BINS) != bins:
        return 0
    if load_relaxed(region, DRIFT_AGAINST) != against:
        return 0
    for side in range(DRIFT_SIDES):
        at = DRIFT_HEADER_WORDS + side * DRIFT_BUCKETS * bins
        for index in range(DRIFT_BUCKETS * bins):
            out[index] += load_relaxed(region, at + index)
    fence_acquire()
    return 1 if load_relaxed(region, DRIFT_GENERATION) == generation else 0


class DriftReader:
    """Reads all workers' counts. Used by control, a few times a minute."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def read(self, seat: int, generation: int, bins: int) -> npt.NDArray[np.int64] | None:
        """int64[DRIFT_BUCKETS, bins], summed over workers, those that are gone too; None where none has counted yet."""
        return self._sum(lambda worker: self._plane.drift(worker, seat), generation, OWN, bins)

    def read_beside(self, model: int, canary: SeatRef, stable: SeatRef, bins: int) -> npt.NDArray[np.int64] | None:
        """As `read`, of a model's canary by the bins of its stable."""
        word = against(canary.seat, stable.seat, stable.generation)
        return self._sum(lambda worker: self._plane.drift_beside(worker, model), canary.generation, word, bins)

    def _sum(
        self, region_of: Callable[[int], Words], generation: int, against: int, bins: int
    ) -> npt.NDArray[np.int64] | None:
        total: npt.NDArray[np.int64] = np.zeros(DRIFT_BUCKETS * bins, dtype=np.int64)
        found = False
        for worker in range(self._plane.workers):
            region = region_of(worker)
            # Most have nothing for this artifact: found out without a copy.
            if word_acquire(region, DRIFT_GENERATION) != generation:
                continue
            part = np.zeros_like(total)
            if add_counts(region, generation, against, part):
                total += part
                found = True
        return total.reshape(DRIFT_BUCKETS, bins) if found else None
