"""Leakage: a feature that says the label, and rows that are there more than once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from pipelines.evaluation.leakage import duplicates, rank_correlation, strengths
from pipelines.examples import Examples, Split
from tests.pipelines.evaluation.judged_rows import (
    AGE,
    DEFINITION,
    HOUR,
    JOB,
    REGRESSION,
    SEX,
    regression_split,
    split,
    with_column,
)  # fmt: skip


def strength_of(part: Examples, name: str) -> float:
    found = {one.name: one.strength for one in strengths(DEFINITION, part)}
    return found[name]


def test_features_come_strongest_first_and_none_of_honest_ones_tells_the_label() -> None:
    found = strengths(DEFINITION, split().training)
    assert [one.strength for one in found] == sorted((one.strength for one in found), reverse=True)
    assert found[0].name == "age"
    assert all(one.strength < 0.95 for one in found)


def test_a_code_that_says_the_label_is_found() -> None:
    part = split().training
    assert strength_of(with_column(part, SEX, 2 - part.labels), "sex") == 1.0


def test_a_code_that_says_the_label_upside_down_is_found_as_well() -> None:
    part = split().training
    assert strength_of(with_column(part, SEX, 1 + part.labels), "sex") == 1.0


def test_a_number_that_says_it_at_both_ends_is_found() -> None:
    part, random = split().training, np.random.default_rng(1)
    ends = np.where(random.random(len(part)) < 0.5, 0, 90) + random.uniform(0, 5, len(part))
    assert strength_of(with_column(part, AGE, np.where(part.labels == 1, ends, 45)), "age") > 0.99


def test_a_word_that_says_it_is_found() -> None:
    part = split().training
    words = np.where(part.labels == 1, "AA", "BB").astype(object)[:, None]
    assert strength_of(replace(part, texts=words), "line") == 1.0


def test_missing_values_that_say_it_are_found() -> None:
    part = split().training
    assert strength_of(with_column(part, HOUR, np.where(part.labels == 1, np.nan, 12)), "hour") == 1.0


def test_a_number_of_many_values_that_says_nothing_is_no_better_than_chance() -> None:
    part, random = split().training, np.random.default_rng(2)
    assert strength_of(with_column(part, AGE, random.uniform(0, 100, len(part))), "age") == pytest.approx(0.5, abs=0.06)


def test_of_a_regression_the_strength_is_the_rank_correlation() -> None:
    part = regression_split().training
    found = {one.name: one.strength for one in strengths(REGRESSION, part)}
    assert found["age"] == pytest.approx(abs(spearmanr(part.numbers[:, AGE], part.labels).statistic), abs=0.03)
    leaked = with_column(part, AGE, np.clip(part.labels, 0, 100))
    assert strengths(REGRESSION, leaked)[0].strength > 0.99


@pytest.mark.parametrize("seed", range(3))
def test_the_rank_correlation_is_spearman_s_ties_and_all(seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = random.integers(0, 9, 60).astype(float), random.integers(0, 9, 60).astype(float)
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)


def test_a_constant_ranks_with_nothing() -> None:
    assert rank_correlation(np.ones(5), np.arange(5.0)) == 0.0


def test_rows_of_unlike_values_have_no_twins_and_copies_have() -> None:
    rows = split()
    assert duplicates(rows).training == 0.0
    training = rows.training
    copied = training.take(np.r_[np.arange(len(training)), np.arange(600)])
    keys = np.array([str(row) for row in range(len(copied))], dtype=object)
    found = duplicates(replace(rows, training=replace(copied, keys=keys)))
    assert found.training == pytest.approx(1200 / 3600)
    assert (found.of_training, found.periods) == (0.0, {"2016": 0.0, "2017": 0.0})


@pytest.mark.parametrize("what", ["a number", "a text", "the label"])
def test_rows_that_differ_in_one_thing_are_no_twins(what: str) -> None:
    one = split().training.take(np.zeros(2, np.intp))
    assert duplicates(Split(one, one)).training == 1.0
    if what == "a number":
        one.numbers[1, JOB] = 2 - one.numbers[0, JOB] + 0.5
    elif what == "a text":
        assert one.texts is not None
        one.texts[1, 0] = one.texts[0, 0] + "x"
    else:
        one.labels[1] = 1 - one.labels[0]
    assert duplicates(Split(one, one)).training == 0.0


def test_rows_that_miss_the_same_values_are_twins() -> None:
    one = split().training.take(np.zeros(2, np.intp))
    one.numbers[:, AGE] = np.nan
    assert duplicates(Split(one, one)).training == 1.0


def test_training_rows_that_found_their_way_into_evaluation_are_counted() -> None:
    rows = split()
    mixed = replace(rows.training.take(np.arange(1000)), at_s=rows.evaluation.at_s[:1000])
    assert duplicates(Split(rows.training, mixed)).of_training == 1.0


def test_copies_within_one_year_of_evaluation_are_counted_there() -> None:
    rows = split()
    early = np.flatnonzero(rows.evaluation.slices["year"] == "2016")
    twice = rows.evaluation.take(np.r_[np.arange(len(rows.evaluation)), early])
    assert duplicates(replace(rows, evaluation=twice)).periods == {"2016": 1.0, "2017": 0.0}
