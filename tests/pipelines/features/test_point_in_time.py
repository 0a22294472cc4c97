"""Joins as of a moment: what was known then, corrected as far as it was then, and nothing that came later."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.features.point_in_time import NONE, as_of, values_at, window_mean
from pipelines.refusal import Refusal
from tests.oracles import point_in_time as oracle

EPOCH = pd.Timestamp("2013-03-31T00:00Z")
TOLERANCE = pd.Timedelta(6, "min")
BY = ["airport", "runway"]
Rows = list[dict[str, Any]]


def frame(rows: Rows, *names: str) -> pd.DataFrame:
    """Minutes become instants."""
    columns = {name: [row[name] for row in rows] for name in names}
    times = {name: pd.to_datetime([EPOCH + pd.Timedelta(minute, "min") for minute in columns[name]], utc=True)
             for name in names if name in ("at", "event", "known")}  # fmt: skip
    return pd.DataFrame({**columns, **times}).astype(dict.fromkeys(times, "datetime64[us, UTC]"))


def joined(left: Rows, right: Rows, tolerance: pd.Timedelta = TOLERANCE) -> list[int]:
    return as_of(
        frame(left, *BY, "at"), frame(right, *BY, "event", "known"),
        by=BY, left_time="at", event_time="event", known_at="known", tolerance=tolerance,
    ).tolist()  # fmt: skip


def means(left: Rows, right: Rows) -> list[float]:
    return window_mean(
        frame(left, *BY, "at"), frame(right, *BY, "known", "value"),
        by=BY, left_time="at", known_at="known", value="value", window=TOLERANCE,
    ).tolist()  # fmt: skip


minutes = st.integers(0, 10)
keys = {"airport": st.sampled_from(["JFK", "LGA"]), "runway": st.integers(1, 2)}
left_rows = st.lists(st.fixed_dictionaries({**keys, "at": minutes}), max_size=8)
# A row that is known before its event is a forecast; one that repeats an event later on corrects it.
right_rows = st.lists(
    st.fixed_dictionaries({**keys, "event": minutes, "known": minutes, "value": st.integers(-9, 9)}),
    max_size=14,
    unique_by=lambda row: (row["airport"], row["runway"], row["event"], row["known"]),
)


@given(left_rows, right_rows)
@settings(max_examples=60, deadline=None)
def test_the_row_is_the_one_that_a_slow_look_at_all_of_them_finds(left: Rows, right: Rows) -> None:
    expected = [oracle.newest_known(row, right, BY, "at", "event", "known", 6) for row in left]
    assert joined(left, right) == [NONE if place is None else place for place in expected]


@given(left_rows, right_rows, right_rows, minutes)
@settings(max_examples=60, deadline=None)
def test_what_becomes_known_later_changes_nothing_for_earlier_rows(
    left: Rows, right: Rows, later: Rows, moment: int
) -> None:
    told = {tuple(row[name] for name in (*BY, "event", "known")) for row in right}
    later = [row | {"known": moment + 1 + row["known"]} for row in later]
    later = [row for row in later if tuple(row[name] for name in (*BY, "event", "known")) not in told]
    earlier = [row for row in left if row["at"] <= moment]
    assert joined(earlier, right + later) == joined(earlier, right)
    assert np.array_equal(means(earlier, right + later), means(earlier, right), equal_nan=True)


@given(left_rows, right_rows, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_order_of_the_rows_does_not_matter(left: Rows, right: Rows, random: Any) -> None:
    order = list(range(len(right)))
    random.shuffle(order)
    shuffled = joined(left, [right[place] for place in order])
    assert [NONE if place == NONE else order[place] for place in shuffled] == joined(left, right)


@given(left_rows, right_rows)
@settings(max_examples=60, deadline=None)
def test_a_mean_is_of_the_rows_that_became_known_in_the_window(left: Rows, right: Rows) -> None:
    expected = [oracle.mean_in_window(row, right, BY, "at", "known", "value", 6) for row in left]
    assert np.array_equal(means(left, right), np.array(expected, dtype=np.float64), equal_nan=True)


READING: dict[str, Any] = {"airport": "JFK", "runway": 1, "event": 10, "known": 12}
ASKED: dict[str, Any] = {"airport": "JFK", "runway": 1}


@pytest.mark.parametrize(
    ("at", "found"), [(11, NONE), (12, 0), (14, 0), (15, 1), (16, 1)],
    ids=["not known yet", "known now", "not corrected yet", "corrected now", "as old as may be"],
)  # fmt: skip
def test_a_correction_counts_from_when_it_is_known(at: int, found: int) -> None:
    rows = [READING, READING | {"known": 15}]
    assert joined([ASKED | {"at": at}], rows) == [found]
    assert joined([ASKED | {"at": at}], rows[::-1]) == [NONE if found == NONE else 1 - found]


def test_a_late_reading_of_an_older_hour_does_not_replace_a_newer_one() -> None:
    late = READING | {"event": 9, "known": 14}
    assert joined([ASKED | {"at": 15}], [READING, late]) == [0]


def test_a_forecast_is_of_the_future_until_its_hour_has_come() -> None:
    forecast = READING | {"event": 14, "known": 11}
    assert joined([ASKED | {"at": 13}, ASKED | {"at": 14}], [READING, forecast]) == [0, 1]


def test_what_is_too_old_is_not_taken_in_place_of_nothing() -> None:
    assert joined([ASKED | {"at": 16}, ASKED | {"at": 17}], [READING]) == [0, NONE]
    assert joined([ASKED | {"at": 17}], [READING], pd.Timedelta(1, "h")) == [0]


def test_nothing_is_found_in_no_rows() -> None:
    assert joined([ASKED | {"at": 16}], []) == [NONE]
    assert joined([], [READING]) == []


def test_values_are_nan_where_no_row_was_found_and_where_a_row_has_none() -> None:
    column = pd.Series([1.5, None, 3.0])
    assert np.array_equal(values_at(column, np.array([2, NONE, 1, 0])), [3.0, np.nan, np.nan, 1.5], equal_nan=True)
    assert np.isnan(values_at(column[:0], np.array([NONE]))).all()


def test_two_readings_of_one_hour_that_were_known_at_once_are_refused() -> None:
    with pytest.raises(Refusal, match=r"known: expected corrections known at different moments, got two rows of .*JFK"):
        joined([ASKED | {"at": 16}], [READING, READING])


@pytest.mark.parametrize("name", ["airport", "event", "known"])
def test_a_row_without_key_or_time_is_refused_by_the_columns_name(name: str) -> None:
    right = frame([READING, READING | {"known": 13}], *BY, "event", "known")
    right[name] = right[name].where([True, False])
    with pytest.raises(Refusal, match=f"{name}: expected a .* in every row"):
        as_of(
            frame([ASKED | {"at": 16}], *BY, "at"), right,
            by=BY, left_time="at", event_time="event", known_at="known", tolerance=TOLERANCE,
        )  # fmt: skip


def test_times_without_a_zone_are_refused() -> None:
    left = frame([ASKED | {"at": 16}], *BY, "at")
    left["at"] = left["at"].dt.tz_localize(None)
    with pytest.raises(Refusal, match="at: expected times with a time zone, got datetime64"):
        as_of(
            left, frame([READING], *BY, "event", "known"),
            by=BY, left_time="at", event_time="event", known_at="known", tolerance=TOLERANCE,
        )  # fmt: skip


def test_a_time_is_the_same_in_another_zone() -> None:
    left, right = frame([ASKED | {"at": 12}], *BY, "at"), frame([READING], *BY, "event", "known")
    # Berlin's clocks go forward in that night.
    left["at"] = left["at"].dt.tz_convert("Europe/Berlin")
    found = as_of(left, right, by=BY, left_time="at", event_time="event", known_at="known", tolerance=TOLERANCE)
    assert found.tolist() == [0]


def test_a_tolerance_below_zero_is_refused() -> None:
    with pytest.raises(Refusal, match="span of time: expected none below zero"):
        joined([ASKED | {"at": 16}], [READING], pd.Timedelta(-1, "min"))


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf")])
def test_a_mean_of_what_is_no_whole_number_is_refused(value: float) -> None:
    with pytest.raises(Refusal, match="value: expected whole numbers"):
        means([ASKED | {"at": 16}], [READING | {"value": value}])
