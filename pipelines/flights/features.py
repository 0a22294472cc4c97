"""Flights' features: what is known when an aircraft leaves the gate. Training on January to September 2013.

`definition.py` hands `FEATURES` and `split` to the stages. Always: nothing that was known later than the departure goes
into a row: the weather is the last reading that was out, and of other flights those count that had landed
(tests/pipelines/features/test_flights_features.py); rows by departure.

Left out on purpose, tried on October to December with 150 trees of 63 leaves (mean absolute error in minutes; 21.9 is
that of always saying the median, 10.4 that of what is here):
- the day of the year: 15.0 with it and 12.0 without, before weather and other flights were added, since a year's end
  that was never seen is none that a model could know;
- temperature, which tells the season too: 10.3, but its PSI between the two parts is 0.8, so that every alarm for
  shifted inputs would ring for the calendar; air pressure and the wind's direction, whose months differ likewise and
  which gain less.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from pipelines.examples import Split
from pipelines.features.declaration import Cycle, FeatureSet, Number, Text
from pipelines.features.point_in_time import as_of, values_at, window_mean
from pipelines.features.records import examples_of
from pipelines.flights.source import CARRIERS, NEW_YORK, ORIGINS

FLIGHTS: Final = "flights"
WEATHER: Final = "weather"
LAST_TRAINING_MONTH: Final = 9
READING_AGE_MAX: Final = pd.Timedelta(6, "h")
ORIGIN_WINDOW: Final = pd.Timedelta(3, "h")
"""Queues of an airport come and go in hours."""
DEST_WINDOW: Final = pd.Timedelta(24, "h")
"""Winds along a route last for a day or so, and a few flights must have landed to tell of them."""
DESTS: Final = (
    "ABQ", "ACK", "ALB", "ANC", "ATL", "AUS", "AVL", "BDL", "BGR", "BHM", "BNA", "BOS", "BQN", "BTV", "BUF", "BUR",
    "BWI", "BZN", "CAE", "CAK", "CHO", "CHS", "CLE", "CLT", "CMH", "CRW", "CVG", "DAY", "DCA", "DEN", "DFW", "DSM",
    "DTW", "EGE", "EYW", "FLL", "GRR", "GSO", "GSP", "HDN", "HNL", "HOU", "IAD", "IAH", "ILM", "IND", "JAC", "JAX",
    "LAS", "LAX", "LEX", "LGB", "MCI", "MCO", "MDW", "MEM", "MHT", "MIA", "MKE", "MSN", "MSP", "MSY", "MTJ", "MVY",
    "MYR", "OAK", "OKC", "OMA", "ORD", "ORF", "PBI", "PDX", "PHL", "PHX", "PIT", "PSE", "PSP", "PVD", "PWM", "RDU",
    "RIC", "ROC", "RSW", "SAN", "SAT", "SAV", "SBN", "SDF", "SEA", "SFO", "SJC", "SJU", "SLC", "SMF", "SNA", "SRQ",
    "STL", "STT", "SYR", "TPA", "TUL", "TVC", "TYS", "XNA",
)  # fmt: skip
READINGS: Final = ("humid", "wind_speed", "precip", "visib")

FEATURES: Final = FeatureSet(
    (
        Number("dep_delay", "departure after the timetable's, before it if negative", -120, 2880, "minutes"),
        Number("distance", "distance to the destination", 10, 5500, "miles"),
        Number("scheduled", "the timetable's time from gate to gate", 20, 1000, "minutes"),
        Number("humid", "relative humidity at the origin, last known reading", 0, 100, "per cent", optional=True),
        Number("wind_speed", "wind at the origin, last known reading", 0, 150, "miles per hour", optional=True),
        Number("precip", "rain or snow of an hour at the origin, last known reading", 0, 10, "inches", optional=True),
        Number("visib", "visibility at the origin, last known reading", 0, 10, "miles", optional=True),
        Number(
            "origin_gain", "mean delay added on the way, of the origin's flights that landed in the past 3 hours",
            -240, 2880, "minutes", optional=True,
        ),
        Number(
            "dest_gain", "mean delay added on the way, of flights to the destination that landed in the past 24 hours",
            -240, 2880, "minutes", optional=True,
        ),
        Cycle("hour", "hour of departure on New York's clocks, with its fraction", 24),
        Cycle("weekday", "day of the week in New York, 0 for Monday", 7),
        Text("carrier", "airline, by its two-letter code", CARRIERS),
        Text("origin", "airport of departure", ORIGINS),
        Text("dest", "airport of destination", DESTS),
    )
)  # fmt: skip
SLICES: Final = {"carrier": "airline", "origin": "airport of departure", "month": "month of the timetable"}

Columns = dict[str, npt.NDArray[Any]]


def split(tables: Mapping[str, pa.Table]) -> Split:
    """One row a flight that landed where it meant to. Training: January to September; evaluation: what follows.

    Cancelled and diverted flights have no delay on arrival, and are left out: nobody asks at their departure.
    """
    flights = tables[FLIGHTS].to_pandas()
    flights = flights[flights["dep_at"].notna() & flights["arr_at"].notna()].copy()
    flights = flights.sort_values(["dep_at", "carrier", "flight", "origin", "time_hour"], kind="stable")
    columns = columns_of(flights, tables[WEATHER].to_pandas())
    months = flights["month"].to_numpy()
    rows = examples_of(
        FEATURES,
        columns,
        labels=flights["arr_delay"].to_numpy(np.float64),
        slices={
            "carrier": columns["carrier"],
            "origin": columns["origin"],
            "month": _joined(flights["year"].astype(str), flights["month"].astype(str).str.zfill(2)),
        },
        keys=_keys(flights),
        at_s=flights["dep_at"].dt.tz_localize(None).to_numpy("datetime64[s]").astype(np.int64),
    )
    return Split(rows.take(months <= LAST_TRAINING_MONTH), rows.take(months > LAST_TRAINING_MONTH))


def columns_of(flights: pd.DataFrame, weather: pd.DataFrame) -> Columns:
    """By feature its raw values at departure. flights: those that landed, with the table's columns, as weather has."""
    local = flights["dep_at"].dt.tz_convert(NEW_YORK).dt
    columns: Columns = {
        "dep_delay": flights["dep_delay"].to_numpy(np.float64),
        "distance": flights["distance"].to_numpy(np.float64),
        "scheduled": (flights["sched_arr_at"] - flights["sched_dep_at"]).dt.total_seconds().to_numpy() / 60,
        "hour": (local.hour + local.minute / 60).to_numpy(np.float64),
        "weekday": local.day_of_week.to_numpy(np.float64),
    }
    columns |= {name: flights[name].to_numpy(object) for name in ("carrier", "origin", "dest")}
    positions = as_of(
        flights, weather, by=["origin"], left_time="dep_at", event_time="time_hour", known_at="known_at",
        tolerance=READING_AGE_MAX,
    )  # fmt: skip
    columns |= {name: values_at(weather[name], positions) for name in READINGS}
    return columns | {
        "origin_gain": _mean_gain(flights, "origin", ORIGIN_WINDOW),
        "dest_gain": _mean_gain(flights, "dest", DEST_WINDOW),
    }


def _mean_gain(flights: pd.DataFrame, by: str, window: pd.Timedelta) -> npt.NDArray[np.float64]:
    """Of the delay that came after departure: a flight's own is known when it has landed, and so after its own row."""
    gained = flights[[by, "arr_at"]].assign(gain=flights["arr_delay"] - flights["dep_delay"])
    return window_mean(flights, gained, by=[by], left_time="dep_at", known_at="arr_at", value="gain", window=window)


def _keys(flights: pd.DataFrame) -> npt.NDArray[np.object_]:
    """Such as "UA 1545 EWR 2013-01-01T10Z": the table's key."""
    hours = flights["time_hour"].dt.strftime("%Y-%m-%dT%HZ")
    return _joined(flights["carrier"], flights["flight"].astype(str), flights["origin"], hours, between=" ")


def _joined(first: pd.Series, *others: pd.Series, between: str = "-") -> npt.NDArray[np.object_]:
    joined: npt.NDArray[np.object_] = first.str.cat(list(others), sep=between).to_numpy(object)
    return joined
