"""Slices: whose they are, when they were, and which of them training never saw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.evaluation.slices import determined_by, factorized, periods, rows_by_period, slices
from pipelines.examples import Split
from tests.pipelines.evaluation.judged_rows import split


def seconds(*moments: str) -> np.ndarray:
    return np.array(moments, dtype="datetime64[s]").astype(np.int64)


def test_records_that_know_only_their_year_are_told_by_year() -> None:
    assert periods(seconds("2015-01-01", "2018-01-01", "2015-01-01")).tolist() == ["2015", "2018", "2015"]


def test_one_event_within_a_year_makes_all_periods_months() -> None:
    assert periods(seconds("2013-01-01", "2013-10-31T23:59:59")).tolist() == ["2013-01", "2013-10"]


def test_periods_come_in_the_order_of_time_and_share_out_all_rows() -> None:
    found = rows_by_period(seconds("2013-12-02", "2013-02-03", "2013-12-31"))
    assert {name: rows.tolist() for name, rows in found.items()} == {
        "2013-02": [False, True, False],
        "2013-12": [True, False, True],
    }
    assert list(found) == ["2013-02", "2013-12"]


def test_every_value_of_either_part_is_a_slice_with_its_rows_in_both() -> None:
    rows = split()
    found = {one.name: one for one in slices(rows)}
    assert set(found) == {
        "sex=female", "sex=male", "line=AA", "line=BB", "line=CC", "year=2015", "year=2016", "year=2017",
    }  # fmt: skip
    assert found["sex=male"].rows.sum() == (rows.evaluation.slices["sex"] == "male").sum()
    assert found["sex=male"].training_rows == (rows.training.slices["sex"] == "male").sum()


def test_a_slice_lost_from_training_has_no_coverage_and_one_that_is_halved_has_half() -> None:
    rows = split(training=20_000, evaluation=20_000)
    male = rows.training.slices["sex"] == "male"
    lost = {one.name: one.coverage for one in slices(Split(rows.training.take(~male), rows.evaluation))}
    assert lost["sex=male"] == 0.0
    line = rows.training.slices["line"] == "AA"
    half = rows.training.take(~line | (np.arange(len(line)) % 2 == 0))
    found = {one.name: one.coverage for one in slices(Split(half, rows.evaluation))}
    assert found["line=AA"] == pytest.approx(0.6, abs=0.05)  # a sixth of five sixths, by a third
    assert found["sex=male"] == pytest.approx(1.0, abs=0.05)


def test_a_column_of_time_is_known_for_one_and_its_coverage_is_no_figure() -> None:
    found = {one.name: one for one in slices(split())}
    assert found["year=2016"].of_time
    assert np.isnan(found["year=2016"].coverage)
    assert not found["sex=male"].of_time


def test_a_month_of_local_time_is_of_time_although_its_last_evening_falls_into_the_next_of_utc() -> None:
    rows = split()
    hours = np.arange(len(rows.evaluation)) * 24 * 60 // len(rows.evaluation)
    at_s = seconds("2013-10-02")[0] + hours * 3600
    local = (at_s - 5 * 3600).astype("datetime64[s]").astype("datetime64[M]").astype(str).astype(object)
    at = seconds("2013-08-02")[0] + np.arange(len(rows.training)) * 24 * 3600 * 20 // len(rows.training)
    evaluation = replace(rows.evaluation, at_s=at_s, slices={"month": local})
    training = replace(rows.training, at_s=at, slices={"month": np.full(len(rows.training), "2013-08", dtype=object)})
    assert all(one.of_time for one in slices(Split(training, evaluation)))


@pytest.mark.parametrize(
    ("given", "values", "expected"),
    [("aabb", "xxyy", 1.0), ("abab", "xxyy", 0.0), ("aabb", "xxxx", 0.0), ("aaabbb", "xxyyyy", 0.5)],
)
def test_how_far_one_column_determines_another(given: str, values: str, expected: float) -> None:
    one, other = (factorized(np.array(list(text), dtype=object))[1] for text in (given, values))
    assert determined_by(one, other) == pytest.approx(expected)
