"""Report: what is to be said of one signal in one window, with all that it stands on.

Made by `judge`, read by control, the journal, the page and `roost drift`. Pure values.
Always: features in order of concern; no number is NaN; what decided is what is shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, Final

import numpy as np

from server.judgement.drift.layout import Flags, Floats
from server.judgement.drift.limits import Limits
from server.judgement.drift.psi import Band, band
from server.judgement.drift.reference import Reference

LOG_E_MAX: Final = 700.0  # e beyond 1e304 is shown as that


class Verdict(Enum):
    """`drift` while it lasts: as often as a window shows it."""

    QUIET = "quiet"
    DRIFT = "drift"
    NOT_ENOUGH = "not_enough"


@dataclass(frozen=True)
class FeatureDrift:
    """One feature. band: of psi, by the rules of thumb, which decide nothing.

    log_e: ln of this window's e-value. named: by e-BH, as one that moved. practical: psi0 - z se above tau, in this
    window or in all since the detector began to rise, of which rise_psi0 and rise_standard_error tell.
    """

    name: str
    weight: float
    rows: float
    effective_rows: float
    phi: float
    psi: float
    psi0: float
    standard_error: float
    band: Band
    rise_psi0: float
    rise_standard_error: float
    log_e: float
    named: bool
    practical: bool

    @property
    def moved(self) -> bool:
        """Both: it is no accident, and it is large enough to matter."""
        return self.named and self.practical

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "weight": self.weight,
            "rows": self.rows,
            "effective_rows": self.effective_rows,
            "phi": self.phi,
            "psi": self.psi,
            "psi0": self.psi0,
            "standard_error": self.standard_error,
            "rule_of_thumb": self.band.value,
            "rise_psi0": self.rise_psi0,
            "rise_standard_error": self.rise_standard_error,
            "e_value": math.exp(min(self.log_e, LOG_E_MAX)),
            "log_e": self.log_e,
            "named": self.named,
            "practical": self.practical,
        }


@dataclass(frozen=True, eq=False)
class Measured:
    """Figures by feature, float64[F] and bool[F]: see `FeatureDrift`."""

    rows: Floats
    phi: Floats
    psi: Floats
    psi0: Floats
    standard_error: Floats
    rise_psi0: Floats
    rise_standard_error: Floats
    log_e: Floats
    named: Flags
    practical: Flags


@dataclass(frozen=True, eq=False)
class DriftReport:
    """verdict: with `why` in plain words. rows: of the window. log_e: of all features together. log_r: the detector's.

    measured: None where there was not enough to measure. windows: that the detector has judged so far. rise_windows:
    since it last had no evidence.
    """

    verdict: Verdict
    why: str
    reference: Reference
    limits: Limits
    rows: float
    log_e: float
    log_r: float
    windows: int
    rise_windows: int
    measured: Measured | None

    @cached_property
    def features(self) -> tuple[FeatureDrift, ...]:
        """In order of concern: those that moved, then by what the model leans on times what surely moved."""
        m = self.measured
        if m is None:
            return ()
        weight = self.reference.weights
        sure = np.maximum(m.rise_psi0 - self.limits.z * m.rise_standard_error, 0.0) * weight
        order = np.lexsort((-m.log_e, -m.rise_psi0 * weight, -sure, ~(m.named & m.practical)))
        return tuple(
            FeatureDrift(
                name=self.reference.names[f],
                weight=float(weight[f]),
                rows=float(m.rows[f]),
                effective_rows=float(m.rows[f] / m.phi[f]),
                phi=float(m.phi[f]),
                psi=float(m.psi[f]),
                psi0=float(m.psi0[f]),
                standard_error=float(m.standard_error[f]),
                band=band(float(m.psi[f])),
                rise_psi0=float(m.rise_psi0[f]),
                rise_standard_error=float(m.rise_standard_error[f]),
                log_e=float(m.log_e[f]),
                named=bool(m.named[f]),
                practical=bool(m.practical[f]),
            )
            for f in order.tolist()
        )

    @property
    def moved(self) -> tuple[str, ...]:
        """Names of the features that moved, in order of concern."""
        return tuple(feature.name for feature in self.features if feature.moved)

    @property
    def weighted_psi0(self) -> float:
        """The summary: sum of weight times psi0, which noise leaves at 0 on average. 0 where nothing was measured."""
        return 0.0 if self.measured is None else float(self.reference.weights @ self.measured.psi0)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: no infinity, no NaN. A detector without evidence has log_r null."""
        return {
            "verdict": self.verdict.value,
            "why": self.why,
            "rows": self.rows,
            "log_e": self.log_e,
            "log_r": self.log_r if math.isfinite(self.log_r) else None,
            "threshold": self.limits.threshold,
            "tau": self.limits.tau,
            "windows": self.windows,
            "rise_windows": self.rise_windows,
            "weighted_psi0": self.weighted_psi0,
            "features": [feature.to_dict() for feature in self.features],
        }
