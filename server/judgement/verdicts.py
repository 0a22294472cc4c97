"""Verdicts: a canary is worse than the stable beside it, or is not, or nobody can tell yet.

`judge` is a pure function of counts: the server calls it at every look, `replay` over recorded looks, the calibration
through the same e-values over simulated ones. Takes under a millisecond.
Always: WORSE goes before NOT_WORSE; what is not sure is WAIT; the chance of a wrong verdict is the policy's, however
often one looks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np

from server.judgement.evidence import PPM, SIGNALS, ArmCounts, Evidence
from server.judgement.policy import Policy
from server.judgement.sequential import (
    Counts,
    Floats,
    better_than,
    confidence_interval,
    likeliest_ratio,
    log_cap_e_value,
    log_ratio_e_value,
    worse_than,
)

LOG_E_MAX: Final = 690.0  # e-values are shown up to 1e299, so that all of them fit a float and JSON
LOG_2: Final = math.log(2.0)


class Verdict(StrEnum):
    WORSE = "worse"
    NOT_WORSE = "not_worse"
    WAIT = "wait"


@dataclass(frozen=True)
class SignalEvidence:
    """One signal at one look. e-values start at 1.

    Events are units' first ones; canary_events_all are all of the canary's.
    e_bad: against "no worse than margin_worse". e_good: against "worse than margin_not_worse". cap_e: against "the
    canary's rate is the cap or more, among units or among requests". estimate: the likeliest ratio of rates, None
    without an event. psi_high and it may be infinite.
    """

    name: str
    stable_events: int
    canary_events: int
    canary_events_all: int
    weight: float
    e_bad: float
    e_good: float
    cap_e: float
    estimate: float | None
    psi_low: float
    psi_high: float

    @property
    def e_pass(self) -> float:
        """What decides whether the signal lets a canary pass. A mean, so that two ways to pass don't double beta."""
        return (self.e_good + self.cap_e) / 2.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "stable_events": self.stable_events,
            "canary_events": self.canary_events,
            "canary_events_all": self.canary_events_all,
            "weight": self.weight,
            "e_bad": self.e_bad,
            "e_good": self.e_good,
            "cap_e": self.cap_e,
            "e_pass": self.e_pass,
            "estimate": _finite(self.estimate),
            "psi_low": self.psi_low,
            "psi_high": _finite(self.psi_high),
        }


@dataclass(frozen=True)
class Judgement:
    """A verdict and all that it stands on.

    e_worse: of all signals together, weighted; WORSE at policy.worse_at. decisive: the signal that says worse, or that
    holds a promotion back; None where all have passed. Requests are those that carry evidence, canary_units the keys
    that they have and those of them that have none.
    """

    verdict: Verdict
    policy: Policy
    e_worse: float
    signals: tuple[SignalEvidence, ...]
    decisive: str | None
    canary_requests: int
    canary_units: int
    stable_requests: int
    weights_ppm: tuple[int, ...]

    def signal(self, name: str) -> SignalEvidence:
        for signal in self.signals:
            if signal.name == name:
                return signal
        raise KeyError(f"signal: expected one of {', '.join(SIGNALS)}, got {name!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON for a journal: no infinity, no NaN. What has no bound is null."""
        return {
            "verdict": self.verdict.value,
            "e_worse": self.e_worse,
            "worse_at": self.policy.worse_at,
            "not_worse_at": self.policy.not_worse_at,
            "margin_worse": self.policy.margin_worse,
            "margin_not_worse": self.policy.margin_not_worse,
            "cap": self.policy.cap,
            "canary_requests_min": self.policy.canary_requests_min,
            "decisive": self.decisive,
            "canary_requests": self.canary_requests,
            "canary_units": self.canary_units,
            "stable_requests": self.stable_requests,
            "weights_ppm": list(self.weights_ppm),
            "signals": [signal.to_dict() for signal in self.signals],
        }


@dataclass(frozen=True)
class LogEValues:
    """By signal, on the last axis: float64[..., S]."""

    bad: Floats
    good: Floats
    cap: Floats


@dataclass(frozen=True)
class CanaryTotals:
    """A canary's counts under all weights, for rates. units, requests: int64[...]; events_all: int64[..., S]."""

    units: Counts
    requests: Counts
    events_all: Counts


def log_e_values(
    policy: Policy, weights_ppm: tuple[int, ...], canary_events: Counts, events: Counts, canary: CanaryTotals
) -> LogEValues:
    """All e-values of one look, or of many at once. canary_events, events: int64[..., S, W] by signal and weight.

    The cap's is the lesser of two. By units (keys that failed among keys): the split draws keys, so that a million
    requests of fifty keys are a sample of fifty. By requests (all that failed among all): a key that sends half of the
    traffic and always fails is one key of many, and half of the traffic. The lesser of two e-values is one for "either
    rate is the cap or more", so that beta holds for each. Without keys both are the same.
    """
    by_units, by_requests = (
        log_cap_e_value(policy.cap, failed, np.broadcast_to(trials[..., None], failed.shape))
        for failed, trials in ((canary_events.sum(axis=-1), canary.units), (canary.events_all, canary.requests))
    )
    return LogEValues(
        log_ratio_e_value(worse_than(policy.margin_worse), weights_ppm, canary_events, events),
        log_ratio_e_value(better_than(policy.margin_not_worse), weights_ppm, canary_events, events),
        np.minimum(by_units, by_requests),
    )


def log_e_worse(policy: Policy, bad: Floats) -> Floats:
    """ln of the weighted mean of the signals' e-values: an e-value whatever they have to do with each other."""
    return np.asarray(np.logaddexp.reduce(bad + np.log(policy.weights), axis=-1))


def log_e_pass(good: Floats, cap: Floats) -> Floats:
    """ln of the mean of both bets on a signal's passing."""
    return np.asarray(np.logaddexp(good, cap) - LOG_2)


def judge(evidence: Evidence, policy: Policy) -> Judgement:
    """What these counts say about the canary. Every count since the rollout began, or since its burn-in."""
    telling = [counts for counts in evidence if counts.says_something]
    weights = tuple(sorted({counts.canary_weight_ppm for counts in telling}))
    columns = {weight: column for column, weight in enumerate(weights)}
    # One column at least, of a weight that says nothing: without evidence every e-value is 1.
    canary_events = np.zeros((len(SIGNALS), max(len(weights), 1)), dtype=np.int64)
    events = np.zeros_like(canary_events)
    for counts in telling:
        column = columns[counts.canary_weight_ppm]
        for row, name in enumerate(SIGNALS):
            on_canary = counts.canary.events(name)
            canary_events[row, column] += on_canary
            events[row, column] += on_canary + counts.stable.events(name)
    canary = sum((counts.canary for counts in telling), ArmCounts())
    canary_events_all = [canary.events_all(name) for name in SIGNALS]
    totals = CanaryTotals(*(np.asarray(n, dtype=np.int64) for n in (canary.units, canary.requests, canary_events_all)))
    columns_ppm = weights or (PPM // 2,)
    logs = log_e_values(policy, columns_ppm, canary_events, events, totals)
    low, high = confidence_interval(policy.alpha, columns_ppm, canary_events, events)
    signals = tuple(
        SignalEvidence(
            name=name,
            stable_events=int(events[row].sum() - canary_events[row].sum()),
            canary_events=int(canary_events[row].sum()),
            canary_events_all=canary_events_all[row],
            weight=policy.weights[row],
            e_bad=_shown(logs.bad[row]),
            e_good=_shown(logs.good[row]),
            cap_e=_shown(logs.cap[row]),
            estimate=_estimate(columns_ppm, canary_events[row].tolist(), events[row].tolist()),
            psi_low=float(low[row]),
            psi_high=float(high[row]),
        )
        for row, name in enumerate(SIGNALS)
    )
    log_worse, log_pass = float(log_e_worse(policy, logs.bad)), log_e_pass(logs.good, logs.cap)
    least = int(log_pass.argmin())
    if log_worse >= -math.log(policy.alpha):
        verdict, decisive = Verdict.WORSE, SIGNALS[int((logs.bad + np.log(policy.weights)).argmax())]
    elif log_pass[least] < -math.log(policy.beta):
        verdict, decisive = Verdict.WAIT, SIGNALS[least]
    elif canary.requests < policy.canary_requests_min:
        verdict, decisive = Verdict.WAIT, None
    else:
        verdict, decisive = Verdict.NOT_WORSE, None
    return Judgement(
        verdict=verdict,
        policy=policy,
        e_worse=_shown(log_worse),
        signals=signals,
        decisive=decisive,
        canary_requests=canary.requests,
        canary_units=canary.units,
        stable_requests=sum(counts.stable.requests for counts in telling),
        weights_ppm=weights,
    )


def _estimate(weights_ppm: tuple[int, ...], canary_events: list[int], events: list[int]) -> float | None:
    return likeliest_ratio(weights_ppm, canary_events, events) if sum(events) else None


def _shown(log_e: float) -> float:
    return math.exp(min(log_e, LOG_E_MAX))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
