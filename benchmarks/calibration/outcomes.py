"""Outcomes: when the judge decides about simulated rollouts, and when a repeated z-test would have.

Used by `benchmarks.calibration.promises`. The e-values are the server's own functions, for many looks at once; a test
holds them against `judge` itself, look by look.
Always: -1 stands for "never"; whatever comes first counts, and WORSE ends a rollout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.calibration.worlds import Counts, Seen
from server.judgement.policy import Policy
from server.judgement.sequential import confidence_interval, log_ratio_e_value, worse_than
from server.judgement.verdicts import CanaryTotals, log_e_pass, log_e_values, log_e_worse

Z_ONE_PERCENT: Final = 2.326
Z_EVENTS_MIN: Final = 5
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Outcome:
    """By rollout, int64[R]: the requests (all, and the canary's) at the first look with a verdict, -1 for never."""

    worse_requests: Counts
    worse_canary_requests: Counts
    passed_requests: Counts
    passed_canary_requests: Counts


def says_worse(policy: Policy, seen: Seen) -> Flags:
    """bool[R, L]. Only a new event of the canary's can raise E, so that no other look needs to be computed."""
    on_canary = seen.canary_events.sum(axis=(2, 3))
    news = np.diff(on_canary, axis=1, prepend=0) > 0
    said = np.zeros(news.shape, dtype=np.bool_)
    bad = log_ratio_e_value(
        worse_than(policy.margin_worse), seen.weights_ppm, seen.canary_events[news], seen.events[news]
    )
    said[news] = log_e_worse(policy, bad) >= -math.log(policy.alpha)
    return said


def lets_pass(policy: Policy, seen: Seen) -> Flags:
    """bool[R, L]: every signal passes, and the canary has had the least number of requests."""
    totals = CanaryTotals(seen.canary_units, seen.canary_requests, seen.canary_events_all)
    logs = log_e_values(policy, seen.weights_ppm, seen.canary_events, seen.events, totals)
    passing = log_e_pass(logs.good, logs.cap).min(axis=-1) >= -math.log(policy.beta)
    return np.asarray(passing & (seen.canary_requests >= policy.canary_requests_min))


def outcome(policy: Policy, seen: Seen, *, passing: bool = True) -> Outcome:
    """What became of each rollout. passing: False where nobody asks who was let pass, which is most of the work."""
    worse = first(says_worse(policy, seen))
    passed = first(lets_pass(policy, seen)) if passing else np.full_like(worse, -1)
    # A canary that has gone home is not promoted any more; one that was promoted does not go home.
    never = np.iinfo(np.int64).max
    order_worse, order_passed = np.where(worse < 0, never, worse), np.where(passed < 0, never, passed)
    worse = np.where(order_worse <= order_passed, worse, -1)
    passed = np.where(order_passed < order_worse, passed, -1)
    return Outcome(
        _at(seen.requests, worse),
        _at(seen.canary_requests, worse),
        _at(seen.requests, passed),
        _at(seen.canary_requests, passed),
    )


def z_test_says_worse(seen: Seen) -> Flags:
    """bool[R, L]: the two-proportion test at one-sided 1 %, of errors, repeated at each look as dashboards do it."""
    on_canary = seen.canary_events[:, :, 0].sum(axis=-1)
    on_stable = seen.events[:, :, 0].sum(axis=-1) - on_canary
    canary = np.maximum(seen.canary_requests, 1)
    stable = np.maximum(seen.requests - seen.canary_requests, 1)
    pooled = (on_canary + on_stable) / (canary + stable)
    spread = np.sqrt(np.maximum(pooled * (1.0 - pooled) * (1.0 / canary + 1.0 / stable), 1e-300))
    z = (on_canary / canary - on_stable / stable) / spread
    return np.asarray((z > Z_ONE_PERCENT) & (on_canary + on_stable >= Z_EVENTS_MIN))


def interval_misses(policy: Policy, seen: Seen, ratio: float) -> Flags:
    """bool[R, L]: the interval of the errors' ratio leaves out the true one."""
    low, high = confidence_interval(policy.alpha, seen.weights_ppm, seen.canary_events[:, :, 0], seen.events[:, :, 0])
    return np.asarray((ratio < low) | (ratio > high))


def first(flags: Flags) -> Counts:
    """Index of each row's first True, -1 where there is none."""
    return np.where(flags.any(axis=1), flags.argmax(axis=1), -1).astype(np.int64)


def _at(counts: Counts, look: Counts) -> Counts:
    return np.where(look < 0, -1, counts[np.arange(look.size), np.maximum(look, 0)])
