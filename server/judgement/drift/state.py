"""State: what a detector remembers of the windows that it has seen. One for each signal and length of windows.

Made by `beginning`, returned anew by `judge`, kept by control between looks and over restarts. Pure values.
Always: a function of the windows in their order; nothing of a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from server.judgement.drift.detector import NO_EVIDENCE
from server.judgement.drift.dispersion import Smoothed, nothing_learnt
from server.judgement.drift.layout import Floats
from server.judgement.drift.reference import HOURS_OF_WEEK, Reference
from server.judgement.drift.state_bytes import BadState, pack, unpack

KIND: Final = 1
RISE_WINDOWS_MAX: Final = 64
NO_HOUR: Final = -1


@dataclass(frozen=True, eq=False)
class Rise:
    """The windows since the detector last had no evidence (R < 1), added up: what a shift's size is measured on.

    counts: float64[T], merged. effective_rows: float64[F]. windows: how many; beyond RISE_WINDOWS_MAX all are halved,
    so that a shift that goes on for months does not bury a new one. hour: of the week, whose reference they were judged
    by; NO_HOUR where that is the training reference.
    """

    counts: Floats
    effective_rows: Floats
    windows: float
    hour: int = NO_HOUR

    def with_window(self, counts: Floats, effective_rows: Floats) -> Rise:
        if self.windows < RISE_WINDOWS_MAX:
            return Rise(self.counts + counts, self.effective_rows + effective_rows, self.windows + 1, self.hour)
        return Rise(
            self.counts / 2 + counts, self.effective_rows / 2 + effective_rows, self.windows / 2 + 1, self.hour
        )

    def of_hour(self, hour: int) -> Rise:
        """Begun anew where the hour is another: what follows the hour would look as if it had moved, once the windows
        of several are added up and held against one's reference."""
        if hour == self.hour:
            return self
        return Rise(np.zeros_like(self.counts), np.zeros_like(self.effective_rows), 0.0, hour)


@dataclass(frozen=True, eq=False)
class SignalState:
    """log_r: ln of the e-detector, -inf before the first window. windows: judged so far. dispersion: phi when quiet."""

    log_r: float
    windows: int
    dispersion: Smoothed
    rise: Rise

    def to_bytes(self, reference: Reference) -> bytes:
        numbers = np.array([self.log_r, float(self.windows), self.rise.windows, float(self.rise.hour)])
        smoothed = self.dispersion
        return pack(
            KIND,
            reference.digest,
            [numbers, smoothed.mean, smoothed.windows, self.rise.counts, self.rise.effective_rows],
        )


def beginning(reference: Reference) -> SignalState:
    """Before any window."""
    features = reference.layout.features
    empty = Rise(np.zeros(reference.layout.bins), np.zeros(features), 0.0)
    return SignalState(NO_EVIDENCE, 0, nothing_learnt(features), empty)


def state_from_bytes(data: bytes, reference: Reference) -> SignalState:
    """What `to_bytes` wrote for a reference of the same bins. Raises BadState."""
    features, bins = reference.layout.features, reference.layout.bins
    numbers, mean, learnt, counts, effective = unpack(
        data, KIND, reference.digest, [4, features, features, bins, features]
    )
    log_r, windows, rise_windows, hour = numbers.tolist()
    arrays = np.concatenate([mean, learnt, counts, effective, [windows, rise_windows]])
    if np.isnan(log_r) or log_r == np.inf or not (np.isfinite(arrays).all() and (arrays >= 0).all()):
        raise BadState("state: expected finite numbers of at least 0, got others. Begin anew")
    if hour not in range(NO_HOUR, HOURS_OF_WEEK):
        raise BadState(f"state: expected an hour of the week, got {hour}. Begin anew")
    return SignalState(log_r, int(windows), Smoothed(mean, learnt), Rise(counts, effective, rise_windows, int(hour)))
