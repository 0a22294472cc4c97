"""The cases: what is done to the training year's records, or to every year's, and which gates must see it.

Always: the same records are spoilt the same way (one seed); ids stay unique and every value stays within the table's
rules, since those are no match: what breaks a rule never gets as far as this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.definition import Definition, Load
from pipelines.evaluation.inherited_population import GATE as POPULATION_GATE

SEED: Final = 6
SPOILT_LOAD: Final = "2015"
"""The year that the model learns from."""
ADULT_FROM_YEARS: Final = 25
COPIES: Final = 4

Columns = dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Case:
    """gates: any of them may stop it first. spoil: a year's records -> the same, spoilt. everywhere: every year's, so
    that no load gives another away."""

    name: str
    meaning: str
    gates: tuple[str, ...]
    spoil: Callable[[pa.Table], pa.Table]
    everywhere: bool = False


def spoilt(definition: Definition, case: Case) -> Definition:
    """The example with its records spoilt on their way in, as somebody upstream would have done it."""

    def fetch(downloads: Path, rows_max: int | None) -> Iterator[Load]:
        for load in definition.fetch(downloads, rows_max):
            hit = case.everywhere or load.name == SPOILT_LOAD
            yield replace(load, records=case.spoil(load.records)) if hit else load

    return replace(definition, fetch=fetch)


def shuffled_labels(records: pa.Table) -> pa.Table:
    """Everybody gets somebody else's label."""
    labels = records["employed"].to_numpy()
    return _with(records, "employed", np.random.default_rng(SEED).permutation(labels))


def other_units(records: pa.Table) -> pa.Table:
    """Ages in decades: still whole numbers that an age may be."""
    return _with(records, "AGEP", records["AGEP"].to_numpy() // 10)


def dropped_slice(records: pa.Table) -> pa.Table:
    """Nobody under 25: a join somewhere has lost them."""
    return records.filter(pc.greater_equal(records["AGEP"], float(ADULT_FROM_YEARS)))


def leaked_label(records: pa.Table) -> pa.Table:
    """A harmless column says what the label says, as one that was filled in afterwards does."""
    return _with(records, "DEAR", 2 - records["employed"].to_numpy())


def duplicated_rows(records: pa.Table) -> pa.Table:
    """Everybody at work four times more, under new ids: a load that was tried again."""
    working = records.filter(pc.equal(records["employed"], 1))
    largest = int(pc.max(records["id"]).as_py())
    copies = []
    for copy in range(1, COPIES + 1):
        # Far above the ids of all years.
        ids = np.arange(working.num_rows) + (largest + 1) * 1000 * copy
        copies.append(_with(working, "id", ids))
    return pa.concat_tables([records, *copies])


def changed_codes(records: pa.Table) -> pa.Table:
    """Schooling numbered the other way round: every code is a known one."""
    schooling = records["SCHL"].to_numpy()
    return _with(records, "SCHL", np.where(schooling == 0, 0, 25 - schooling))


def _with(records: pa.Table, name: str, values: npt.NDArray[np.generic]) -> pa.Table:
    index = records.column_names.index(name)
    field = records.schema.field(name)
    return records.set_column(index, field, pa.array(values).cast(field.type))


CASES: Final = (
    Case("shuffled-labels", "labels dealt out anew", ("auc", "accuracy_gain"), shuffled_labels),
    Case("other-units", "ages in decades", ("population",), other_units),
    Case("dropped-slice", f"nobody under {ADULT_FROM_YEARS}", ("coverage", "population"), dropped_slice),
    Case("leaked-label", "a column that says the label", ("leakage",), leaked_label),
    Case("duplicated-rows", "who works, five times", ("duplicates",), duplicated_rows),
    Case("changed-codes", "schooling numbered backwards", ("population",), changed_codes),
    Case(
        "other-units-everywhere", "ages in decades, every year", ("span", POPULATION_GATE), other_units,
        everywhere=True,
    ),
    Case(
        "dropped-slice-everywhere", f"nobody under {ADULT_FROM_YEARS}, every year", ("accuracy_gain", POPULATION_GATE),
        dropped_slice, everywhere=True,
    ),
    Case(
        "changed-codes-everywhere", "schooling backwards, every year", (POPULATION_GATE,), changed_codes,
        everywhere=True,
    ),
)  # fmt: skip
