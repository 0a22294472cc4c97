"""Employment's records: US Census, Massachusetts, 2015 to 2018, a load each year, as published in a pinned package.

`definition.py` hands `loads` and `EMPLOYMENT_RULES` to the snapshot stage. The wheel of the package `nannyml` carries
the American Community Survey's public records of persons: 2015 with labels, 2016 to 2018 with labels apart. It is
fetched, never installed. Always: another model's answers, which the files carry too, get no further than here.

Codes are those of the survey's PUMS data dictionary of 2015, 0 standing for its "b" (not applicable).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.definition import Load
from pipelines.downloads import DATA_LOCK, fetch_package
from pipelines.lake.constraints import Column, TableRules
from pipelines.lake.sample import evenly_spread
from pipelines.refusal import Refusal

PACKAGE: Final = "nannyml"
FOLDER_IN_WHEEL = "nannyml/datasets/data"
YEARS: Final = (2015, 2016, 2017, 2018)
# What a year's survey may say. A code that it begins to use stops the pipeline here, before a model could meet it.
LEAST_AND_GREATEST_CODE: Final = {
    "SCHL": (0, 24),
    "MAR": (1, 5),
    "RELP": (0, 17),
    "DIS": (1, 2),
    "ESP": (0, 8),
    "CIT": (1, 5),
    "MIG": (0, 3),
    "MIL": (0, 4),
    "ANC": (1, 4),
    "NATIVITY": (1, 2),
    "DEAR": (1, 2),
    "DEYE": (1, 2),
    "DREM": (0, 2),
    "SEX": (1, 2),
    "RAC1P": (1, 9),
}
EMPLOYMENT_RULES: Final = TableRules(
    name="employment",
    columns=(
        Column("id", "integer", low=0),
        Column("AGEP", "integer", low=0, high=130),
        *(
            Column(name, "integer", codes=tuple(range(least, greatest + 1)))
            for name, (least, greatest) in LEAST_AND_GREATEST_CODE.items()
        ),
        Column("year", "integer", codes=YEARS),
        Column("employed", "integer", codes=(0, 1)),
    ),
    keys=("id",),
    event_time="year",
    loads=tuple(str(year) for year in YEARS),
    package=PACKAGE,
)
# Another model's answers to the same question. To train on them would be to copy that model.
LEAKING_COLUMNS: Final = ("prediction", "predicted_probability")


def loads(downloads: Path, rows_max: int | None = None, lock: Path = DATA_LOCK) -> Iterator[Load]:
    """A load each year. rows_max: so many of each, evenly spread, for quick runs. Raises Refusal."""
    yield from loads_of(fetch_package(PACKAGE, downloads, lock), rows_max)


def loads_of(wheel: Path, rows_max: int | None = None) -> Iterator[Load]:
    """The same of a wheel that is there."""
    with zipfile.ZipFile(wheel) as archive:
        reference, analysis, labels = (_part(archive, part) for part in ("reference", "analysis", "analysis_target"))
    for records in (reference, _labelled(analysis, labels)):
        records = _as_declared(records)
        for year in sorted(pc.unique(records["year"]).to_pylist()):
            of_year = records.filter(pc.equal(records["year"], year))
            yield Load(EMPLOYMENT_RULES.name, str(year), evenly_spread(of_year, rows_max))


def _part(archive: zipfile.ZipFile, part: str) -> pa.Table:
    name = f"{FOLDER_IN_WHEEL}/employment_MA_{part}.pq"
    if name not in archive.namelist():
        raise Refusal(
            PACKAGE, expected=f"a file {name} in it", got="none", hint="Check the version that locks/data.lock pins."
        )
    return pq.read_table(io.BytesIO(archive.read(name)))


def _labelled(records: pa.Table, labels: pa.Table) -> pa.Table:
    """Labels joined by id and not by place. A record without one keeps a null, which the rules refuse by name."""
    if len(pc.unique(labels["id"])) != labels.num_rows:
        raise Refusal(
            "employment labels", expected="one for an id", got="several for some",
            hint="The package is not the one that was looked at: check locks/data.lock.",
        )  # fmt: skip
    places = pc.index_in(records["id"], value_set=labels["id"])
    return records.append_column("employed", labels["employed"].take(places))


def _as_declared(records: pa.Table) -> pa.Table:
    """Whole numbers: codes come as text, ages as floats. What is no such number is refused by its column's name."""
    columns = []
    for field in EMPLOYMENT_RULES.schema:
        try:
            columns.append(_whole(records[field.name]))
        except (KeyError, pa.ArrowInvalid) as error:
            raise Refusal(
                f"employment.{field.name}", expected="whole numbers", got=str(error)[:200],
                hint="The package is not the one that was looked at: check locks/data.lock.",
            ) from error  # fmt: skip
    return pa.table(columns, names=EMPLOYMENT_RULES.schema.names)


def _whole(values: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return values.cast(pa.int64())
