"""Real records, fetched once and kept where the pipeline keeps them: some ten thousand of each example."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.definition import Load
from pipelines.downloads import fetch_package
from pipelines.employment import source as employment_source
from pipelines.employment.features import split as employment_split
from pipelines.examples import Split
from pipelines.flights import source as flights_source
from pipelines.flights.features import split as flights_split

DATA = Path(__file__).parents[3] / ".roost" / "data"
ROWS_A_YEAR, ROWS_A_MONTH = 2_800, 900


@pytest.fixture(scope="session")
def employment_loads() -> list[Load]:
    return list(employment_source.loads_of(fetch_package(employment_source.PACKAGE, DATA)))


@pytest.fixture(scope="session")
def flights_loads() -> list[Load]:
    return list(flights_source.loads_of(fetch_package(flights_source.PACKAGE, DATA)))


@pytest.fixture(scope="session")
def employment(employment_loads: list[Load]) -> Split:
    return employment_split({"employment": thinned_table(employment_loads, "employment", ROWS_A_YEAR)})


@pytest.fixture(scope="session")
def flights(flights_loads: list[Load]) -> Split:
    weather = thinned_table(flights_loads, "weather", None)
    return flights_split({"flights": thinned_table(flights_loads, "flights", ROWS_A_MONTH), "weather": weather})


@pytest.fixture(scope="session")
def january(flights_loads: list[Load]) -> dict[str, pa.Table]:
    """Every flight of it, and every reading of the weather."""
    return {load.table: load.records for load in flights_loads if load.name == "2013-01"}


def thinned_table(loads: list[Load], table: str, rows_max: int | None) -> pa.Table:
    """Evenly spread rows of every load of a table."""
    parts = []
    for load in loads:
        if load.table == table:
            rows = load.records.num_rows
            kept = np.linspace(0, rows - 1, min(rows_max or rows, rows)).astype(np.int64)
            parts.append(load.records.take(kept))
    return pa.concat_tables(parts)
