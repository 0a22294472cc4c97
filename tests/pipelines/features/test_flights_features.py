"""Flights as examples: what was known at departure, with weather and other flights as they were known then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.examples import Split
from pipelines.features.records import check_known
from pipelines.flights.features import (
    DEST_WINDOW,
    FEATURES,
    ORIGIN_WINDOW,
    READING_AGE_MAX,
    READINGS,
    SLICES,
    columns_of,
    split,
)
from tests.oracles import point_in_time as oracle

LOOKED_AT = 150


@pytest.fixture(scope="module")
def landed(january: dict[str, pa.Table]) -> pd.DataFrame:
    flights = january["flights"].to_pandas()
    return flights[flights["arr_at"].notna()].reset_index(drop=True)


@pytest.fixture(scope="module")
def weather(january: dict[str, pa.Table]) -> pd.DataFrame:
    return january["weather"].to_pandas()


@pytest.fixture(scope="module")
def columns(landed: pd.DataFrame, weather: pd.DataFrame) -> dict[str, np.ndarray]:
    return columns_of(landed, weather)


def test_weather_is_the_last_reading_that_was_out_at_departure(
    landed: pd.DataFrame, weather: pd.DataFrame, columns: dict[str, np.ndarray]
) -> None:
    # Of one airport, since the oracle looks at every reading for every flight.
    readings: list[dict[str, Any]] = weather[weather["origin"] == "LGA"].to_dict("records")
    asked = landed[landed["origin"] == "LGA"].sample(LOOKED_AT, random_state=1)
    for row, flight in zip(asked.index, asked.to_dict("records"), strict=True):
        place = oracle.newest_known(flight, readings, ["origin"], "dep_at", "time_hour", "known_at", READING_AGE_MAX)
        for name in READINGS:
            expected = np.nan if place is None else readings[place][name]
            assert np.array_equal(columns[name][row], expected, equal_nan=True), (flight, name)


@pytest.mark.parametrize(("feature", "by", "window"), [
    ("origin_gain", "origin", ORIGIN_WINDOW), ("dest_gain", "dest", DEST_WINDOW),
])  # fmt: skip
def test_of_other_flights_those_count_that_had_landed(
    landed: pd.DataFrame, columns: dict[str, np.ndarray], feature: str, by: str, window: pd.Timedelta
) -> None:
    gained = landed.assign(gain=landed["arr_delay"] - landed["dep_delay"])
    # Four days of one airport: the oracle looks at every other flight.
    at_airport = gained[by] == ("LGA" if by == "origin" else "LAX")
    chosen = gained[at_airport & (gained["dep_at"] < pd.Timestamp("2013-01-05T00:00Z"))]
    others: list[dict[str, Any]] = chosen[[by, "arr_at", "gain"]].to_dict("records")
    for row, flight in chosen.sample(LOOKED_AT // 3, random_state=2).iterrows():
        expected = oracle.mean_in_window(flight, others, [by], "dep_at", "arr_at", "gain", window)
        assert np.array_equal(columns[feature][row], np.nan if expected is None else expected, equal_nan=True)


def test_a_row_depends_on_nothing_that_was_known_after_its_departure(
    landed: pd.DataFrame, weather: pd.DataFrame, columns: dict[str, np.ndarray]
) -> None:
    moment = pd.Timestamp("2013-01-16T17:30Z")
    changed = landed.copy()
    later = changed["arr_at"] > moment
    changed.loc[later, "arr_delay"] += 500
    changed.loc[later, "arr_at"] += pd.Timedelta(500, "min")
    corrections = weather.assign(known_at=moment + pd.Timedelta(1, "us"), **dict.fromkeys(READINGS, 0.25))
    others = columns_of(changed, pd.concat([weather, corrections], ignore_index=True))
    before = (landed["dep_at"] <= moment).to_numpy()
    assert before.any()
    for name in FEATURES.names:
        old, new = pd.Series(columns[name]), pd.Series(others[name])
        pd.testing.assert_series_equal(old[before], new[before])
    # What was changed was seen by those that left later: the test would notice a look ahead.
    for name in ("precip", "origin_gain", "dest_gain"):
        assert not np.array_equal(columns[name][~before], others[name][~before], equal_nan=True), name


@settings(max_examples=12, deadline=None)
@given(minutes=st.integers(0, 31 * 24 * 60), seed=st.integers(0, 1000))
def test_whatever_happens_after_any_moment_changes_no_row_before_it(
    landed: pd.DataFrame, weather: pd.DataFrame, columns: dict[str, np.ndarray], minutes: int, seed: int
) -> None:
    """Of real records: later flights and readings are others, and who is in the air lands some other time."""
    random, moment = np.random.default_rng(seed), pd.Timestamp("2013-01-01T05:00Z") + pd.Timedelta(minutes, "min")
    before = (landed["dep_at"] <= moment).to_numpy()
    world = landed.copy()
    in_the_air = world["arr_at"] > moment
    delays = random.integers(-60, 1000, in_the_air.sum())
    world.loc[in_the_air, "arr_delay"] = delays
    world.loc[in_the_air, "arr_at"] = moment + pd.to_timedelta(delays + 61, "min")
    for name in ("dep_delay", "carrier", "origin", "dest", "distance"):
        world.loc[~before, name] = random.permutation(world.loc[~before, name])
    readings = weather.copy()
    for name in READINGS:
        readings.loc[readings["known_at"] > moment, name] = random.uniform(0, 10)
    # Some are heard of twice, and the second time late.
    again = readings[readings["known_at"] <= moment].assign(known_at=moment + pd.Timedelta(1, "us"), humid=99.0)
    found = columns_of(world, pd.concat([readings, again], ignore_index=True))
    for name in FEATURES.names:
        assert pd.Series(found[name][before]).equals(pd.Series(columns[name][before])), (name, moment)


def test_a_correction_of_the_weather_counts_from_when_it_is_known(landed: pd.DataFrame, weather: pd.DataFrame) -> None:
    late = pd.Timedelta(90, "min")
    corrected = weather.assign(known_at=weather["known_at"] + late, precip=9.0)
    found = columns_of(landed, pd.concat([weather, corrected], ignore_index=True))["precip"]
    first, both = weather[weather["origin"] == "JFK"].iloc[100], landed["origin"] == "JFK"
    since = landed["dep_at"] - first["known_at"]
    # Until the next reading is out, an hour later, the first is the newest; its correction comes after that.
    still_first = both & (since >= pd.Timedelta(0)) & (since < pd.Timedelta(30, "min"))
    assert still_first.any()
    assert (found[still_first] == first["precip"]).all()


def test_every_declared_value_of_real_flights_is_known(flights: Split) -> None:
    for name, part in (("training", flights.training), ("evaluation", flights.evaluation)):
        check_known(FEATURES, part, name)


def test_training_ends_before_evaluation_begins_and_rows_are_in_the_order_of_departure(flights: Split) -> None:
    for part, months in ((flights.training, range(1, 10)), (flights.evaluation, range(10, 13))):
        assert set(part.slices["month"]) == {f"2013-{month:02}" for month in months}
        assert (np.diff(part.at_s) >= 0).all()
        assert part.slices.keys() == SLICES.keys()
        assert len(set(part.keys)) == len(part)
    assert flights.training.at_s.max() < flights.evaluation.at_s.min() + 24 * 3600


def test_a_flight_that_never_landed_there_is_no_example(january: dict[str, pa.Table]) -> None:
    rows = january["flights"].to_pandas()
    made = split(january)
    assert len(made.training) == rows["arr_delay"].notna().sum() < len(rows)
    assert len(made.evaluation) == 0
    assert np.isfinite(made.training.labels).all()


def test_the_order_of_the_tables_rows_does_not_change_the_examples(january: dict[str, pa.Table]) -> None:
    random = np.random.default_rng(5)
    shuffled = {name: table.take(random.permutation(table.num_rows)) for name, table in january.items()}
    assert split(shuffled).training.digest() == split(january).training.digest()


def test_clocks_are_new_yorks(flights: Split, flights_loads: list[Any]) -> None:
    # The first flight of the year, timetabled for 5:15, left two minutes late on a Tuesday.
    part = flights.training
    row = int(np.flatnonzero(part.keys == "UA 1545 EWR 2013-01-01T10Z")[0])
    values = dict(zip((feature.name for feature in FEATURES.numbers), part.numbers[row].tolist(), strict=True))
    assert values["hour"] == pytest.approx(5 + 17 / 60, abs=1e-6)
    assert (values["weekday"], values["dep_delay"], values["distance"]) == (1, 2, 1400)
    assert part.at_s[row] == pd.Timestamp("2013-01-01T05:17", tz="America/New_York").timestamp()
    assert part.texts is not None
    assert part.texts[row].tolist() == ["UA", "EWR", "IAH"]
    assert part.labels[row] == 11
