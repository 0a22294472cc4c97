"""Employment as examples: every code explained, columns as they are served, years apart."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipelines.definition import Load, definition
from pipelines.employment.features import FEATURES, SLICES, split
from pipelines.employment.meaning import COLUMNS
from pipelines.features.declaration import Code
from pipelines.features.records import check_known


@pytest.fixture(scope="module")
def table(employment_loads: list[Load]) -> pa.Table:
    return pa.concat_tables([load.records for load in employment_loads])


def test_all_records_are_there_and_every_code_is_explained(table: pa.Table) -> None:
    made = split({"employment": table})
    for name, part in (("training", made.training), ("evaluation", made.evaluation)):
        check_known(FEATURES, part, name)
        assert part.slices.keys() == SLICES.keys()
        # All words: a number would be a code without one.
        assert not any(value.isdecimal() for name in ("age", "sex", "race") for value in set(part.slices[name]))
    assert len(made.training) == 68_785
    assert set(made.training.slices["year"]) == {"2015"}
    years, counts = np.unique(made.evaluation.slices["year"].astype(str), return_counts=True)
    assert dict(zip(years.tolist(), counts.tolist(), strict=True)) == {"2016": 69_126, "2017": 69_635, "2018": 70_131}
    assert made.training.labels.mean() == pytest.approx(0.496, abs=5e-4)


def test_columns_stand_in_the_served_order_with_the_codes_as_numbers(table: pa.Table) -> None:
    some = table.slice(1000, 500)
    made = split({"employment": some}).training
    assert FEATURES.names == tuple(column.name for column in COLUMNS)
    assert FEATURES.names[:3] == ("AGEP", "SCHL", "MAR")
    assert made.numbers.shape[1] == 16
    assert made.texts is None
    records = {str(record["id"]): record for record in some.to_pylist()}
    for key, row, label in zip(made.keys, made.numbers, made.labels, strict=True):
        assert row.tolist() == [records[key][name] for name in FEATURES.names]
        assert label == records[key]["employed"]


def test_the_order_of_the_tables_rows_does_not_change_the_examples(table: pa.Table) -> None:
    some = table.slice(60_000, 20_000)
    made = split({"employment": some})
    shuffled = split({"employment": some.take(np.random.default_rng(5).permutation(some.num_rows))})
    assert made.training.digest() == shuffled.training.digest()
    assert made.evaluation.digest() == shuffled.evaluation.digest()


def test_ages_are_banded_by_whole_years() -> None:
    ages = [0, 15, 16, 24, 25, 44, 45, 64, 65, 99]
    columns = {name: [next(iter(_codes(name)), 0)] * len(ages) for name in FEATURES.names}
    columns |= {"AGEP": ages, "id": list(range(len(ages))), "year": [2015] * len(ages), "employed": [0] * len(ages)}
    made = split({"employment": pa.table(columns)}).training
    bands = ["under 16", "16 to 24", "25 to 44", "45 to 64", "65 and over"]
    assert made.slices["age"].tolist() == [band for band in bands for _ in range(2)]
    assert made.at_s.tolist() == [1_420_070_400] * len(ages), "the year's beginning"


def test_what_a_caller_can_look_up_names_every_column_and_code() -> None:
    meaning = definition("employment").meaning()
    features = meaning["features"]
    assert isinstance(features, list)
    assert [feature["name"] for feature in features] == list(FEATURES.names)
    assert [set(feature["codes"]) for feature in features] == [set(map(str, _codes(name))) for name in FEATURES.names]


def _codes(name: str) -> list[int]:
    feature = next(feature for feature in FEATURES.ordered if feature.name == name)
    return list(feature.codes) if isinstance(feature, Code) else []
