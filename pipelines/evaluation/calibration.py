"""Calibration: whether what is predicted is what happens, among rows of like predictions. Pure.

Classes: expected calibration error over bins of equal mass (Nixon and others, *Measuring Calibration in Deep Learning*,
2019, on why of equal mass). A regression: the absolute mean residual, as a share of the labels' standard deviation.
Always: bins are cut by predictions alone, rows of one prediction stay together, and every row is in one bin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pipelines.definition import Classification
from pipelines.evaluation.measures import Floats, Judge, Outcomes, rounded

BINS: Final = 15


@dataclass(frozen=True)
class Bin:
    """low, high: the smallest and the largest prediction in it. predicted, actual: means; `actual` of classes is the
    share of the positive one."""

    rows: int
    low: float
    high: float
    predicted: float
    actual: float


@dataclass(frozen=True)
class Calibration:
    error: float
    bins: tuple[Bin, ...]

    def as_json(self) -> dict[str, Any]:
        bins = [{name: rounded(value) if isinstance(value, float) else value for name, value in vars(one).items()}
                for one in self.bins]  # fmt: skip
        return {"error": rounded(self.error), "bins": bins}


def calibration(judge: Judge, outcomes: Outcomes, bins_max: int = BINS) -> Calibration:
    """Of at least one row."""
    if isinstance(judge.task, Classification):
        actual = (outcomes.truth == judge.task.positive).astype(np.float64)
        bins = equal_mass_bins(outcomes.values, actual, bins_max)
        error = sum(one.rows * abs(one.predicted - one.actual) for one in bins) / len(outcomes)
        return Calibration(error, bins)
    residual, spread = float((outcomes.values - outcomes.truth).mean()), float(outcomes.truth.std())
    bins = equal_mass_bins(outcomes.values, outcomes.truth, bins_max)
    return Calibration(abs(residual) / spread if spread else math.nan, bins)


def equal_mass_bins(predicted: Floats, actual: Floats, bins_max: int) -> tuple[Bin, ...]:
    """Up to bins_max, of about as many rows each: fewer where many predictions are one."""
    edges = np.unique(np.quantile(predicted, np.arange(1, bins_max) / bins_max, method="inverted_cdf"))
    which = np.searchsorted(edges, predicted, side="left")
    return tuple(_bin(predicted[which == index], actual[which == index]) for index in np.unique(which))


def _bin(predicted: Floats, actual: Floats) -> Bin:
    low, high = float(predicted.min()), float(predicted.max())
    return Bin(len(predicted), low, high, float(predicted.mean()), float(actual.mean()))
