"""Slices: rows that belong together, by what they are (sex, carrier) and by when they happened. Pure.

Always: a slice's rows are counted in training as well, so that one which the model never saw is found by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines.examples import Split

Values = npt.NDArray[np.object_]
Indices = npt.NDArray[np.intp]
OF_TIME_FROM: Final = 0.9
"""Goodman and Kruskal's lambda from which a column is taken for one of time. It is 1 where each period has one value,
and less where a month's last flights of the evening fall into the next month of UTC."""


@dataclass(frozen=True)
class Slice:
    """rows: bool[n] of evaluation. coverage: its share of one part by its share of the other, smaller by greater, 0 to
    1; NaN for a slice of time, which only one part has."""

    column: str
    value: str
    rows: npt.NDArray[np.bool_]
    training_rows: int
    of_time: bool
    coverage: float

    @property
    def name(self) -> str:
        return f"{self.column}={self.value}"


def slices(split: Split) -> Iterator[Slice]:
    """Every value of every slice column, by column as declared and by value."""
    training, evaluation = split.training, split.evaluation
    _, when = factorized(np.concatenate([periods(training.at_s), periods(evaluation.at_s)]))
    for column, values in evaluation.slices.items():
        names, found = factorized(np.concatenate([training.slices[column], values]))
        of_time = determined_by(when, found) >= OF_TIME_FROM
        learnt, met = found[: len(training)], found[len(training) :]
        for index, value in enumerate(names):
            rows, seen = met == index, int((learnt == index).sum())
            coverage = math.nan if of_time else _balance(seen / len(training), float(rows.mean()))
            yield Slice(column, value, rows, seen, of_time, coverage)


def periods(at_s: npt.NDArray[np.int64]) -> Values:
    """at_s: int64[n], seconds since 1970 UTC. Of each its month, "2013-10"; its year where all are beginnings of years,
    as of records that say no more than their year."""
    distinct, places = np.unique(at_s, return_inverse=True)
    moments = distinct.astype("datetime64[s]")
    years = moments.astype("datetime64[Y]")
    names = years if np.array_equal(years.astype("datetime64[s]"), moments) else moments.astype("datetime64[M]")
    return np.asarray(names.astype(str).astype(object)[places])


def rows_by_period(at_s: npt.NDArray[np.int64]) -> Mapping[str, npt.NDArray[np.bool_]]:
    """Of each period its rows, bool[n], earliest first."""
    names, found = factorized(periods(at_s))
    return {name: found == index for index, name in enumerate(names)}


def factorized(values: Values) -> tuple[tuple[str, ...], Indices]:
    """The distinct values, sorted, and of each row which of them it has, intp[n]."""
    found, names = pd.factorize(values, sort=True)
    return tuple(str(name) for name in names), found.astype(np.intp)


def determined_by(given: Indices, values: Indices) -> float:
    """Goodman and Kruskal's lambda: of the errors made in guessing `values`, the share that knowing `given` spares, 0
    to 1; 0 where all values are one. (*Journal of the American Statistical Association* 49, 1954.)"""
    table = np.zeros((int(given.max()) + 1, int(values.max()) + 1), np.int64)
    np.add.at(table, (given, values), 1)
    commonest = int(table.sum(axis=0).max())
    errors = len(values) - commonest
    return float(table.max(axis=1).sum() - commonest) / errors if errors else 0.0


def _balance(one: float, other: float) -> float:
    return min(one, other) / max(one, other)
