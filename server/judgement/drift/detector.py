"""The e-detector: adds windows up, for ever, with a stated run length between false alarms.

R_w = (1 + R_{w-1}) E_w, a bet begun anew at each window. While nothing moves it reaches A after A windows at least on
average, and within w windows with probability w/A at most: Shin, Ramdas & Rinaldo, *E-detectors*, 2023. Used by
`judge`. Always: logarithms; a detector is a number and its windows, and the same for the same windows.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

DAY_S: Final = 86_400.0
WEEK_S: Final = 7 * DAY_S
NO_EVIDENCE: Final = -math.inf
"""ln R before the first window."""


def step(log_r: float, log_e: float, log_threshold: float) -> float:
    """ln R after a window with ln E. Kept at the threshold at most: that can only delay an alarm, and lets it end."""
    return min(log_e + float(np.logaddexp(0.0, log_r)), log_threshold)


def threshold(days_without_false_alarm: float, window_s: float, detectors: int = 1) -> float:
    """A: windows between false alarms, for windows of `window_s` seconds.

    detectors: how many share the promise, signals times lengths of windows. Each gets its share of it, or eight
    detectors of 90 days each would alarm every 11 days.
    """
    if not 0.0 < days_without_false_alarm < math.inf:
        raise ValueError(f"days_without_false_alarm: expected a number of days above 0, got {days_without_false_alarm}")
    if not 0.0 < window_s <= WEEK_S:
        raise ValueError(f"window_s: expected above 0 and at most {WEEK_S:.0f} seconds, got {window_s}")
    if detectors < 1:
        raise ValueError(f"detectors: expected 1 or more, got {detectors}")
    windows = days_without_false_alarm * DAY_S * detectors / window_s
    if windows < 1.0:
        raise ValueError(
            f"days_without_false_alarm: expected at least one window of {window_s:.0f} s, got "
            f"{days_without_false_alarm} days. Give more days, or watch shorter windows"
        )
    return windows
