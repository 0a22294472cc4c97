"""Features: records as the numbers that the model is fed. After `snapshot.py`, before `train.py`.

Always: float32[rows, 16], columns in the order of `meaning.COLUMNS`, every code one that `meaning.py` explains.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines.employment.meaning import COLUMNS

COLUMN_NAMES = tuple(column.name for column in COLUMNS)
AGE_MAX_YEARS = 130


class FeatureError(Exception):
    """A record holds what the dictionary of columns does not know. Names the column and the values."""


@dataclass(frozen=True)
class Examples:
    """matrix: float32[rows, 16]. labels: int64[rows], 1 where employed. years: int64[rows]."""

    matrix: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    years: npt.NDArray[np.int64]

    def digest(self) -> str:
        """sha256 of the column names and all numbers, little-endian: what a lineage can be compared by."""
        state = hashlib.sha256(",".join(COLUMN_NAMES).encode())
        for array, layout in ((self.matrix, "<f4"), (self.labels, "<i8"), (self.years, "<i8")):
            state.update(np.ascontiguousarray(array, dtype=layout).tobytes())
        return state.hexdigest()

    def only(self, keep: npt.NDArray[np.bool_]) -> Examples:
        """The rows where `keep`, bool[rows], is true."""
        return Examples(self.matrix[keep], self.labels[keep], self.years[keep])


def examples(records: pd.DataFrame) -> Examples:
    """The records as numbers. Codes arrive as text ("16") and leave as the same number (16.0)."""
    missing = [name for name in (*COLUMN_NAMES, "employed", "year") if name not in records.columns]
    if missing:
        raise FeatureError(f"columns: expected all of the survey's sixteen, `employed` and `year`, missing {missing}.")
    matrix = np.empty((len(records), len(COLUMNS)), np.float32)
    for index, column in enumerate(COLUMNS):
        numbers = records[column.name].astype(str).astype(np.float64).to_numpy()
        known = np.isin(numbers, list(column.codes)) if column.codes else (numbers >= 0) & (numbers <= AGE_MAX_YEARS)
        if not known.all():
            strange = sorted(set(numbers[~known].tolist()))[:5]
            raise FeatureError(
                f"{column.name}: expected the codes in meaning.py, got {strange}. Explain them there first."
            )
        matrix[:, index] = numbers
    labels, years = (records[name].to_numpy(np.int64) for name in ("employed", "year"))
    return Examples(matrix, labels, years)
