"""The three changes that must show: one row, one parameter, one line of feature code. Used by `trials.py`.

Always: each is made in a clone and never in the checkout, and is one that passes every check.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pyarrow as pa

from pipelines.definition import Definition, Load

ROWS: Final = {"employment": ("employment", "2015", "AGEP"), "flights": ("flights", "2013-01", "distance")}
"""By example: the table, the load and the column of which one value is another."""
PLACE: Final = 7
"""Which of the load's rows."""
PARAMETER: Final = "train.seed"
SEED: Final = 77
LINE: Final = "# One line more.\n"


@dataclass(frozen=True)
class Change:
    """name: in words. part, named: what the lineage has to name, as `roost lineage --diff --json` has it."""

    name: str
    part: str
    named: str


def changes_of(name: str) -> tuple[Change, Change, Change]:
    table, load, column = ROWS[name]
    return (
        Change(f"one {column} in load {load} of {table}", "data", f"table {table}, load {load}"),
        Change(f"{PARAMETER}={SEED}", "parameters", PARAMETER),
        Change(f"a line in {feature_code(name)}", "code", feature_code(name)),
    )


def feature_code(name: str) -> str:
    return f"pipelines/{name}/features.py"


def with_another_row(definition: Definition) -> Definition:
    """The example with one value of one record one larger, as if its source had said so."""
    table, name, column = ROWS[definition.name]

    def fetch(downloads: Path, rows_max: int | None) -> Iterator[Load]:
        for load in definition.fetch(downloads, rows_max):
            ours = (load.table, load.name) == (table, name)
            yield replace(load, records=_changed(load.records, column)) if ours else load

    return replace(definition, fetch=fetch)


def add_a_line(clone: Path, name: str) -> None:
    """One that changes nothing of what the code does: what is named is the file."""
    with (clone / feature_code(name)).open("a", encoding="utf-8") as file:
        file.write(LINE)


def _changed(records: pa.Table, column: str) -> pa.Table:
    values, place = records[column].to_pylist(), records.column_names.index(column)
    values[PLACE] += 1
    return records.set_column(place, records.schema.field(place), pa.array(values, records.schema.field(place).type))
