"""The population stability index of counts, without its bias, and how far off it may be.

Used by `judge` and `canary`, shown everywhere. Pure, over leading axes.
p = (m + 1/2)/(M + B/2) of the window, q = (r + 1/2)/(N + B/2) of the reference: no bin is ever empty, and none is
smoothed by a constant that decides the result. Without drift PSI is about (1/M + 1/N) chi2(B - 1), which is why a
fixed limit fires at small windows and never at large ones (Yurdakul & Naranjo, *Statistical properties of the
population stability index*, 2020); `debiased` takes that mean away. It is a good approximation where M p_b >= 10.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import numpy as np

from server.judgement.drift.layout import Floats, Layout

MODERATE_FROM: Final = 0.1
LARGE_FROM: Final = 0.2
SMOOTHING: Final = 0.5


class Band(Enum):
    """Rules of thumb, shown since people ask for them. They know neither rows nor bins, and decide nothing."""

    STABLE = "stable"
    MODERATE = "moderate"
    LARGE = "large"


def band(psi: float) -> Band:
    """What the rules of thumb call a PSI: from 0.1 moderate, from 0.2 large."""
    if psi >= LARGE_FROM:
        return Band.LARGE
    return Band.MODERATE if psi >= MODERATE_FROM else Band.STABLE


def shares(counts: Floats, layout: Layout) -> Floats:
    """counts[..., T] as smoothed shares of each feature's rows, float64[..., T]."""
    rows = layout.sum(counts) + SMOOTHING * layout.widths
    return np.asarray((counts + SMOOTHING) / layout.spread(rows))


def psi(p: Floats, q: Floats, layout: Layout) -> Floats:
    """PSI of shares p against q, float64[..., F]."""
    return np.asarray(layout.sum((p - q) * np.log(p / q)))


def debiased(value: Floats, layout: Layout, effective_rows: Floats, reference_rows: Floats) -> Floats:
    """PSI less what it is on average without drift, (B - 1)(1/Meff + 1/N). Negative for half of all quiet windows."""
    return np.asarray(value - (layout.widths - 1) * (1.0 / effective_rows + 1.0 / reference_rows))


def standard_error(p: Floats, q: Floats, layout: Layout, effective_rows: Floats, reference_rows: Floats) -> Floats:
    """Of PSI by the delta method: Var_p(ln(p/q) + 1 - q/p)/Meff + Var_q(ln(q/p) + 1 - p/q)/N, its root."""
    window = _variance(p, np.log(p / q) + 1.0 - q / p, layout) / effective_rows
    reference = _variance(q, np.log(q / p) + 1.0 - p / q, layout) / reference_rows
    return np.asarray(np.sqrt(window + reference))


def _variance(share: Floats, values: Floats, layout: Layout) -> Floats:
    mean = layout.sum(share * values)
    return np.asarray(layout.sum(share * (values - layout.spread(mean)) ** 2))
