"""Building a baseline: rows go in batch by batch, a `Baseline` comes out; what is kept does not grow with the rows
unless every value is to be counted (`Choices.exact`).

Used by `reference.py`, and by who has batches of its own. Two builders, each over a part of the rows, can be merged.
Always: a value is counted where `bins_of` puts it, so that a reference and traffic of the same rows have the same
counts; and the same rows give the same baseline in any order and parting, as long as it is exact.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from registry_client.baseline.bins import bins_of
from registry_client.baseline.columns import Column
from registry_client.baseline.document import (
    ARGMAX,
    HOURS_OF_WEEK,
    POINTS_MAX,
    Baseline,
    Feature,
    Kind,
    bin_count,
)
from registry_client.baseline.points import choose_points
from registry_client.baseline.summary import Summary
from registry_client.baseline.values import numbers, places_of_largest
from registry_client.errors import BadDocument
from registry_client.tensors import Datatype

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

DISTINCT_MAX: Final = 131_072
"""Distinct values of a column that are counted one by one; in all columns together at most DISTINCT_TOTAL."""
DISTINCT_TOTAL: Final = 1 << 24
DISTINCT_MIN: Final = 4096
SKETCH_SIZE: Final = 8192
# By hour there are 168 summaries a column, each of a small part of the rows.
DISTINCT_AN_HOUR_MAX: Final = 512
SKETCH_SIZE_AN_HOUR: Final = 256
ALL: Final = sys.maxsize
NO_HOUR: Final = -1
"""As an hour: the row has no time, and is counted in no hour."""
ROWS_PER_BIN: Final = 10
"""What tau asks of a reference: this many rows for each bin but one, divided by tau."""
LABEL: Final = "label"
"""As a tensor: the column of labels, which is none of the model's."""


@dataclass(frozen=True)
class Choices:
    """What whoever builds may choose.

    bins: for a number, 2 to POINTS_MAX - 1. tau: the shift (PSI) that is to be told from the reference's own error.
    categories: names of features whose numbers are codes. importances: by feature's name, at least 0. exact: count
    every distinct value, however many, so that the same rows give the same bytes; what is kept grows with them.
    """

    bins: int = 10
    tau: float = 0.1
    categories: frozenset[str] = frozenset()
    importances: Mapping[str, float] = field(default_factory=dict)
    exact: bool = False


def check_choices(choices: Choices) -> None:
    """Raises BadDocument, naming the option. Names are checked by the builder, which knows the features."""
    if not 2 <= choices.bins <= POINTS_MAX - 1:
        raise BadDocument(
            "--bins", expected=f"2 to {POINTS_MAX - 1}", got=f"{choices.bins}", hint="10 suits most references."
        )
    if not 0 < choices.tau <= 10:
        raise BadDocument(
            "--tau", expected="a number above 0, at most 10", got=f"{choices.tau}", hint="0.1 is a moderate shift."
        )
    for name, importance in choices.importances.items():
        if not 0 <= importance < math.inf:
            raise BadDocument(f"importance of {name!r}", expected="at least 0", got=f"{importance}", hint="Correct it.")


class BaselineBuilder:
    """inputs, predictions: the features to be. label: what the labels are called, where rows have them.

    hourly: also count by hour of the week. Raises BadDocument where `choices` name a feature that is not among them.
    """

    def __init__(
        self,
        inputs: Sequence[Column],
        predictions: Sequence[Column] = (),
        *,
        label: str | None = None,
        hourly: bool = False,
        choices: Choices | None = None,
    ) -> None:
        self._choices = choices or Choices()
        check_choices(self._choices)
        labels = () if label is None else (Column(label, LABEL, 0),)
        self._groups = (tuple(inputs), tuple(predictions), labels)
        self._check_names()
        self._rows = 0
        columns = [column for group in self._groups for column in group]
        distinct_max = max(DISTINCT_MIN, min(DISTINCT_MAX, DISTINCT_TOTAL // max(1, len(columns))))
        distinct_max = ALL if self._choices.exact else distinct_max
        self._whole = {column: Summary(distinct_max, SKETCH_SIZE) for column in columns}
        self._hours: dict[Column, dict[int, Summary]] | None = {column: {} for column in columns} if hourly else None

    def add(
        self,
        inputs: Mapping[str, tuple[Datatype, npt.NDArray[Any]]],
        predictions: Mapping[str, tuple[Datatype, npt.NDArray[Any]]] | None = None,
        *,
        labels: Floats | None = None,
        hours: Integers | None = None,
    ) -> None:
        """Count a batch of n rows.

        inputs, predictions: arrays [n, ...] by tensor, with what their elements are; tensors without features are not
        looked at. labels: float64[n], NaN where unknown. hours: int64[n], of the week, or NO_HOUR.
        """
        parts = (inputs, predictions or {}, {} if labels is None else {LABEL: (Datatype.FP64, labels)})
        counted, by_hour = 0, [] if self._hours is None or hours is None else _places_by_hour(hours)
        for group, tensors in zip(self._groups, parts, strict=True):
            for tensor in dict.fromkeys(column.tensor for column in group):
                datatype, array = tensors[tensor]
                rows = numbers(datatype, array).reshape(len(array), math.prod(array.shape[1:]))
                for column in (one for one in group if one.tensor == tensor):
                    values = places_of_largest(rows) if column.column == ARGMAX else rows[:, column.column]
                    self._add_column(column, values, by_hour)
                counted = len(array)
        self._rows += counted

    def merge(self, other: BaselineBuilder) -> None:
        """Take in what `other`, made for the same features, has counted."""
        assert (self._groups, self._hours is None) == (other._groups, other._hours is None), "made for other features"
        self._rows += other._rows
        for column, summary in other._whole.items():
            self._whole[column].merge(summary)
        if self._hours is not None and other._hours is not None:
            for column, by_hour in other._hours.items():
                for hour, summary in by_hour.items():
                    self._hour(column, hour).merge(summary)

    def baseline(self) -> Baseline:
        """What was counted. Raises BadDocument where a column has no numbers, or the rows are too few for tau."""
        if self._rows == 0:
            raise BadDocument("reference", expected="rows", got="none", hint="Give those that the model learnt from.")
        if self._hours is not None and not any(self._hours.values()):
            raise BadDocument("times", expected="a time in some row", got="none", hint="Leave --time out.")
        inputs, predictions, labels = (tuple(self._feature(column) for column in group) for group in self._groups)
        self._check_enough((*inputs, *predictions, *labels))
        rank_error = max(summary.rank_error for summary in self._whole.values())
        return Baseline(self._rows, rank_error, inputs, predictions, labels)

    def _add_column(self, column: Column, values: Floats, by_hour: Sequence[tuple[int, Integers]]) -> None:
        self._whole[column].add(values)
        for hour, places in by_hour:
            self._hour(column, hour).add(values[places])

    def _hour(self, column: Column, hour: int) -> Summary:
        assert self._hours is not None
        distinct_max = ALL if self._choices.exact else DISTINCT_AN_HOUR_MAX
        return self._hours[column].setdefault(hour, Summary(distinct_max, SKETCH_SIZE_AN_HOUR))

    def _feature(self, column: Column) -> Feature:
        summary = self._whole[column]
        values, counts = summary.levels()
        if values.size == 0:
            got = "missing values only" if summary.non_finite == 0 else "missing and infinite values only"
            raise BadDocument(
                f"feature {column.name!r}", expected="numbers", got=got,
                hint="Check which column feeds it, or leave it out of the model.",
            )  # fmt: skip
        asked, is_answer = self._kind(column, summary), column in self._groups[1]
        kind, points = choose_points(values, counts, self._choices.bins, asked, is_answer=is_answer)
        # The points first: counts follow from them as they do for any other rows.
        empty = Feature(column.name, column.tensor, column.column, kind, points, (0,) * bin_count(kind, len(points)))
        return Feature(
            column.name, column.tensor, column.column, kind, points, _counts(empty, summary),
            importance=self._choices.importances.get(column.name),
            by_hour=None if self._hours is None else self._counts_by_hour(empty, self._hours[column]),
        )  # fmt: skip

    def _kind(self, column: Column, summary: Summary) -> Kind | None:
        if column.name in self._choices.categories:
            if not summary.is_exact:
                raise BadDocument(
                    f"category {column.name!r}", expected="codes that can be counted one by one",
                    got="too many distinct values", hint="Leave it out of --categories; it may be an identifier.",
                )  # fmt: skip
            return Kind.CATEGORY
        if column.column == ARGMAX or column.kind is None:
            return column.kind
        # An output of integers may be a quantity all the same: more of them than a category has room for.
        return column.kind if summary.is_exact and summary.levels()[0].size <= POINTS_MAX else None

    def _counts_by_hour(self, empty: Feature, hours: Mapping[int, Summary]) -> tuple[tuple[int, ...], ...]:
        return tuple(
            _counts(empty, hours[hour]) if hour in hours else empty.counts for hour in range(HOURS_OF_WEEK)
        )

    def _check_names(self) -> None:
        inputs, predictions, labels = ([column.name for column in group] for group in self._groups)
        known = {*inputs, *predictions, *labels}
        for option, names in (
            ("--categories", self._choices.categories), ("--importances", self._choices.importances),
        ):  # fmt: skip
            if unknown := sorted(set(names) - known):
                raise BadDocument(
                    option, expected=f"names of features: {', '.join([*inputs, *predictions, *labels])[:300]}",
                    got=repr(unknown[0][:80]), hint="Use the names as they are there.",
                )  # fmt: skip

    def _check_enough(self, features: Sequence[Feature]) -> None:
        widest = max(features, key=lambda feature: len(feature.counts))
        bins = len(widest.counts)
        needed = math.ceil(round(ROWS_PER_BIN * (bins - 1) / self._choices.tau, 6))
        if self._rows < needed:
            raise BadDocument(
                "reference", expected=f"at least {needed} rows for tau {self._choices.tau:g} and the {bins} bins of "
                f"{widest.name!r}", got=f"{self._rows}", hint="Give more rows, fewer --bins, or a larger --tau.",
            )  # fmt: skip


def _places_by_hour(hours: Integers) -> list[tuple[int, Integers]]:
    """Each hour that occurs, with the rows that are of it."""
    order = np.argsort(hours, kind="stable")
    found, firsts = np.unique(hours[order], return_index=True)
    parts = zip(found.tolist(), np.split(order, firsts[1:]), strict=True) if found.size else ()
    return [(hour, places) for hour, places in parts if hour != NO_HOUR]


def _counts(feature: Feature, summary: Summary) -> tuple[int, ...]:
    """How many of the summary's rows fall into each of the feature's bins."""
    values, counts = summary.levels()
    bins = len(feature.counts)
    # Not `bincount` with weights, which adds floats.
    found = np.zeros(bins, dtype=np.int64)
    np.add.at(found, bins_of(feature, values), counts)
    found[bins - 2] += summary.missing
    found[bins - 1] += summary.non_finite
    return tuple(found.tolist())
