"""Pairs: what a canary and the stable beside it have answered, by bin, added up for each weight that stood. Pure.

Used by `canary_watch`. Readings only grow; what was counted between two of them belongs to the weight that stood at
both. Where the weight moved in between nobody can tell, and the rows of that moment are no evidence.
Always: no row is in two weights; how many weights are kept has a bound; the same canary that comes again goes on.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from native.plane.layout import DRIFT_BUCKETS
from native.plane.routes import SeatRef
from server.control.drift.readings import counted_between
from server.control.drift.windows import Counts, sealed
from server.judgement.drift.canary import EpochPair

WEIGHTS_MAX: Final = 32
BYTES_MAX: Final = 16 << 20
"""Of one canary. Rows under further weights are left out: a rollout that has so many is played with."""


class BadPairs(ValueError):
    """The bytes are no pairs of these two, or were cut short. Begin anew."""


@dataclass(frozen=True)
class PairSource:
    """Who counts, under which weight."""

    canary: SeatRef
    stable: SeatRef
    weight_epoch: int


@dataclass(frozen=True, eq=False)
class PairReading:
    """canary, stable: int64[DRIFT_BUCKETS, T], by the bins of the stable's predictions, since their counters began."""

    source: PairSource
    weight_ppm: int
    canary: Counts
    stable: Counts


@dataclass
class Pairs:
    """Of one stable and one canary. bins: T."""

    bins: int
    _weights: dict[int, EpochPair] = field(default_factory=dict)
    _last: PairReading | None = None

    def add(self, reading: PairReading) -> None:
        """Takes what was counted since the last one. A first reading, or one of other sources, only begins."""
        last, self._last = self._last, reading
        if last is None or last.source != reading.source:
            return
        known = self._weights.get(reading.weight_ppm)
        if known is None and len(self._weights) >= weights_max(self.bins):
            return
        canary = counted_between(last.canary, reading.canary)
        stable = counted_between(last.stable, reading.stable)
        if known is not None:
            canary, stable = known.canary + canary, known.stable + stable
        self._weights[reading.weight_ppm] = EpochPair(reading.weight_ppm, sealed(canary), sealed(stable))

    @property
    def epochs(self) -> tuple[EpochPair, ...]:
        """In the order in which their weights came first."""
        return tuple(self._weights.values())

    def to_bytes(self) -> bytes:
        """Without the last reading: what is counted while nobody reads is no evidence."""
        file = io.BytesIO()
        canary, stable = ([getattr(one, arm) for one in self.epochs] for arm in ("canary", "stable"))
        weights = np.array(list(self._weights), dtype=np.int64)
        np.savez(file, weights=weights, canary=np.array(canary, np.int64), stable=np.array(stable, np.int64))
        return file.getvalue()


def pairs_from_bytes(data: bytes, bins: int) -> Pairs:
    """What `to_bytes` wrote, for a stable with so many bins. Raises BadPairs."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            weights, canary, stable = file["weights"], file["canary"], file["stable"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BadPairs(f"pairs: expected what this build wrote, got {error}. Begin anew") from error
    shape = (weights.size, DRIFT_BUCKETS, bins)
    for name, arm in (("canary", canary), ("stable", stable)):
        if weights.size and (arm.dtype != np.int64 or arm.shape != shape or (arm < 0).any()):
            raise BadPairs(f"pairs: {name}: expected int64{list(shape)}, got {arm.dtype}{list(arm.shape)}. Begin anew")
    if weights.dtype != np.int64 or weights.ndim != 1 or weights.size > WEIGHTS_MAX:
        raise BadPairs(f"pairs: weights: expected at most {WEIGHTS_MAX}, got {weights.size}. Begin anew")
    kept = [EpochPair(int(weight), sealed(canary[at]), sealed(stable[at])) for at, weight in enumerate(weights)]
    return Pairs(bins, {one.canary_weight_ppm: one for one in kept})


def weights_max(bins: int) -> int:
    """How many weights are kept of so many bins: one at least."""
    of_one = 2 * DRIFT_BUCKETS * bins * np.dtype(np.int64).itemsize
    return max(1, min(WEIGHTS_MAX, BYTES_MAX // of_one))
