"""Canary against stable, in the same windows: whose shift is it?

What both arms see cancels out here, so that a shift of the population says nothing, and one that only the canary shows
is its model's. Used by control at each look and by the replay; stateless, like `verdicts.judge`: counts of the whole
rollout in, report out. Pure.

Of n rows in a bin k are the canary's. As long as the model does not matter that is a share pi, the same in every bin,
whatever the population does and however it moves. The bet is on shares that differ from bin to bin: each beta-binomial
around the weight, with concentrations from near to far, against the one share that fits best,
    e = mean over c of prod_b BB(k_b; n_b, c pi, c (1 - pi)) / max over s of s^K (1 - s)^(N - K).
The maximum makes it one for any share that the canary really got, as long as that does not hang on what the rows are:
Wasserman, Ramdas & Balakrishnan, *Universal inference*, PNAS 2020. It conditions on the bin as the test of events does
in `sequential`: Lindon & Malek, 2022. For independent rows it holds at every look, for ever. A canary whose calls are
shed in those hours in which the population is another one sees another population: then only `tau` stands between it
and an alarm. So do callers that choose their version, and where they may nothing is compared.

Rows of a key go to one arm, and a key that comes again brings nothing new. So counts are those of all windows of one
weight together, divided by phi of their buckets by key, which grows as the same keys come back.
Over weights: a mean with shares 1/(j (j + 1)), since the same keys are in all of them. Over features: a weighted one.
Always: a weight of nothing or all says nothing; the chance that a rollout whose model is no different ever alarms is at
most alpha.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np

from server.judgement.drift.dispersion import estimate, larger
from server.judgement.drift.e_values import CONCENTRATIONS, e_bh, log_mean_exp, log_rising, log_weighted_mean
from server.judgement.drift.layout import Flags, Floats, Integers
from server.judgement.drift.psi import debiased, psi, shares, standard_error
from server.judgement.drift.reference import Reference
from server.judgement.evidence import PPM

LOG_E_MAX: Final = 700.0


class Whose(Enum):
    """MODEL: the canary differs from the stable beside it. SAME: it does not, as far as can be seen."""

    MODEL = "model"
    SAME = "same"
    NOT_ENOUGH = "not_enough"


@dataclass(frozen=True, eq=False)
class EpochPair:
    """Both arms while one weight stood: int64[G, T] each, by buckets of a hash of the key, all windows added up."""

    canary_weight_ppm: int
    canary: Integers
    stable: Integers

    def __post_init__(self) -> None:
        if not 0 <= self.canary_weight_ppm <= PPM:
            raise ValueError(f"canary_weight_ppm: expected 0 to {PPM} (all traffic), got {self.canary_weight_ppm}")
        if self.canary.shape != self.stable.shape or self.canary.ndim != 2:
            raise ValueError(
                f"canary, stable: expected blocks by bins of one shape, got {self.canary.shape} and "
                f"{self.stable.shape}. Both arms are counted into the bins of one baseline"
            )
        for name, blocks in (("canary", self.canary), ("stable", self.stable)):
            if (blocks < 0).any():
                raise ValueError(f"{name}: expected counts of at least 0, got {int(blocks.min())}")


@dataclass(frozen=True)
class PairLimits:
    """alpha: chance that a rollout whose model is no different ever alarms. tau, z, false_discoveries: as in `Limits`.

    rows_min: of each arm under one weight.
    """

    alpha: float = 0.01
    tau: float = 0.1
    z: float = 1.645
    false_discoveries: float = 0.1
    rows_min: int = 100

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha < 1.0:
            raise ValueError(f"alpha: expected a chance above 0 and below 1, got {self.alpha}")
        if not 0.0 < self.tau < math.inf:
            raise ValueError(f"tau: expected a PSI above 0, got {self.tau}")
        if not 0.0 <= self.z <= 10.0:
            raise ValueError(f"z: expected 0 to 10 standard errors, got {self.z}")
        if not 0.0 < self.false_discoveries < 1.0:
            raise ValueError(f"false_discoveries: expected a share above 0 and below 1, got {self.false_discoveries}")
        if self.rows_min < 1:
            raise ValueError(f"rows_min: expected 1 row or more, got {self.rows_min}")


@dataclass(frozen=True)
class PairFeature:
    """One feature under the weight that says most. psi0: of the canary's rows against the stable's."""

    name: str
    psi: float
    psi0: float
    standard_error: float
    phi: float
    log_e: float
    named: bool
    practical: bool


@dataclass(frozen=True, eq=False)
class PairReport:
    """log_e: of all features and weights, alarms at 1/alpha. Rows are those that carry evidence."""

    whose: Whose
    why: str
    log_e: float
    limits: PairLimits
    canary_rows: float
    stable_rows: float
    features: tuple[PairFeature, ...]

    @property
    def moved(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features if feature.named and feature.practical)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON for a journal."""
        return {
            "whose": self.whose.value,
            "why": self.why,
            "log_e": self.log_e,
            "e_value": math.exp(min(self.log_e, LOG_E_MAX)),
            "alarms_at": 1.0 / self.limits.alpha,
            "canary_rows": self.canary_rows,
            "stable_rows": self.stable_rows,
            "features": [
                {
                    "name": feature.name,
                    "psi": feature.psi,
                    "psi0": feature.psi0,
                    "standard_error": feature.standard_error,
                    "phi": feature.phi,
                    "log_e": feature.log_e,
                    "named": feature.named,
                    "practical": feature.practical,
                }
                for feature in self.features
            ],
        }


@dataclass(frozen=True, eq=False)
class _Epoch:
    pair: EpochPair
    canary: Floats
    stable: Floats
    phi: Floats
    log_e: Floats


def compare(reference: Reference, epochs: Sequence[EpochPair], limits: PairLimits) -> PairReport:
    """What the rollout's rows say so far. epochs: one for each weight that stood, in order; reference: for its bins."""
    split = [pair for pair in epochs if 0 < pair.canary_weight_ppm < PPM]
    by_place = {
        place: epoch
        for place, pair in enumerate(split, start=1)
        if (epoch := _epoch(reference, pair, limits.rows_min)) is not None
    }
    telling = list(by_place.values())
    if not telling:
        return PairReport(
            Whose.NOT_ENOUGH,
            f"No weight has stood under which both arms have {limits.rows_min:,} rows of several keys.",
            0.0,
            limits,
            0.0,
            0.0,
            (),
        )
    log_e = _over_epochs({place: epoch.log_e for place, epoch in by_place.items()})
    together = log_weighted_mean(log_e, reference.weights)
    best = max(telling, key=lambda epoch: log_weighted_mean(epoch.log_e, reference.weights))
    features = _features(reference, best, log_e, limits)
    moved = [feature for feature in features if feature.named and feature.practical]
    at = -math.log(limits.alpha)
    if together >= at and moved:
        names = ", ".join(f"{feature.name} (PSI {feature.psi0:.2g} against the stable's)" for feature in moved[:3])
        whose, why = Whose.MODEL, f"Only the canary shows it, so it is the model's: {names}."
    elif together >= at:
        whose = Whose.SAME
        most = max(features, key=lambda feature: feature.psi0)
        why = (
            f"The canary differs from the stable beside it, but not surely by a PSI of more than {limits.tau:g}: "
            f"{most.name} by {most.psi0:.2g}, give or take {most.standard_error:.2g}."
        )
    else:
        whose, why = Whose.SAME, "The canary does as the stable beside it. What both show is the population's."
    rows = [sum(float(arm.max()) for arm in arms) for arms in _rows(reference, telling)]
    return PairReport(whose, why, together, limits, rows[0], rows[1], features)


def log_split_e_values(canary: Floats, stable: Floats, share: float, reference: Reference) -> Floats:
    """ln e by feature that rows of some bins go to the canary more often than those of others. float64[F].

    canary, stable: float64[T], merged, divided by phi. share: the weight, above 0 and below 1.
    """
    layout, both = reference.layout, canary + stable
    a, b = CONCENTRATIONS[:, None] * share, CONCENTRATIONS[:, None] * (1.0 - share)
    logs = layout.sum(log_rising(a, canary) + log_rising(b, stable) - log_rising(a + b, both))
    k, n = layout.sum(canary), layout.sum(both)
    best = _times_log(k, k / n) + _times_log(n - k, (n - k) / n)
    return np.asarray(log_mean_exp(logs, axis=0) - best)


def _times_log(count: Floats, share: Floats) -> Floats:
    """count ln share, 0 where there is none of either."""
    return np.asarray(count * np.log(np.where(count > 0, share, 1.0)))


def _epoch(reference: Reference, pair: EpochPair, rows_min: int) -> _Epoch | None:
    canary, stable = reference.merged(pair.canary), reference.merged(pair.stable)
    by_block = [np.count_nonzero(arm.any(axis=1)) for arm in (canary, stable)]
    sums = canary.sum(axis=0), stable.sum(axis=0)
    if min(float(reference.layout.sum(arm).min()) for arm in sums) < rows_min or min(by_block) < 2:
        return None
    phi = larger(estimate(canary, reference.layout), estimate(stable, reference.layout)).phi
    phi = np.fmax(phi, 1.0)
    spread = reference.layout.spread(phi)
    log_e = log_split_e_values(sums[0] / spread, sums[1] / spread, pair.canary_weight_ppm / PPM, reference)
    return _Epoch(pair, sums[0], sums[1], phi, log_e)


def _over_epochs(logs: Mapping[int, Floats]) -> Floats:
    """ln of sum E_j/(j (j + 1)), by the places of the weights that say something; the others' count as 1. float64[F].

    A place is a weight's for good, whenever it has rows enough: or the bet would hang on what was seen.
    """
    shared = [log_e - math.log(j * (j + 1)) for j, log_e in logs.items()]
    left = 1.0 - math.fsum(1.0 / (j * (j + 1)) for j in logs)
    unspent = np.full_like(shared[0], math.log(left))
    return np.asarray(np.logaddexp.reduce([*shared, unspent], axis=0))


def _features(reference: Reference, epoch: _Epoch, log_e: Floats, limits: PairLimits) -> tuple[PairFeature, ...]:
    layout = reference.layout
    p, q = shares(epoch.canary, layout), shares(epoch.stable, layout)
    canary_rows, stable_rows = layout.sum(epoch.canary) / epoch.phi, layout.sum(epoch.stable) / epoch.phi
    value = psi(p, q, layout)
    psi0 = debiased(value, layout, canary_rows, stable_rows)
    error = standard_error(p, q, layout, canary_rows, stable_rows)
    named: Flags = e_bh(log_e, limits.false_discoveries)
    practical = psi0 - limits.z * error > limits.tau
    order = np.lexsort((-log_e, -psi0 * reference.weights, ~(named & practical)))
    return tuple(
        PairFeature(
            reference.names[f],
            float(value[f]),
            float(psi0[f]),
            float(error[f]),
            float(epoch.phi[f]),
            float(log_e[f]),
            bool(named[f]),
            bool(practical[f]),
        )
        for f in order.tolist()
    )


def _rows(reference: Reference, epochs: Sequence[_Epoch]) -> tuple[list[Floats], list[Floats]]:
    layout = reference.layout
    return [layout.sum(epoch.canary) for epoch in epochs], [layout.sum(epoch.stable) for epoch in epochs]
