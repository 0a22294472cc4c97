"""Policy: what counts as worse, what as not worse, and how often a verdict may be wrong.

Used by `verdicts.judge`; control fills it from the settings' section `judgement`.
Always: in its ranges, since it is checked when it is made; one policy for a whole rollout, or the rates do not hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from server.judgement.evidence import SIGNALS
from server.judgement.sequential import PSI_MAX, PSI_MIN

SUM_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Policy:
    """Margins: ratios of event rates, canary to stable. Weights: shares of the bet on each signal, in SIGNALS' order.

    alpha: chance that a rollout that is no worse than `margin_worse` is ever called worse.
    beta: chance that a signal worse than `margin_not_worse` and above `cap`, either way, is ever let pass.
    cap: a rate of events, among requests and among units, below which a canary is good whatever the stable's rate is.
    """

    alpha: float = 0.01
    beta: float = 0.05
    margin_worse: float = 1.1
    margin_not_worse: float = 1.25
    cap: float = 0.001
    error_weight: float = 0.5
    non_finite_weight: float = 0.25
    timeout_weight: float = 0.25
    canary_requests_min: int = 100

    def __post_init__(self) -> None:
        _between("alpha", self.alpha, 0.0, 1.0)
        _between("beta", self.beta, 0.0, 1.0)
        _between("cap", self.cap, 0.0, 1.0)
        if not 1.0 <= self.margin_worse < PSI_MAX:
            raise ValueError(
                f"margin_worse: expected a ratio of rates from 1 to below {PSI_MAX:g}, got {self.margin_worse}. "
                "1 calls a canary worse for any harm at all"
            )
        if not 1.0 < self.margin_not_worse < PSI_MAX:
            raise ValueError(
                f"margin_not_worse: expected a ratio of rates above 1 and below {PSI_MAX:g}, got "
                f"{self.margin_not_worse}. "
                "No number of requests shows that a canary is not worse at all"
            )
        for signal, weight in zip(SIGNALS, self.weights, strict=True):
            if not 0.0 < weight < 1.0:
                raise ValueError(
                    f"weight of {signal}: expected a share above 0 and below 1, got {weight}. "
                    "A signal with no share could never take a canary home"
                )
        total = math.fsum(self.weights)
        if abs(total - 1.0) > SUM_TOLERANCE:
            raise ValueError(
                f"error_weight, non_finite_weight, timeout_weight: expected a sum of 1, got {total}. "
                "A larger sum would break alpha"
            )
        if self.canary_requests_min < 0:
            raise ValueError(f"canary_requests_min: expected 0 or more, got {self.canary_requests_min}")

    @property
    def weights(self) -> tuple[float, ...]:
        """Shares of the bet, in SIGNALS' order."""
        return (self.error_weight, self.non_finite_weight, self.timeout_weight)

    @property
    def worse_at(self) -> float:
        """A canary goes home when the e-value against it gets here."""
        return 1.0 / self.alpha

    @property
    def not_worse_at(self) -> float:
        """A signal passes when the e-value for it gets here."""
        return 1.0 / self.beta


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low < value < high:
        raise ValueError(f"{name}: expected a number above {low:g} and below {high:g}, got {value}")


assert PSI_MIN < 1.0 < PSI_MAX, "margins lie between the furthest bets"
