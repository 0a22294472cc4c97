"""Measures against slow, obvious ones, and where they are not defined."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss, mean_absolute_error, roc_auc_score

from pipelines.definition import Classification, Regression
from pipelines.evaluation.measures import Judge, Outcomes, as_json, auc, auc_of_counts, gate_measure, mae_skill, rounded

CLASSES = Judge(Classification(("no", "yes")))
SCORED = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40)


def auc_by_pairs(positive: np.ndarray, scores: np.ndarray) -> float:
    """Every positive against every negative."""
    wins = [
        1.0 if high > low else 0.5 if high == low else 0.0 for high in scores[positive] for low in scores[~positive]
    ]
    return sum(wins) / len(wins) if wins else math.nan


@given(SCORED)
def test_the_auc_is_the_share_of_pairs_in_the_right_order_ties_counting_half(rows: list[tuple[bool, int]]) -> None:
    positive, scores = (np.array(column) for column in zip(*rows, strict=True))
    assert auc(positive, scores.astype(float)) == pytest.approx(auc_by_pairs(positive, scores), nan_ok=True)


@given(SCORED, st.data())
def test_the_auc_of_counts_is_that_of_the_rows_written_out_so_often(
    rows: list[tuple[bool, int]], draw: st.DataObject
) -> None:
    positive, scores = (np.array(column) for column in zip(*rows, strict=True))
    often = np.array(draw.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows))))
    distinct, groups = np.unique(scores, return_inverse=True)
    counts = np.zeros((2, len(distinct)), np.int64)
    np.add.at(counts, (positive.astype(int), groups), often)
    written_out = auc_by_pairs(np.repeat(positive, often), np.repeat(scores, often))
    assert auc_of_counts(counts[1], counts[0]) == pytest.approx(written_out, nan_ok=True)


def test_measures_of_classes_are_those_that_scikit_learn_gives() -> None:
    random = np.random.default_rng(4)
    truth, values = random.integers(0, 2, 500).astype(float), random.uniform(0.01, 0.99, 500).round(2)
    found = CLASSES.measure(Outcomes(truth, values, (values > 0.5).astype(float)))
    assert (found.auc, found.log_loss, found.brier) == pytest.approx(
        (roc_auc_score(truth, values), log_loss(truth, values), brier_score_loss(truth, values))
    )
    assert found.accuracy_gain == pytest.approx((truth == (values > 0.5)).mean() - max(truth.mean(), 1 - truth.mean()))
    assert found.bias == pytest.approx(values.mean() - truth.mean())


def test_the_positive_class_is_the_one_that_is_judged() -> None:
    truth, zero = np.array([0.0, 1.0, 2.0, 0.0]), np.array([0.9, 0.1, 0.2, 0.8])
    judge = Judge(Classification(("a", "b", "c"), positive=0))
    found = judge.measure(Outcomes(truth, zero, truth))
    assert (found.auc, found.actual_mean, found.accuracy) == (1.0, 0.5, 1.0)
    assert found.majority_share == 0.5


def test_measures_of_a_regression_are_held_against_training_s_median_and_not_these_rows_own() -> None:
    truth, predicted = np.array([0.0, 10.0, 20.0]), np.array([1.0, 9.0, 23.0])
    found = Judge(Regression("minutes"), median=4.0).measure(Outcomes(truth, predicted, predicted))
    assert found.mae == pytest.approx(mean_absolute_error(truth, predicted))
    assert found.mae_of_median == pytest.approx(mean_absolute_error(truth, [4.0] * 3))
    assert found.mae_skill == pytest.approx(1 - found.mae / found.mae_of_median) == pytest.approx(1 - found.mae_share)
    assert (found.rmse, found.bias) == pytest.approx((math.sqrt(11 / 3), 1.0))


@pytest.mark.parametrize(
    ("judge", "median_is_right"),
    [(CLASSES, False), (Judge(Regression("minutes"), median=1.0), True)],
    ids=["one class only", "the median always right"],
)
def test_where_the_gate_s_measure_is_not_defined_it_is_nan_and_null(judge: Judge, median_is_right: bool) -> None:
    ones = np.ones(5)
    outcomes = Outcomes(ones, ones * 0.5, ones)
    assert math.isnan(judge.gate_measure(outcomes))
    document = as_json(judge.measure(outcomes))
    assert document[judge.name] is None
    json.dumps(document, allow_nan=False)
    if median_is_right:
        assert math.isnan(mae_skill(ones, ones, 1.0))


def test_the_gate_s_measure_is_the_figure_of_that_name() -> None:
    random = np.random.default_rng(5)
    truth, values = random.integers(0, 2, 50).astype(float), random.random(50)
    for judge in (CLASSES, Judge(Regression("minutes"), median=0.2)):
        found = judge.measure(Outcomes(truth, values, values))
        assert judge.gate_measure(Outcomes(truth, values, values)) == gate_measure(found) == getattr(found, judge.name)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.123456789, 0.123457), (208892.4567, 208892.0), (0.1 + 0.2, 0.3), (math.nan, None), (math.inf, None)],
)
def test_figures_keep_six_significant_digits_and_what_is_no_number_is_null(
    value: float, expected: float | None
) -> None:
    assert rounded(value) == expected
