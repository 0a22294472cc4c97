"""Sequential tests of event counts: e-values that may be looked at after every request, for ever.

Used by `verdicts` for one look and by `benchmarks.calibrate` for millions: every function takes leading axes.
An e-value is the worth of a bet against a null hypothesis, 1 at the start. Under the null it reaches 1/alpha, ever,
with probability alpha at most (Ville). Always: logarithms in, logarithms out, none is NaN; counts alone decide.

Given that an event happens while the canary's share is pi, it is the canary's with probability
pi psi/(1 - pi + pi psi).
psi, "the ratio", is how many times the stable's rate of events the canary's is: the ratio of the odds that an event is
the canary's to the odds that a request is. The traffic and the rates themselves, which may swing, cancel out.
Lindon & Malek, *Anytime-Valid Inference for Multinomial Count Data*, 2022; Lindon, Sanden & Shirikian, *Rapid
Regression Detection in Software Deployments through Sequential Testing*, 2022.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from server.judgement.evidence import PPM

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

PSI_MAX: Final = 50.0  # the furthest bet on "worse"
PSI_MIN: Final = 0.5  # the furthest bet on "not worse"; 0.2 takes 1.3 times as long over an identical canary
BET_POINTS: Final = 32
CAP_HALVINGS: Final = 8  # bets on rates of cap/2, cap/4, ... cap/256
INTERVAL_PSI: Final = 1000.0  # intervals are looked for between 1/1000 and 1000
INTERVAL_POINTS: Final = 601  # 2.3 % apart; bounds are rounded outwards to them
MIXTURE_POINTS: Final = 49
EPOCH_WEIGHTS_KEPT: Final = 1024


@dataclass(frozen=True)
class RatioBet:
    """A bet against ratios up to `margin` (or down to it), spread over ratios from there to `furthest`."""

    margin: float
    furthest: float

    def __post_init__(self) -> None:
        if self.margin <= 0.0 or self.furthest <= 0.0 or self.margin == self.furthest:
            raise ValueError(f"furthest: expected a ratio above 0 other than {self.margin}, got {self.furthest}")


def worse_than(margin: float) -> RatioBet:
    """Its e-value grows while the canary is worse than `margin`."""
    return RatioBet(margin, PSI_MAX)


def better_than(margin: float) -> RatioBet:
    """Its e-value grows while the canary is better than `margin`."""
    return RatioBet(margin, PSI_MIN)


@lru_cache(maxsize=64)
def alternatives(bet: RatioBet) -> Floats:
    """The ratios betted on, evenly by logarithm, the margin left out. float64[BET_POINTS]."""
    steps = np.arange(1, BET_POINTS + 1) / BET_POINTS
    return np.asarray(bet.margin * (bet.furthest / bet.margin) ** steps)


@lru_cache(maxsize=EPOCH_WEIGHTS_KEPT)
def _per_event(bet: RatioBet, weight_ppm: int) -> Floats:
    """ln of what each event, whoever's, does to the bet on each alternative under this weight."""
    share = weight_ppm / PPM
    return np.asarray(np.log1p(share * (bet.margin - 1.0)) - np.log1p(share * (alternatives(bet) - 1.0)))


def log_mean_exp(values: Floats) -> Floats:
    """ln of the mean of exp over the last axis."""
    highest = values.max(axis=-1)
    return np.asarray(highest + np.log(np.exp(values - highest[..., None]).mean(axis=-1)))


def log_ratio_e_value(bet: RatioBet, weights_ppm: Sequence[int], canary_events: Counts, events: Counts) -> Floats:
    """ln E of the bet: the mean over its alternatives of the likelihood ratio.

    canary_events, events: int64[..., W], the canary's events and both variants', under each of W weights.
    """
    per_event = np.stack([_per_event(bet, weight) for weight in weights_ppm])
    on_canary = np.log(alternatives(bet) / bet.margin)
    return log_mean_exp(canary_events.sum(axis=-1)[..., None] * on_canary + events @ per_event)


def log_cap_e_value(cap: float, canary_events: Counts, canary_trials: Counts) -> Floats:
    """ln E of a bet against a rate of `cap` or more, spread over lower rates. Both int64[...], of the same shape.

    canary_trials: of what each may have had one event: units, or requests. More events than trials, for a moment, only
    make it smaller.
    """
    rates = cap * 0.5 ** np.arange(1, CAP_HALVINGS + 1)
    on_event = np.log(rates / cap)
    on_none = np.log1p(-rates) - np.log1p(-cap)
    return log_mean_exp(canary_events[..., None] * on_event + (canary_trials - canary_events)[..., None] * on_none)


@lru_cache(maxsize=1)
def interval_grid() -> Floats:
    """The ratios among which `confidence_interval` looks. float64[INTERVAL_POINTS]."""
    return np.geomspace(1.0 / INTERVAL_PSI, INTERVAL_PSI, INTERVAL_POINTS)


@lru_cache(maxsize=1)
def _mixture() -> Floats:
    return np.geomspace(1.0 / PSI_MAX, PSI_MAX, MIXTURE_POINTS)


@lru_cache(maxsize=EPOCH_WEIGHTS_KEPT)
def _log_totals(weight_ppm: int) -> Floats:
    """ln(1 - pi + pi psi) over the interval's grid, then over the mixture's."""
    both = np.concatenate([interval_grid(), _mixture()])
    return np.asarray(np.log1p(weight_ppm / PPM * (both - 1.0)))


def confidence_interval(
    alpha: float, weights_ppm: Sequence[int], canary_events: Counts, events: Counts
) -> tuple[Floats, Floats]:
    """The ratios not yet ruled out at alpha: at all looks together they hold the true one with 1 - alpha.

    canary_events, events: int64[..., W]. Lower bounds (0 where there is none) and upper ones (infinity), float64[...].
    """
    grid, mixture = interval_grid(), _mixture()
    totals = np.stack([_log_totals(weight) for weight in weights_ppm])
    likelihood = canary_events.sum(axis=-1)[..., None] * np.log(np.concatenate([grid, mixture])) - events @ totals
    on_grid, on_mixture = likelihood[..., : grid.size], likelihood[..., grid.size :]
    kept = log_mean_exp(on_mixture)[..., None] - on_grid < -np.log(alpha)
    # The likelihood is concave in ln psi, so what is kept lies together. Where the truth is beyond the grid, nothing
    # may be kept: then the bound is the grid's end that fits best.
    best = on_grid.argmax(axis=-1)
    some = kept.any(axis=-1)
    first = np.where(some, kept.argmax(axis=-1), best)
    last = np.where(some, grid.size - 1 - kept[..., ::-1].argmax(axis=-1), best)
    low = np.where(first == 0, 0.0, grid[np.maximum(first - 1, 0)])
    high = np.where(last == grid.size - 1, np.inf, grid[np.minimum(last + 1, grid.size - 1)])
    return np.asarray(low), np.asarray(high)


def likeliest_ratio(weights_ppm: Sequence[int], canary_events: Sequence[int], events: Sequence[int]) -> float:
    """The ratio under which these counts are likeliest: 0 where no event is the canary's, infinity where all are.

    One entry a weight. There must be an event.
    """
    canary, total = sum(canary_events), sum(events)
    if total <= 0:
        raise ValueError("events: expected one at least, got none. Without an event every ratio is as likely")
    if canary <= 0:
        return 0.0
    if canary >= total:
        return float("inf")
    terms = [(weight / PPM, count) for weight, count in zip(weights_ppm, events, strict=True) if count]
    if len(terms) == 1:
        share = terms[0][0]
        return canary * (1.0 - share) / ((total - canary) * share)
    low, high = 1e-12, 1e12
    for _ in range(64):
        middle = math.sqrt(low * high)
        expected = sum(count * share * middle / (1.0 - share + share * middle) for share, count in terms)
        low, high = (middle, high) if expected < canary else (low, middle)
    return math.sqrt(low * high)
