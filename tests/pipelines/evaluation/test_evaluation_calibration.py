"""Calibration: bins of equal mass, and a model that is too sure of itself."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.definition import Classification, Regression
from pipelines.evaluation.calibration import calibration, equal_mass_bins
from pipelines.evaluation.measures import Judge, Outcomes

CLASSES = Judge(Classification(("no", "yes")))
MINUTES = Judge(Regression("minutes"), median=0.0)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 8))
def test_every_row_is_in_one_bin_and_rows_of_one_prediction_stay_together(said: list[int], bins_max: int) -> None:
    predicted = np.array(said, dtype=float)
    bins = equal_mass_bins(predicted, predicted, bins_max)
    assert sum(one.rows for one in bins) == len(said)
    assert 1 <= len(bins) <= bins_max
    assert all(one.high < other.low for one, other in pairwise(bins))


def test_bins_of_different_predictions_hold_the_same_number_of_rows() -> None:
    predicted = np.random.default_rng(1).random(1500)
    assert {one.rows for one in equal_mass_bins(predicted, predicted, 15)} == {100}


def test_probabilities_that_come_true_have_next_to_no_error_and_exaggerated_ones_have() -> None:
    random = np.random.default_rng(2)
    probability = random.uniform(0.05, 0.95, 40_000)
    truth = (random.random(40_000) < probability).astype(float)
    honest = calibration(CLASSES, Outcomes(truth, probability, truth))
    boastful = calibration(CLASSES, Outcomes(truth, np.clip(2 * probability - 0.5, 0, 1), truth))
    assert honest.error < 0.01
    assert boastful.error > 0.1


def test_the_error_of_classes_is_the_mean_gap_of_the_bins_by_rows() -> None:
    predicted, truth = np.array([0.2, 0.2, 0.2, 0.8]), np.array([0.0, 0.0, 1.0, 0.0])
    found = calibration(CLASSES, Outcomes(truth, predicted, truth))
    assert [(one.rows, one.predicted, one.actual) for one in found.bins] == [
        (3, pytest.approx(0.2), pytest.approx(1 / 3)), (1, pytest.approx(0.8), 0.0),
    ]  # fmt: skip
    assert found.error == pytest.approx(3 / 4 * (1 / 3 - 0.2) + 1 / 4 * 0.8)


def test_the_error_of_a_regression_is_its_mean_residual_as_a_share_of_the_labels_spread() -> None:
    truth = np.array([0.0, 10.0, 20.0, 30.0])
    found = calibration(MINUTES, Outcomes(truth, truth - 2, truth))
    assert found.error == pytest.approx(2 / truth.std())


def test_labels_that_are_all_one_leave_a_regression_s_error_undefined() -> None:
    assert math.isnan(calibration(MINUTES, Outcomes(np.ones(4), np.zeros(4), np.zeros(4))).error)
