"""Population: whether the rows a model is judged by are like those it learnt from, column by column and pair by pair.

The population stability index of counts, PSI = sum (p - q) ln(p/q) with p = (m + 1/2)/(M + K/2), less what it is on
average without any shift, (K - 1)(1/M + 1/N) (Yurdakul & Naranjo, *Statistical properties of the population stability
index*, 2020): as the server judges traffic.
Rows of one storm or one holiday are not independent of each other, so chance moves more than their number says: by the
design effect phi = sum over blocks of days of (m - n p)^2 / (n p), by degree of freedom (Rao & Scott, *The analysis of
categorical data from complex sample surveys*, 1981), for rows whose days are known; 1 for others.
Of a pair of columns the *association*: what is left of their joint PSI when the larger of the two columns' own is taken
away. PSI is Jeffreys' divergence, to which the chain rule of relative entropy applies (Kullback & Leibler, *On
information and sufficiency*, 1951), so this is the shift of one column *given* the other, and never below zero. Two
codes that change places in two even halves move no share of their column, but they move its associations.
Always: what a gate judges is what chance does not explain. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.evaluation.levels import Leveled, joined, raw_column
from pipelines.evaluation.measures import rounded
from pipelines.evaluation.slices import rows_by_period
from pipelines.examples import Examples, Split
from pipelines.features.declaration import FeatureSet, Number

Counts = npt.NDArray[np.float64]
CHANCE_ERRORS: Final = 4.0
"""Standard errors that are put down to chance: hundreds of shifts are looked at, and none should fail for nothing."""
BLOCKS: Final = 16
SMOOTHING: Final = 0.5
_DAY_S: Final = 86_400
SPAN_QUANTILES: Final = (0.001, 0.999)
"""Between which a number's values span what they span: one wild value must not hide that all others shrank."""


@dataclass(frozen=True)
class Shift:
    """psi: less its bias, so that it may be a little below zero. beyond_chance: the part that chance does not explain.
    rows: of the smaller side."""

    names: tuple[str, ...]
    source: str
    target: str
    psi: float
    beyond_chance: float
    rows: int

    def as_json(self) -> dict[str, Any]:
        figures = {"psi": rounded(self.psi), "beyond_chance": rounded(self.beyond_chance)}
        return {"names": list(self.names), "from": self.source, "to": self.target, **figures}


@dataclass(frozen=True)
class Span:
    """low, high: of the values known. share: of what the declaration allows, the part that they span; 0 of none."""

    name: str
    of: str
    low: float
    high: float
    share: float
    rows: int

    def as_json(self) -> dict[str, Any]:
        figures = {name: rounded(value) for name, value in vars(self).items() if isinstance(value, float)}
        return {"name": self.name, "of": self.of, **figures}


@dataclass(frozen=True)
class Population:
    """features, over_time: of single columns and the label. pairs: of two columns, those that moved most first."""

    features: tuple[Shift, ...]
    over_time: tuple[Shift, ...]
    pairs: tuple[Shift, ...]
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Stretch:
    """Days that are compared as one, [start, stop) of all."""

    name: str
    start: int
    stop: int

    def blocks(self) -> npt.NDArray[np.intp]:
        """Where each of BLOCKS runs of its days begins; fewer where it has not so many days."""
        days = self.stop - self.start
        return self.start + (np.arange(min(days, BLOCKS)) * days) // min(days, BLOCKS)


@dataclass(frozen=True)
class Comparisons:
    """Which rows are compared with which. days: intp[n], of each row its day, numbered in the order of time, first
    training's and on from there evaluation's. steps: of each comparison the stretches from and to, first the parts'."""

    days: npt.NDArray[np.intp]
    stretches: tuple[Stretch, ...]
    steps: tuple[tuple[int, int], ...]

    def counts(self, column: Leveled) -> tuple[Counted, ...]:
        """Of each stretch the column's rows by level."""
        places = self.days * column.count + column.levels
        by_day = np.bincount(places, minlength=(int(self.days.max()) + 1) * column.count).reshape(-1, column.count)
        return tuple(
            _counted(np.add.reduceat(by_day[: stretch.stop], stretch.blocks(), axis=0).astype(np.float64))
            for stretch in self.stretches
        )


@dataclass(frozen=True)
class Counted:
    """levels: float64[count], rows. clustering: by how much more these vary from block to block than independent rows
    would; so many rows are worth one."""

    levels: Counts
    clustering: float


def both_parts(split: Split) -> Examples:
    """Training's rows, then evaluation's: what columns are levelled over. Its slices are left out."""
    one, other = split.training, split.evaluation
    texts = None
    if one.texts is not None and other.texts is not None:
        texts = np.concatenate([one.texts, other.texts])
    return Examples(
        np.concatenate([one.numbers, other.numbers]),
        texts,
        np.concatenate([one.labels, other.labels]),
        {},
        np.concatenate([one.keys, other.keys]),
        np.concatenate([one.at_s, other.at_s]),
    )


def comparisons(split: Split, rows_min: int) -> Comparisons:
    """Training with evaluation, and each period of rows_min rows or more with the one before it."""
    parts, periodic, days = [], [], []  # of days, numbered on from training's to evaluation's
    first = 0
    for name, part in (("training", split.training), ("evaluation", split.evaluation)):
        when, places = np.unique(part.at_s // _DAY_S, return_inverse=True)
        parts.append(Stretch(name, first, first + len(when)))
        periodic += [one for one, rows in _periods(part.at_s, places, first) if rows >= rows_min]
        days.append(places + first)
        first += len(when)
    stretches = (*parts, *periodic)
    steps = ((one, one + 1) for one in range(2, len(stretches) - 1))
    onward = (step for step in steps if stretches[step[0]].name < stretches[step[1]].name)
    return Comparisons(np.concatenate(days), stretches, ((0, 1), *onward))


def _periods(at_s: npt.NDArray[np.int64], places: npt.NDArray[np.intp], first: int) -> Iterator[tuple[Stretch, int]]:
    """Of each period its days and how many rows it has."""
    for name, rows in rows_by_period(at_s).items():
        days = places[rows]
        yield Stretch(name, first + int(days.min()), first + int(days.max()) + 1), len(days)


def column_shifts(columns: Sequence[Leveled], compared: Comparisons) -> tuple[tuple[Shift, ...], tuple[Shift, ...]]:
    """Of each column its shift from training to evaluation, and those from period to period."""
    counts = [(column, compared.counts(column)) for column in columns]
    parts, *steps = compared.steps
    whole = tuple(_shift(column.name, table, compared, parts) for column, table in counts)
    return whole, tuple(_shift(column.name, table, compared, step) for column, table in counts for step in steps)


def pair_shifts(columns: Sequence[Leveled], compared: Comparisons) -> tuple[Shift, ...]:
    """Of every two columns the shift of their association, the greatest beyond chance first."""
    found = [shift for one, other in combinations(columns, 2) for shift in _associations(one, other, compared)]
    return tuple(sorted(found, key=lambda shift: (-shift.beyond_chance, -shift.psi, shift.names)))


def spans(features: FeatureSet, split: Split) -> Iterator[Span]:
    """Of each number, in either part, how much of its declared range is used."""
    for index, feature in enumerate(features.ordered):
        if isinstance(feature, Number):
            for name, examples in (("training", split.training), ("evaluation", split.evaluation)):
                yield _span(feature, name, examples, index, features)


def psi(m: Counts, n: Counts) -> tuple[float, int]:
    """Of counts m against n, both [K]: the PSI as it is, and how many bins it was summed over; empty ones are none."""
    used = (m > 0) | (n > 0)
    p, q = _smoothed(m[used]), _smoothed(n[used])
    return float(((p - q) * np.log(p / q)).sum()), int(used.sum())


def association(m: Counts, n: Counts) -> tuple[float, int]:
    """Of joint counts m against n, both [A, B]: the smaller of the PSI of B given A and of A given B, and its degrees
    of freedom."""
    used = (m > 0) | (n > 0)
    p, q = (np.where(used, table + SMOOTHING, 0.0) for table in (m, n))
    p, q = p / p.sum(), q / q.sum()
    joint, alone = _divergence(p, q), [_divergence(p.sum(axis), q.sum(axis)) for axis in (1, 0)]
    larger = int(np.argmax(alone))
    freedom = int(used.sum()) - int(used.any(axis=1 - larger).sum())
    return joint - alone[larger], freedom


def _associations(one: Leveled, other: Leveled, compared: Comparisons) -> Iterator[Shift]:
    counted = compared.counts(joined(one, other))
    tables = [each.levels.reshape(one.count, other.count) for each in counted]
    for step in compared.steps:
        value, freedom = association(tables[step[1]], tables[step[0]])
        yield _judged((one.name, other.name), value, freedom, counted, compared, step)


def _shift(name: str, counted: Sequence[Counted], compared: Comparisons, step: tuple[int, int]) -> Shift:
    value, bins = psi(counted[step[1]].levels, counted[step[0]].levels)
    return _judged((name,), value, bins - 1, counted, compared, step)


def _judged(
    names: tuple[str, ...],
    value: float,
    freedom: int,
    counted: Sequence[Counted],
    compared: Comparisons,
    step: tuple[int, int],
) -> Shift:
    # Without a shift PSI is about (1/M + 1/N) chi2(freedom), M and N in rows that are worth one.
    sides = [counted[side] for side in step]
    unit = sum(each.clustering / float(each.levels.sum()) for each in sides)
    free = value - freedom * unit
    beyond = max(free - CHANCE_ERRORS * unit * float(np.sqrt(2 * freedom)), 0.0)
    source, target = (compared.stretches[side].name for side in step)
    return Shift(names, source, target, free, beyond, int(min(each.levels.sum() for each in sides)))


def _counted(blocks: Counts) -> Counted:
    """blocks: rows by level, float64[blocks, count]."""
    levels = blocks.sum(axis=0)
    used = levels > 0
    if len(blocks) < BLOCKS or used.sum() < 2:
        return Counted(levels, 1.0)
    expected = blocks.sum(axis=1, keepdims=True) * (levels[used] / levels.sum())
    freedom = (len(blocks) - 1) * (int(used.sum()) - 1)
    return Counted(levels, max(float(((blocks[:, used] - expected) ** 2 / expected).sum()) / freedom, 1.0))


def _smoothed(counts: Counts) -> Counts:
    smoothed = counts + SMOOTHING
    return np.asarray(smoothed / smoothed.sum())


def _divergence(p: Counts, q: Counts) -> float:
    """Jeffreys': KL(p||q) + KL(q||p); where both are 0 there is nothing to add."""
    used = p > 0
    return float(((p[used] - q[used]) * np.log(p[used] / q[used])).sum())


def _span(feature: Number, of: str, examples: Examples, index: int, features: FeatureSet) -> Span:
    values = raw_column(features, examples, index).astype(np.float64)
    known = values[(values >= feature.low) & (values <= feature.high)]
    if not known.size:
        return Span(feature.name, of, np.nan, np.nan, 0.0, 0)
    low, high = (float(each) for each in np.quantile(known, SPAN_QUANTILES))
    return Span(feature.name, of, low, high, (high - low) / (feature.high - feature.low), len(known))
