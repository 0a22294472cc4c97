"""Population: shifts of one column and of two, and the silence where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipelines.evaluation.levels import COARSE_LEVELS, Leveled, coarse, leveled, leveled_label
from pipelines.evaluation.population import (
    Comparisons,
    association,
    both_parts,
    column_shifts,
    comparisons,
    pair_shifts,
    psi,
    spans,
)  # fmt: skip
from pipelines.examples import Split
from tests.pipelines.evaluation.judged_rows import (
    AGE,
    DEFINITION,
    FEATURES,
    JOB,
    REGRESSION,
    SEX,
    examined,
    regression_split,
    split,
    with_column,
)  # fmt: skip

TABLES = arrays(np.float64, (3, 4), elements=st.integers(0, 50).map(float)).filter(lambda table: table.sum() > 0)


def names_of(compared: Comparisons) -> list[str]:
    return [stretch.name for stretch in compared.stretches]


def shifts_of(rows: Split) -> dict[tuple[str, ...], float]:
    """By columns the greatest shift beyond chance, of singles and of pairs."""
    found: dict[tuple[str, ...], float] = {}
    population = examined(rows).population
    for shift in (*population.features, *population.over_time, *population.pairs):
        found[shift.names] = max(found.get(shift.names, 0.0), shift.beyond_chance)
    return found


def test_psi_of_large_counts_is_the_textbook_s() -> None:
    p, q = np.array([0.2, 0.3, 0.5]), np.array([0.3, 0.3, 0.4])
    value, bins = psi(p * 1e9, q * 1e9)
    assert value == pytest.approx(float(((p - q) * np.log(p / q)).sum()), rel=1e-6)
    assert bins == 3


def test_bins_that_are_empty_on_both_sides_are_none() -> None:
    assert psi(np.array([5.0, 0, 7]), np.array([5.0, 0, 7]))[1] == 2


@given(TABLES, TABLES)
def test_what_two_columns_share_never_moves_by_less_than_nothing(m: np.ndarray, n: np.ndarray) -> None:
    value, freedom = association(m, n)
    assert value >= -1e-9
    assert freedom >= 0


@given(st.lists(st.integers(1, 40), min_size=3, max_size=3), st.lists(st.integers(1, 40), min_size=3, max_size=3))
def test_columns_that_have_nothing_to_do_with_each_other_may_shift_each_alone(one: list[int], other: list[int]) -> None:
    m = np.outer(one, [1, 2, 3]) * 1e9
    n = np.outer(other, [1, 2, 3]) * 1e9
    assert association(m, n)[0] == pytest.approx(0.0, abs=1e-6)


def test_a_swap_of_even_halves_moves_no_share_and_every_association() -> None:
    m = np.array([[40.0, 10.0], [10.0, 40.0]]) * 1000
    swapped = m[::-1]
    assert psi(m.sum(axis=1), swapped.sum(axis=1))[0] == 0.0
    assert association(swapped, m)[0] > 1


@pytest.mark.parametrize("rows", [(200, 600), (3000, 4000)], ids=["few rows", "many rows"])
@pytest.mark.parametrize("seed", range(6))
def test_rows_of_one_population_show_no_shift_beyond_a_hundredth(rows: tuple[int, int], seed: int) -> None:
    assert max(shifts_of(split(*rows, seed=seed)).values()) < 0.01


def test_a_column_in_other_units_is_named() -> None:
    rows = split()
    tenths = with_column(rows.evaluation, AGE, rows.evaluation.numbers[:, AGE] / 10)
    found = shifts_of(Split(rows.training, tenths))
    assert found["age",] > 1
    assert all(shift < 0.1 for names, shift in found.items() if "age" not in names)


def test_a_swap_of_codes_in_one_year_alone_is_named_by_the_pair_that_it_breaks() -> None:
    rows = split()
    late, sex = rows.evaluation.slices["year"] == "2017", rows.evaluation.numbers[:, SEX]
    swapped = with_column(rows.evaluation, SEX, np.where(late, 3 - sex, sex))
    found = examined(Split(rows.training, swapped)).population
    assert max(shift.beyond_chance for shift in found.features) < 0.02
    assert found.pairs[0].names == ("sex", "job")
    assert (found.pairs[0].source, found.pairs[0].target) == ("2016", "2017")
    assert found.pairs[0].beyond_chance > 0.5


def test_a_label_that_became_commoner_is_a_shift_like_any_other() -> None:
    rows = split()
    more = np.where(np.arange(len(rows.evaluation)) % 2 == 0, 1.0, rows.evaluation.labels)
    assert shifts_of(Split(rows.training, replace(rows.evaluation, labels=more)))["goes",] > 0.2


def test_values_that_stopped_coming_are_a_shift_to_missing() -> None:
    rows = split()
    gone = with_column(rows.evaluation, AGE, np.full(len(rows.evaluation), np.nan))
    assert shifts_of(Split(rows.training, gone))["age",] > 1


def test_periods_are_compared_with_the_one_before_and_those_of_few_rows_are_not() -> None:
    compared = comparisons(split(), rows_min=200)
    assert names_of(compared) == ["training", "evaluation", "2015", "2016", "2017"]
    assert compared.steps == ((0, 1), (2, 3), (3, 4))
    assert names_of(comparisons(split(), rows_min=2500)) == ["training", "evaluation", "2015"]


def test_a_period_of_both_parts_is_never_compared_backwards() -> None:
    rows = split()
    compared = comparisons(Split(rows.evaluation, rows.evaluation), rows_min=200)
    assert names_of(compared)[2:] == ["2016", "2017", "2016", "2017"]
    assert compared.steps == ((0, 1), (2, 3), (4, 5))


def test_counts_of_the_parts_are_all_their_rows() -> None:
    rows = split(300, 400)
    column = Leveled("one", np.zeros(700, np.intp), 1)
    counted = comparisons(rows, rows_min=10).counts(column)
    assert [each.levels.tolist() for each in counted] == [[300], [400], [300], [200], [200]]


def by_the_hour(days: int, weather: bool, seed: int = 0) -> Split:
    """40 rows an hour of the daytime; the age of all that leave in one hour is the same where it is the weather."""
    random = np.random.default_rng(seed)
    rows = 40 * 16 * days
    hours = np.repeat(np.arange(16 * days), 40)
    at_s = np.datetime64("2013-03-01", "s").astype(np.int64) + (hours // 16) * 86_400 + hours % 16 * 3600
    part = split(rows, 10).training
    # Wet days come together: a walk about the middle, a step a day.
    walk = 50 + 12 * np.cumsum(random.normal(0, 1, days)) * 0.98 ** np.arange(days)
    ages = np.clip(walk[hours // 16] + random.normal(0, 5, 16 * days)[hours], 0, 100)
    made = replace(with_column(part, AGE, ages) if weather else part, at_s=at_s)
    early = np.arange(rows) < rows // 2
    return Split(made.take(early), made.take(~early))


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_share_their_weather_are_worth_as_many_as_there_are_storms(seed: int) -> None:
    rows = by_the_hour(60, weather=True, seed=seed)
    counted = comparisons(rows, 100).counts(leveled(FEATURES, rows.training, both_parts(rows))[0])
    assert counted[0].clustering > 100
    independent = by_the_hour(60, weather=False)
    apart = comparisons(independent, 100).counts(leveled(FEATURES, independent.training, both_parts(independent))[0])
    assert apart[0].clustering < 2


def test_other_units_are_found_in_rows_that_share_their_weather_as_well() -> None:
    rows = by_the_hour(60, weather=True)
    fahrenheit = with_column(rows.evaluation, AGE, rows.evaluation.numbers[:, AGE] / 10)
    assert shifts_of(Split(rows.training, fahrenheit))["age",] > 1


def test_every_feature_has_levels_and_one_more_for_what_it_may_not_be() -> None:
    rows = split().training
    strange = rows.take(np.arange(6))
    strange.numbers[:, AGE] = [np.nan, -1, 101, 0, 100, np.inf]
    strange.numbers[:, SEX] = [np.nan, 0, 3, 1, 2, 1.5]
    strange.numbers[:, 3] = [np.nan, -0.1, 24, 0, 23.9, np.inf]
    assert strange.texts is not None
    strange.texts[:, 0] = ["", "ZZ", "aa", "AA", "CC", "BB "]
    for column in leveled(FEATURES, rows, strange):
        if column.name != "job":
            last = column.count - 1
            assert (column.levels == last).tolist() == [True, True, True, False, False, True], column.name
            assert column.levels.min() >= 0


def test_coarse_columns_have_few_levels_and_keep_every_row() -> None:
    many = regression_split().training
    for column in coarse(FEATURES, many, many):
        assert column.count <= COARSE_LEVELS
        assert 0 <= column.levels.min() <= column.levels.max() < column.count


def test_a_label_of_minutes_is_binned_by_training_s_rows() -> None:
    rows = regression_split()
    column = leveled_label(REGRESSION.task, "late", rows.training, rows.training)
    assert np.bincount(column.levels, minlength=column.count)[:-1] == pytest.approx([300] * 10, abs=2)


def test_a_span_leaves_out_what_lies_outside_and_the_wildest_thousandth() -> None:
    rows = split()
    ages = rows.training.numbers[:, AGE] / 10
    ages[:2] = [99.0, 200.0]
    shrunk = replace(rows, training=with_column(rows.training, AGE, ages))
    found = {(one.name, one.of): one for one in spans(FEATURES, shrunk)}
    assert found["age", "training"].share == pytest.approx(0.1, abs=0.01)
    assert found["age", "evaluation"].share == pytest.approx(1.0, abs=0.01)
    assert found["age", "training"].rows == len(rows.training) - 1


def test_a_number_that_is_never_there_spans_nothing() -> None:
    rows = split()
    gone = replace(rows, training=with_column(rows.training, AGE, np.full(len(rows.training), np.nan)))
    assert {(one.of, one.share) for one in spans(FEATURES, gone) if one.of == "training"} == {("training", 0.0)}


def test_the_label_is_among_the_columns_that_are_looked_at() -> None:
    rows = split()
    together = rows.training.take(np.arange(len(rows.training)))
    label = leveled_label(DEFINITION.task, "goes", rows.training, together)
    compared = comparisons(Split(rows.training.take(np.arange(1000)), rows.training.take(np.arange(1000, 3000))), 200)
    whole, _ = column_shifts((label,), compared)
    assert [shift.names for shift in whole] == [("goes",)]
    assert pair_shifts((label, *coarse(FEATURES, rows.training, together)[:1]), compared)[0].names == ("goes", "age")


def test_pairs_are_sorted_by_how_far_they_moved() -> None:
    rows = split()
    swapped = with_column(rows.evaluation, JOB, rows.evaluation.numbers[:, JOB][::-1])
    pairs = examined(Split(rows.training, swapped)).population.pairs
    assert [shift.beyond_chance for shift in pairs] == sorted((shift.beyond_chance for shift in pairs), reverse=True)
    assert "job" in pairs[0].names
