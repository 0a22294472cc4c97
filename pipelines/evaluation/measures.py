"""Measures: how well answers agree with what happened. Pure; used by every part of the evaluation and the comparison.

*The gate's measure* is one figure a task, higher is better: for classes the area under the ROC curve of the positive
class; for a regression the skill in mean absolute error, 1 - MAE / MAE of always saying the median of training's
labels (a skill score in the sense of Murphy, *Monthly Weather Review* 116, 1988: 1 is perfect, 0 no better than that).
Always: a figure that is not defined is NaN (`as_json` gives null), and no gate takes NaN for good.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.definition import Classification, Regression

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MEASURES: Final[Mapping[type[Classification | Regression], tuple[str, str]]] = {
    Classification: ("auc", "area under the ROC curve"),
    Regression: ("mae_skill", "skill: 1 - mean absolute error / that of always saying training's median"),
}
"""By task the gate's measure: the name of its figure, and its title."""
_PROBABILITY_MIN: Final = 1e-15


@dataclass(frozen=True)
class Outcomes:
    """n rows. truth: float64[n], the labels. values: float64[n], the positive class's probability, or what is
    predicted. classes: float64[n], the class that was said; the values once more in a regression."""

    truth: Floats
    values: Floats
    classes: Floats

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: Mask | npt.NDArray[np.intp]) -> Outcomes:
        return Outcomes(self.truth[rows], self.values[rows], self.classes[rows])


@dataclass(frozen=True)
class ClassMeasures:
    """auc, log_loss, brier, actual_mean, predicted_mean: of the positive class against the rest. majority_share: of
    the commonest class, which is the accuracy of always saying it. bias: predicted_mean - actual_mean."""

    rows: int
    auc: float
    accuracy: float
    majority_share: float
    accuracy_gain: float
    log_loss: float
    brier: float
    actual_mean: float
    predicted_mean: float
    bias: float


@dataclass(frozen=True)
class RegressionMeasures:
    """In the label's unit, but for mae_share and mae_skill. mae_of_median: of always saying training's median.
    spread: the labels' standard deviation. bias: predicted_mean - actual_mean."""

    rows: int
    mae: float
    mae_of_median: float
    mae_share: float
    mae_skill: float
    rmse: float
    spread: float
    actual_mean: float
    predicted_mean: float
    bias: float


Measures = ClassMeasures | RegressionMeasures


@dataclass(frozen=True)
class Judge:
    """What measures depend on besides the rows. median: of training's labels; no matter for classes."""

    task: Classification | Regression
    median: float = math.nan

    @property
    def name(self) -> str:
        return MEASURES[type(self.task)][0]

    def measure(self, outcomes: Outcomes) -> Measures:
        """All figures of at least one row."""
        if isinstance(self.task, Classification):
            return _of_classes(outcomes, self.task.positive)
        return _of_regression(outcomes, self.median)

    def gate_measure(self, outcomes: Outcomes) -> float:
        """The one figure that gates compare; NaN where these rows have none."""
        if isinstance(self.task, Classification):
            return auc(outcomes.truth == self.task.positive, outcomes.values)
        return mae_skill(outcomes.truth, outcomes.values, self.median)


def gate_measure(measures: Measures) -> float:
    """The same figure out of all of them."""
    return measures.auc if isinstance(measures, ClassMeasures) else measures.mae_skill


def auc(positive: Mask, scores: Floats) -> float:
    """How often a positive row has the higher score, ties counting half. NaN unless there are rows of both kinds."""
    distinct, groups = np.unique(scores, return_inverse=True)
    positives, negatives = (np.bincount(groups[of], minlength=len(distinct)) for of in (positive, ~positive))
    return auc_of_counts(positives, negatives)


def auc_of_counts(positives: Counts, negatives: Counts) -> float:
    """The same of rows in groups of one score, lowest first; positives, negatives: int64[groups], of each the rows.

    The Mann-Whitney statistic by a cumulative sum: with counts drawn anew it is the AUC of a resample, nothing sorted.
    In whole numbers (twice the wins, at most rows^2 / 2), so that it is exact whatever the order or the threads.
    """
    twice_won = np.cumsum(negatives)
    twice_won *= 2
    twice_won -= negatives
    twice_won *= positives
    twice_pairs = 2 * int(positives.sum()) * int(negatives.sum())
    return int(twice_won.sum()) / twice_pairs if twice_pairs else math.nan


def mae_skill(truth: Floats, predicted: Floats, median: float) -> float:
    """1 - MAE / MAE of always saying `median`; NaN where that would be right on every row."""
    without = float(np.abs(truth - median).mean())
    return 1.0 - float(np.abs(predicted - truth).mean()) / without if without else math.nan


def rounded(value: float) -> float | None:
    """Six significant digits; None for what is not finite, since JSON has no such number."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def as_json(measures: Measures) -> dict[str, Any]:
    """The figures by name, rounded."""
    return {name: value if isinstance(value, int) else rounded(value) for name, value in asdict(measures).items()}


def _of_classes(outcomes: Outcomes, positive: int) -> ClassMeasures:
    happened = outcomes.truth == positive
    probability = np.clip(outcomes.values, _PROBABILITY_MIN, 1.0 - _PROBABILITY_MIN)
    _, rows_by_class = np.unique(outcomes.truth, return_counts=True)
    majority = float(rows_by_class.max()) / len(outcomes)
    accuracy = float((outcomes.classes == outcomes.truth).mean())
    actual, predicted = float(happened.mean()), float(outcomes.values.mean())
    return ClassMeasures(
        rows=len(outcomes),
        auc=auc(happened, outcomes.values),
        accuracy=accuracy,
        majority_share=majority,
        accuracy_gain=accuracy - majority,
        log_loss=float(-np.log(np.where(happened, probability, 1.0 - probability)).mean()),
        brier=float(((outcomes.values - happened) ** 2).mean()),
        actual_mean=actual,
        predicted_mean=predicted,
        bias=predicted - actual,
    )


def _of_regression(outcomes: Outcomes, median: float) -> RegressionMeasures:
    errors = outcomes.values - outcomes.truth
    mae, without = float(np.abs(errors).mean()), float(np.abs(outcomes.truth - median).mean())
    share = mae / without if without else math.nan
    return RegressionMeasures(
        rows=len(outcomes),
        mae=mae,
        mae_of_median=without,
        mae_share=share,
        mae_skill=1.0 - share,
        rmse=float(np.sqrt((errors**2).mean())),
        spread=float(outcomes.truth.std()),
        actual_mean=float(outcomes.truth.mean()),
        predicted_mean=float(outcomes.values.mean()),
        bias=float(errors.mean()),
    )
