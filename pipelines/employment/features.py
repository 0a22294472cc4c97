"""Employment's features: sixteen answers of the survey, as they were coded. Training on 2015, judged by 2016 to 2018.

`definition.py` hands `FEATURES` and `split` to the stages. Always: columns in the order of `meaning.COLUMNS`, which is
that of the served input; rows by year and id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.employment.meaning import COLUMNS
from pipelines.examples import Split
from pipelines.features.declaration import Code, FeatureSet, Number
from pipelines.features.records import examples_of

TABLE: Final = "employment"
AGE_YEARS_MAX: Final = 130
TRAINING_YEAR: Final = 2015
# The survey's own bounds: it asks nobody under 16 about work, and from 65 on most have ended theirs.
AGE_BANDS: Final = ((0, "under 16"), (16, "16 to 24"), (25, "25 to 44"), (45, "45 to 64"), (65, "65 and over"))

FEATURES: Final = FeatureSet(
    tuple(
        Code(column.name, column.title, column.codes)
        if column.codes
        else Number(column.name, column.title, 0, AGE_YEARS_MAX, "years")
        for column in COLUMNS
    )
)
SLICES: Final = {"age": "age in bands", "sex": "sex", "race": "race as told", "year": "year of the survey"}


def split(tables: Mapping[str, pa.Table]) -> Split:
    """One row a person. Training: 2015; evaluation: every year after it."""
    table = tables[TABLE].sort_by([("year", "ascending"), ("id", "ascending")])
    columns = {name: table[name].to_numpy() for name in (*FEATURES.names, "year", "id", "employed")}
    rows = examples_of(
        FEATURES,
        columns,
        labels=columns["employed"],
        slices={
            "age": _bands(columns["AGEP"]),
            "sex": _words("SEX", columns["SEX"]),
            "race": _words("RAC1P", columns["RAC1P"]),
            "year": columns["year"].astype(str),
        },
        keys=columns["id"].astype(str),
        at_s=(columns["year"] - 1970).astype("datetime64[Y]").astype("datetime64[s]").astype(np.int64),
    )
    learns = columns["year"] == TRAINING_YEAR
    return Split(rows.take(learns), rows.take(columns["year"] > TRAINING_YEAR))


def _bands(ages: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
    starts = np.array([start for start, _ in AGE_BANDS])
    names = np.array([name for _, name in AGE_BANDS], dtype=object)
    found: npt.NDArray[np.object_] = names[np.searchsorted(starts, ages, side="right") - 1]
    return found


def _words(name: str, codes: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
    """What codes stand for; one that nobody explained stays a number, for the check of all values to refuse."""
    meanings = next(column.codes for column in COLUMNS if column.name == name)
    return np.array([meanings.get(code, str(code)) for code in codes.tolist()], dtype=object)
