"""Comparison: whether a model is no worse than the stable one, on the same rows. Pure; used by the register stage.

A paired bootstrap of the gate's measure (Efron & Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13):
rows are drawn anew, the same for both models, and the lower percentile of the differences is held against the margin: a
model worse by the margin itself passes in about 1 - confidence of the cases (non-inferiority, one-sided).
Scores are sorted once. A resample is a count for each row, and the AUC of counts takes two cumulative sums.
Always: the same answers compare as equal, whatever the seed; rows are taken for independent of each other, which people
of one household and flights of one storm are not, so that the interval is, if anything, too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.definition import Classification, Regression
from pipelines.evaluation.measures import MEASURES, Floats, Judge, Outcomes, auc_of_counts, rounded
from pipelines.evaluation.slices import factorized
from pipelines.parameters import Comparison
from pipelines.refusal import Refusal

SLICE_ROWS_MIN: Final = 500
"""Slices of fewer rows are not compared, unless the caller says otherwise."""
Resampled = Callable[[npt.NDArray[np.int32]], tuple[float, float]]
"""Places of the rows drawn, int32[n] -> the measure of ours and of the stable's on them."""


@dataclass(frozen=True)
class SliceComparison:
    """name: such as "sex=female". drop: how far ours is below the stable's there, in the gate's measure."""

    name: str
    rows: int
    ours: float
    stable: float
    passed: bool

    @property
    def drop(self) -> float:
        return self.stable - self.ours

    def as_json(self) -> dict[str, Any]:
        figures = {"ours": rounded(self.ours), "stable": rounded(self.stable), "drop": rounded(self.drop)}
        return {"on": self.name, "rows": self.rows, "passed": self.passed} | figures


@dataclass(frozen=True)
class ComparisonReport:
    """rows: compared, on which both answers are numbers. not_finite: rows where ours is none, which is never passed.
    low, high: the interval of ours - stable's, each end reached with `confidence` on its side."""

    measure: str
    rows: int
    not_finite: int
    stable_not_finite: int
    ours: float
    stable: float
    low: float
    high: float
    settings: Comparison
    slices: tuple[SliceComparison, ...]

    @property
    def difference(self) -> float:
        return self.ours - self.stable

    @property
    def passed(self) -> bool:
        return not self.not_finite and self.low >= -self.settings.margin and all(one.passed for one in self.slices)

    def as_json(self) -> dict[str, Any]:
        figures = {name: rounded(getattr(self, name)) for name in ("ours", "stable", "difference", "low", "high")}
        return figures | {
            "measure": self.measure,
            "rows": self.rows,
            "not_finite": self.not_finite,
            "stable_not_finite": self.stable_not_finite,
            "settings": self.settings.model_dump(mode="json"),
            "slices": [one.as_json() for one in self.slices],
            "passed": self.passed,
        }


@dataclass(frozen=True)
class Pair:
    """What two models say of the same n rows. truth, ours, stables: float64[n], finite."""

    judge: Judge
    truth: Floats
    ours: Floats
    stables: Floats

    def take(self, rows: npt.NDArray[np.bool_]) -> Pair:
        return Pair(self.judge, self.truth[rows], self.ours[rows], self.stables[rows])

    def measures(self) -> tuple[float, float]:
        """Of ours and of the stable's; NaN where it is not defined on these rows."""
        if not len(self.truth):
            return math.nan, math.nan
        ours, stable = (
            self.judge.gate_measure(Outcomes(self.truth, said, said)) for said in (self.ours, self.stables)
        )
        return ours, stable

    def differences(self, resamples: int, seed: int) -> Floats:
        """Of each resample ours - stable's, float64; a resample on which the measure is not defined is left out."""
        if np.array_equal(self.ours, self.stables):
            return np.zeros(1)
        random, rows = np.random.default_rng(seed), len(self.truth)
        on = self._auc_on() if isinstance(self.judge.task, Classification) else self._skill_on()
        drawn = (on(random.integers(0, rows, rows, dtype=np.int32)) for _ in range(resamples))
        differences = np.array([one - other for one, other in drawn], dtype=np.float64)
        return np.asarray(differences[np.isfinite(differences)])

    def _auc_on(self) -> Resampled:
        """Rows of one score and one label are one place: what is drawn is counted there, nothing is sorted again."""
        assert isinstance(self.judge.task, Classification)
        positive = self.truth == self.judge.task.positive
        placed = [_places(positive, scores) for scores in (self.ours, self.stables)]

        def on(drawn: npt.NDArray[np.int32]) -> tuple[float, float]:
            counts = [np.bincount(places[drawn], minlength=2 * groups) for places, groups in placed]
            one, other = (auc_of_counts(each[len(each) // 2 :], each[: len(each) // 2]) for each in counts)
            return one, other

        return on

    def _skill_on(self) -> Resampled:
        said = np.stack([self.ours, self.stables, np.full(len(self.truth), self.judge.median)])
        errors = np.abs(said - self.truth)

        def on(drawn: npt.NDArray[np.int32]) -> tuple[float, float]:
            # No matrix product: a library of many threads adds in an order of its own.
            one, other, without = ((errors * np.bincount(drawn, minlength=errors.shape[1])).sum(axis=1)).tolist()
            return (1 - one / without, 1 - other / without) if without else (math.nan, math.nan)

        return on


def compare(
    task: Classification | Regression,
    truth: Floats,
    ours: Floats,
    stables: Floats,
    slices: Mapping[str, npt.NDArray[np.object_]],
    settings: Comparison,
    seed: int,
    *,
    median: float | None = None,
    slice_rows_min: int = SLICE_ROWS_MIN,
) -> ComparisonReport:
    """truth, ours, stables: float64[n], labels and what each model says (the positive class's probability, or the
    number predicted). slices: by column of each row its value. median: of training's labels, against which a
    regression's skill is measured; else of these. Raises Refusal where too few rows are left that both answer."""
    answered = np.isfinite(stables)
    both = answered & np.isfinite(ours)
    judge = Judge(task, float(np.median(truth)) if median is None else median)
    pair = Pair(judge, truth[both], ours[both], stables[both])
    measures = pair.measures()
    if any(math.isnan(one) for one in measures):
        raise Refusal(
            "comparison", expected="rows of both kinds that both models answer", got=f"{int(both.sum())} rows",
            hint="Run `roost verify` on the stable version: it should answer with numbers.",
        )  # fmt: skip
    differences = pair.differences(settings.resamples, seed)
    low, high = (float(np.quantile(differences, side)) for side in (1 - settings.confidence, settings.confidence))
    return ComparisonReport(
        measure=MEASURES[type(task)][0],
        rows=int(both.sum()),
        not_finite=int((answered & ~both).sum()),
        stable_not_finite=int((~answered).sum()),
        ours=measures[0],
        stable=measures[1],
        low=low,
        high=high,
        settings=settings,
        slices=tuple(_slices(pair, {name: of[both] for name, of in slices.items()}, settings, slice_rows_min)),
    )


def _slices(
    pair: Pair, slices: Mapping[str, npt.NDArray[np.object_]], settings: Comparison, rows_min: int
) -> Iterator[SliceComparison]:
    """Those of rows_min rows or more on which the measure is defined."""
    for column, values in slices.items():
        names, found = factorized(values)
        for index, name in enumerate(names):
            rows = found == index
            if rows.sum() >= rows_min:
                ours, stable = pair.take(rows).measures()
                if not math.isnan(ours - stable):
                    passed = stable - ours <= settings.slice_drop_max
                    yield SliceComparison(f"{column}={name}", int(rows.sum()), ours, stable, passed)


def _places(positive: npt.NDArray[np.bool_], scores: Floats) -> tuple[npt.NDArray[np.intp], int]:
    """Of each row its place: negatives by score, lowest first, then positives; and how many scores there are."""
    distinct, groups = np.unique(scores, return_inverse=True)
    return groups + len(distinct) * positive, len(distinct)
