"""Evaluate: the graph as it will be served, on the years after the one it learnt from. Before `baseline.py`.

Always: a model that is no better than its floors in any year does not get past here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import onnxruntime
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from pipelines.employment.convert import run
from pipelines.employment.features import Examples

AUC_MIN = 0.80


class NotGoodEnough(Exception):
    """A year in which the model falls below a floor. Names the year, the measure and both numbers."""


@dataclass(frozen=True)
class YearScore:
    """Scores of one year, rounded to six digits, so that the last bit of a sum does not name another bundle."""

    year: int
    rows: int
    employed_share: float
    accuracy: float
    auc: float
    log_loss: float

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def evaluate(model: onnxruntime.InferenceSession, on: Examples) -> tuple[YearScore, ...]:
    """Scores by year, earliest first; raises NotGoodEnough at the first year below a floor."""
    labels, probabilities = run(model, on.matrix)
    scores = []
    for year in np.unique(on.years):
        rows = on.years == year
        truth, positive = on.labels[rows], probabilities[rows, 1].astype(np.float64)
        measures = (
            truth.mean(),
            accuracy_score(truth, labels[rows]),
            roc_auc_score(truth, positive),
            log_loss(truth, positive),
        )
        scores.append(YearScore(int(year), int(rows.sum()), *(round(float(measure), 6) for measure in measures)))
    for score in scores:
        _check_floors(score)
    return tuple(scores)


def _check_floors(score: YearScore) -> None:
    majority = max(score.employed_share, 1 - score.employed_share)
    if score.accuracy <= majority:
        raise NotGoodEnough(f"{score.year}: accuracy {score.accuracy} is not above {majority}, the majority's share.")
    if score.auc < AUC_MIN:
        raise NotGoodEnough(f"{score.year}: AUC {score.auc} is below {AUC_MIN}.")
