"""Limits: when a window's figures make an alarm. Made from the settings by control, used by `judge`.

Always: in their ranges, since they are checked when they are made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """threshold: of the detector, in windows between false alarms; see `detector.threshold`.

    tau: PSI that is large enough to matter. z: standard errors that PSI has to be above it. false_discoveries: share of
    the features named that did not move, at most, on average. rows_min: a window with fewer says nothing.
    """

    threshold: float
    tau: float = 0.1
    z: float = 1.645
    false_discoveries: float = 0.1
    rows_min: int = 100

    def __post_init__(self) -> None:
        if not 1.0 <= self.threshold < math.inf:
            raise ValueError(f"threshold: expected windows between false alarms, at least 1, got {self.threshold}")
        if not 0.0 < self.tau < math.inf:
            raise ValueError(
                f"tau: expected a PSI above 0, got {self.tau}. At 0 every difference matters, and none is ever 0"
            )
        if not 0.0 <= self.z <= 10.0:
            raise ValueError(f"z: expected 0 to 10 standard errors, got {self.z}")
        if not 0.0 < self.false_discoveries < 1.0:
            raise ValueError(f"false_discoveries: expected a share above 0 and below 1, got {self.false_discoveries}")
        if self.rows_min < 1:
            raise ValueError(f"rows_min: expected 1 row or more, got {self.rows_min}")

    @property
    def log_threshold(self) -> float:
        return math.log(self.threshold)
