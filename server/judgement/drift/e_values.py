"""E-values of one window: a bet that it was drawn from another distribution than the reference was.

Used by `judge`. Both hypotheses are Dirichlet-multinomial, so that the finite reference is part of the null: given
reference counts r the window's shares are Dirichlet(r + 1/2), the posterior. The alternatives are spread around the
reference, from near (c = 1,000) to far (c = 30). After Lindon & Malek, *Anytime-Valid Inference for Multinomial Count
Data*, 2022. The expectation under that null is exactly 1 for whole counts. Counts divided by phi make a tempered
likelihood, which is no longer exact: `benchmarks.calibrate` measures what it is worth.
Always: logarithms in, logarithms out, none is NaN. Over features: the weighted mean is an e-value under any dependence
(Vovk & Wang, *E-values: Calibration, combination and applications*, Annals of Statistics 2021).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from server.judgement.drift.layout import Flags, Floats, Layout
from server.judgement.drift.psi import SMOOTHING, shares

CONCENTRATIONS: Final = np.array([30.0, 100.0, 300.0, 1000.0])
SHIFT: Final = 16
"""Stirling's series is good to 1e-15 from here on."""


def log_rising(a: Floats, m: Floats) -> Floats:
    """ln Gamma(a + m) - ln Gamma(a) for a > 0, m >= 0, of any size, without taking two large numbers apart.

    By Stirling's series, whose leading terms are subtracted on paper: a difference of two lgamma of 1e12 is off by
    0.004, this by rounding of the result. Below SHIFT both arguments are raised by it first.
    """
    a, m = np.broadcast_arrays(a, m)
    low = a < SHIFT
    raised = np.where(low, a + SHIFT, a)
    end = raised + m
    found = np.asarray((raised - 0.5) * np.log1p(m / raised) + m * (np.log(end) - 1.0) + _tail(end) - _tail(raised))
    found[low] -= _log_raised(a[low], m[low])
    return found


def _tail(x: Floats) -> Floats:
    """Stirling's series beyond its leading terms."""
    inverse = 1.0 / x
    square = inverse * inverse
    return np.asarray(
        inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188))))
    )


def _log_raised(a: Floats, m: Floats) -> Floats:
    """ln of the product of (a + m + i)/(a + i) for i below SHIFT, in two halves, so that none overflows."""
    halves = []
    for start in (0, SHIFT // 2):
        product = np.ones_like(a)
        for i in range(start, start + SHIFT // 2):
            product *= 1.0 + m / (a + i)
        halves.append(np.log(product))
    return np.asarray(halves[0] + halves[1])


def log_dirichlet_multinomial(counts: Floats, prior: Floats, layout: Layout) -> Floats:
    """ln DM(m; a) by feature, without the multinomial coefficient, which cancels in every ratio. float64[..., F]."""
    inside = layout.sum(log_rising(prior, counts))
    return np.asarray(inside - log_rising(layout.sum(prior), layout.sum(counts)))


def log_e_values(counts: Floats, reference_counts: Floats, layout: Layout) -> Floats:
    """ln e by feature, float64[F]: the mean over CONCENTRATIONS of DM(m; c q)/DM(m; r + 1/2).

    counts: float64[T], a window's divided by its phi. reference_counts: float64[T].
    """
    near = CONCENTRATIONS[:, None] * shares(reference_counts, layout)
    priors = np.concatenate([near, (reference_counts + SMOOTHING)[None]])
    logs = log_dirichlet_multinomial(np.broadcast_to(counts, priors.shape), priors, layout)
    return np.asarray(log_mean_exp(logs[:-1], axis=0) - logs[-1])


def log_mean_exp(values: Floats, axis: int) -> Floats:
    """ln of the mean of exp over `axis`."""
    highest = values.max(axis=axis, keepdims=True)
    return np.asarray(np.log(np.exp(values - highest).mean(axis=axis)) + highest.squeeze(axis))


def log_weighted_mean(log_e: Floats, weights: Floats) -> float:
    """ln of sum w e over features, of weights that add up to 1, some of which may be 0."""
    some = weights > 0
    logs = log_e[some] + np.log(weights[some])
    highest = float(logs.max())
    return highest + math.log(float(np.exp(logs - highest).sum()))


def e_bh(log_e: Floats, rate: float) -> Flags:
    """Which features moved, at most `rate` of them named wrongly on average, whatever their dependence.

    The k largest, for the largest k of which the least is at least F/(rate k): Wang & Ramdas, *False discovery rate
    control with e-values*, JRSS B 2022. bool[F].
    """
    features = log_e.size
    order = np.argsort(-log_e, kind="stable")
    needed = math.log(features / rate) - np.log(np.arange(1, features + 1))
    enough = np.flatnonzero(log_e[order] >= needed)
    named: npt.NDArray[np.bool_] = np.zeros(features, dtype=np.bool_)
    if enough.size:
        named[order[: enough[-1] + 1]] = True
    return named
