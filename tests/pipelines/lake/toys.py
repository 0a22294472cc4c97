"""Toys: a table of a few rows with every type of column, its loads, and an example around it. For the lake's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from pipelines.definition import Definition, Load, Prose, Regression
from pipelines.lake.constraints import Column, TableRules
from pipelines.parameters import Parameters
from pipelines.work import Work

RULES = TableRules(
    name="toys",
    columns=(
        Column("id", "integer", low=0),
        Column("shop", "text", codes=("north", "o'south")),
        Column("price", "number", low=0, high=100, nullable=True),
        Column("size", "integer", codes=(1, 2, 3)),
        Column("tag", "text", pattern="[a-z]{1,4}", nullable=True),
        Column("sold_at", "time"),
        Column("broke", "integer", codes=(0, 1)),
    ),
    keys=("id", "shop"),
    event_time="sold_at",
    loads=("spring", "summer"),
)
SPRING = datetime(2024, 3, 1, 12, tzinfo=UTC)


def toys(first: int = 0, rows: int = 6, **columns: Any) -> pa.Table:
    """Rows with ids from `first`; columns: other values than the usual ones, for some of them."""
    ids = range(first, first + rows)
    usual: dict[str, list[Any]] = {
        "id": list(ids),
        "shop": ["north" if number % 2 else "o'south" for number in ids],
        "price": [None if number % 5 == 0 else number % 50 + 0.25 for number in ids],
        "size": [number % 3 + 1 for number in ids],
        "tag": [None if number % 4 == 0 else "abcd"[: number % 4] for number in ids],
        "sold_at": [SPRING + timedelta(hours=number) for number in ids],
        "broke": [number % 2 for number in ids],
    }
    fields = [pa.field(field.name, field.type) for field in RULES.schema]
    return pa.table({**usual, **columns}, schema=pa.schema(fields))


def with_value(records: pa.Table, column: str, row: int, value: Any) -> pa.Table:
    """One value changed."""
    values = records[column].to_pylist()
    values[row] = value
    place = records.column_names.index(column)
    return records.set_column(place, column, pa.array(values, records[column].type))


def spring_and_summer() -> dict[str, pa.Table]:
    return {"spring": toys(0, 6), "summer": toys(6, 4)}


class Source:
    """What an example fetches from; counts how often it was asked."""

    def __init__(self, records: Mapping[str, pa.Table]) -> None:
        self.records, self.asked = records, 0

    def __call__(self, downloads: Path, rows_max: int | None) -> Iterator[Load]:
        self.asked += 1
        for name, rows in self.records.items():
            yield Load(RULES.name, name, rows if rows_max is None else rows.slice(0, 2))


def work(
    folder: Path,
    fetch: Callable[[Path, int | None], Iterator[Load]],
    *,
    lake: Path | None = None,
    rules: TableRules = RULES,
    **snapshot: Any,
) -> Work:
    prose = Prose((), (), (), "made up")
    definition = Definition(
        name="toys", title="toys", task=Regression("toys"), label="broke", tables=(rules,), features=cast(Any, None),
        fetch=fetch, split=cast(Any, None), slices={}, prose=prose,
    )  # fmt: skip
    parameters = Parameters.model_validate({"snapshot": snapshot})
    return Work(definition, parameters, folder / "toys", lake or folder / "lake", folder / "data", "registry")


def with_fetch(given: Work, fetch: Callable[[Path, int | None], Iterator[Load]]) -> Work:
    return replace(given, definition=replace(given.definition, fetch=fetch))
