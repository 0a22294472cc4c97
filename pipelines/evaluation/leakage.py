"""Leakage: what training's rows give away that no caller could send, and rows that are there more than once. Pure.

Always: a feature's strength is honest. What half of the rows say of a level is tried on the other half, so that a
column of many levels does not look strong for having learnt them by heart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines.definition import Classification, Definition
from pipelines.evaluation.levels import Leveled, leveled
from pipelines.evaluation.measures import Floats, auc, rounded
from pipelines.evaluation.slices import rows_by_period
from pipelines.examples import Examples, Split

STRENGTH_BINS: Final = 100
_PRIOR_ROWS: Final = 1.0


@dataclass(frozen=True)
class Strength:
    """How well one feature alone tells the label: the AUC of the positive class, or |rank correlation|."""

    name: str
    strength: float

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "strength": rounded(self.strength)}


@dataclass(frozen=True)
class Duplicates:
    """Shares of rows with a twin, equal in all inputs and the label: among training's, among each period of
    evaluation's, and, `of_training`, of evaluation's rows with a twin in training."""

    training: float
    periods: Mapping[str, float]
    of_training: float

    def as_json(self) -> dict[str, Any]:
        periods = {name: rounded(share) for name, share in self.periods.items()}
        return {"training": rounded(self.training), "periods": periods, "of_training": rounded(self.of_training)}


def strengths(definition: Definition, training: Examples) -> tuple[Strength, ...]:
    """Of every feature, the strongest first."""
    target = training.labels
    if isinstance(definition.task, Classification):
        target = (target == definition.task.positive).astype(np.float64)
    columns = leveled(definition.features, training, training, STRENGTH_BINS)
    found = [Strength(column.name, _strength(column, target, definition)) for column in columns]
    return tuple(sorted(found, key=lambda one: (-one.strength, one.name)))


def duplicates(split: Split) -> Duplicates:
    """The three shares."""
    training, evaluation = _fingerprints(split.training), _fingerprints(split.evaluation)
    periods = {name: _twins(evaluation[rows]) for name, rows in rows_by_period(split.evaluation.at_s).items()}
    return Duplicates(_twins(training), periods, float(np.isin(evaluation, training).mean()))


def _strength(column: Leveled, target: Floats, definition: Definition) -> float:
    learn = np.arange(len(target)) % 2 == 0
    rows = np.bincount(column.levels[learn], minlength=column.count)
    sums = np.bincount(column.levels[learn], weights=target[learn], minlength=column.count)
    means = (sums + _PRIOR_ROWS * target[learn].mean()) / (rows + _PRIOR_ROWS)
    scores, tried = means[column.levels[~learn]], target[~learn]
    if isinstance(definition.task, Classification):
        return auc(tried == 1.0, scores)
    return abs(rank_correlation(scores, tried))


def rank_correlation(one: Floats, other: Floats) -> float:
    """Spearman's, ties at their mean rank; 0 where one of them is constant."""
    first, second = (pd.Series(values).rank().to_numpy() - (len(values) + 1) / 2 for values in (one, other))
    spreads = float((first**2).sum()) * float((second**2).sum())
    return float((first * second).sum()) / math.sqrt(spreads) if spreads else 0.0


def _fingerprints(examples: Examples) -> npt.NDArray[np.uint64]:
    """Of each row 64 bits of its inputs and label: two that differ share them once in 10^19."""
    columns: list[npt.NDArray[Any]] = [*examples.numbers.T, *(() if examples.texts is None else examples.texts.T)]
    frame = pd.DataFrame(dict(enumerate([*columns, examples.labels])))
    return np.asarray(pd.util.hash_pandas_object(frame, index=False), dtype=np.uint64)


def _twins(fingerprints: npt.NDArray[np.uint64]) -> float:
    _, rows = np.unique(fingerprints, return_counts=True)
    return float(rows[rows > 1].sum() / len(fingerprints))
