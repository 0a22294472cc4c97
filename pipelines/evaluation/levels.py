"""Levels: raw columns as small integers, so that anything can be counted. Pure; for `population.py` and `leakage.py`.

A number falls into bins of equal mass of training's rows, a cycle into equal parts of its period, codes and texts are
levels as they are; what a model would take for missing or unknown is one more level, the last.
Always: cut by training's rows alone; 0 <= level < count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines.definition import Classification, Regression
from pipelines.examples import Examples
from pipelines.features.declaration import Code, Cycle, Feature, FeatureSet, Number, Text

Indices = npt.NDArray[np.intp]
BINS: Final = 10
CYCLE_BINS_MAX: Final = 24
COARSE_LEVELS: Final = 8
"""Of a column among pairs: 64 cells of two columns still hold rows enough, of a small sample, too."""
_COARSE_BINS: Final = 5


@dataclass(frozen=True)
class Leveled:
    """A column of n rows. levels: intp[n], below `count`."""

    name: str
    levels: Indices
    count: int


def leveled(features: FeatureSet, training: Examples, of: Examples, bins: int = BINS) -> tuple[Leveled, ...]:
    """Of the rows `of` every feature, in the order of `features.names`."""
    return tuple(
        _leveled(feature, raw_column(features, training, index), raw_column(features, of, index), bins)
        for index, feature in enumerate(features.ordered)
    )


def leveled_label(
    task: Classification | Regression, name: str, training: Examples, of: Examples, bins: int = BINS
) -> Leveled:
    """The label: a class each, or bins as of a number."""
    if isinstance(task, Classification):
        return Leveled(name, of.labels.astype(np.intp), len(task.labels))
    return _of_number(name, training.labels, of.labels, bins)


def raw_column(features: FeatureSet, examples: Examples, index: int) -> npt.NDArray[Any]:
    """The feature at `index` of `features.ordered`, as it is sent: float32[n], or object[n] of str."""
    if index < len(features.numbers):
        return examples.numbers[:, index]
    assert examples.texts is not None, "a feature set with texts has examples with texts"
    return np.asarray(examples.texts[:, index - len(features.numbers)])


def coarse(features: FeatureSet, training: Examples, of: Examples) -> tuple[Leveled, ...]:
    """The same in at most COARSE_LEVELS levels each: fewer bins, and rare codes together."""
    return tuple(_merged(column) for column in leveled(features, training, of, _COARSE_BINS))


def coarse_label(task: Classification | Regression, name: str, training: Examples, of: Examples) -> Leveled:
    return _merged(leveled_label(task, name, training, of, _COARSE_BINS))


def joined(one: Leveled, other: Leveled) -> Leveled:
    """Both as one: a level for each combination."""
    levels = one.levels * other.count + other.levels
    return Leveled(f"{one.name}, {other.name}", levels, one.count * other.count)


def _merged(column: Leveled) -> Leveled:
    rows = np.bincount(column.levels, minlength=column.count)
    if column.count <= COARSE_LEVELS:
        return column
    place = np.full(column.count, COARSE_LEVELS - 1)
    commonest = np.argsort(-rows, kind="stable")[: COARSE_LEVELS - 1]
    place[commonest] = np.arange(COARSE_LEVELS - 1)
    return Leveled(column.name, place[column.levels], COARSE_LEVELS)


def _leveled(feature: Feature, learnt: npt.NDArray[Any], raw: npt.NDArray[Any], bins: int) -> Leveled:
    match feature:
        case Number():
            known, inside = (np.where(_inside(feature, each), each, np.nan) for each in (learnt, raw))
            return _of_number(feature.name, known, inside, bins)
        case Code():
            points = np.array(feature.points, dtype=np.float32)
            found = np.minimum(np.searchsorted(points, raw), len(points) - 1)
            return Leveled(feature.name, np.where(points[found] == raw, found, len(points)), len(points) + 1)
        case Cycle():
            parts = round(min(max(feature.period, 2.0), CYCLE_BINS_MAX))
            within = (raw >= 0) & (raw < np.float32(feature.period))
            part = np.where(within, raw, 0).astype(np.float64) * (parts / feature.period)
            return Leveled(feature.name, np.where(within, part.astype(np.intp), parts), parts + 1)
        case Text():
            found = pd.Index(feature.values).get_indexer(raw)
            return Leveled(feature.name, np.where(found >= 0, found, len(feature.values)), len(feature.values) + 1)


def _of_number(name: str, learnt: npt.NDArray[Any], raw: npt.NDArray[Any], bins: int) -> Leveled:
    known = learnt[~np.isnan(learnt)]
    edges = np.unique(np.quantile(known, np.arange(1, bins) / bins, method="inverted_cdf")) if known.size else known
    levels = np.where(np.isnan(raw), len(edges) + 1, np.searchsorted(edges, raw, side="right"))
    return Leveled(name, levels, len(edges) + 2)


def _inside(feature: Number, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return np.asarray((values >= np.float32(feature.low)) & (values <= np.float32(feature.high)))
