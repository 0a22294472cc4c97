"""Robustness: what a model says when values are missing, and when they are nothing that it has ever seen.

Always: which values go missing depends on the seed and the rows' order alone; a run that fails counts as answers that
are not finite, for its rows. The model comes as a function, so that any can be tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.evaluation.measures import Judge, Outcomes, rounded
from pipelines.evaluation.predicting import Run, outcomes
from pipelines.examples import Examples
from pipelines.features.declaration import Code, Cycle, Feature, FeatureSet, Number, Text
from registry_client.errors import ArtifactError

MISSING_SHARE: Final = 0.1
MISSING_ROWS_MAX: Final = 50_000
EXTREME_ROWS: Final = 16
ALL_COLUMNS: Final = "all columns at once"
_BEYOND: Final = 1000.0
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
_ANYWHERE: Final = (np.nan, np.inf, -np.inf, _FLOAT32_MAX, -_FLOAT32_MAX)
_TEXTS: Final = ("", "no such value", " ", "\N{SNOWMAN}" * 1000)


@dataclass(frozen=True)
class Missing:
    """measure: the gate's, with `share` of all values missing. drop: by how much that is below the same rows' own."""

    share: float
    rows: int
    measure: float
    drop: float

    def as_json(self) -> dict[str, Any]:
        figures = {name: rounded(value) for name, value in vars(self).items() if isinstance(value, float)}
        return figures | {"rows": self.rows}


@dataclass(frozen=True)
class Extreme:
    """case: the column whose values were extreme. rows: tried. not_finite: those with an answer that is no number."""

    case: str
    rows: int
    not_finite: int

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


def missing(run: Run, judge: Judge, examples: Examples, whole: Outcomes, seed: int) -> Missing:
    """whole: the answers to all `examples`. Of more rows than MISSING_ROWS_MAX, so many, evenly spread."""
    rows = spread(len(examples), MISSING_ROWS_MAX)
    poorer = outcomes(run, without_values(examples.take(rows), MISSING_SHARE, seed), judge.task)
    measure = judge.gate_measure(poorer) if np.isfinite(poorer.values).all() else np.nan
    return Missing(MISSING_SHARE, len(rows), measure, judge.gate_measure(whole.take(rows)) - measure)


def extremes(run: Run, judge: Judge, features: FeatureSet, examples: Examples) -> tuple[Extreme, ...]:
    """Of each column with every other left as it is, and of all columns at once."""
    few = examples.take(spread(len(examples), EXTREME_ROWS))
    found = []
    for index, feature in enumerate(features.ordered):
        values = extreme_values(feature)
        found.append(_tried(run, judge, feature.name, [_with(few, features, {index: value}) for value in values]))
    together = [_with(few, features, dict(enumerate(values))) for values in _together(features)]
    return (*found, _tried(run, judge, ALL_COLUMNS, together))


def without_values(examples: Examples, share: float, seed: int) -> Examples:
    """Each value missing with probability `share`: NaN, or "" of texts."""
    random = np.random.default_rng(seed)
    numbers = np.where(random.random(examples.numbers.shape) < share, np.float32(np.nan), examples.numbers)
    texts = examples.texts
    if texts is not None:
        texts = np.where(random.random(texts.shape) < share, "", texts)
    return replace(examples, numbers=numbers, texts=texts)


def extreme_values(feature: Feature) -> tuple[float | str, ...]:
    """What a caller may send, though nobody should: bounds a thousandfold, no number, unknown codes and words."""
    match feature:
        case Number(low=low, high=high):
            return (*_ANYWHERE, low, high, low * _BEYOND, high * _BEYOND, -high * _BEYOND)
        case Code():
            return (*_ANYWHERE, feature.points[0] - 1.0, feature.points[-1] + 1.0, feature.points[0] + 0.5)
        case Cycle(period=period):
            return (*_ANYWHERE, -1.0, period, period * _BEYOND)
        case Text():
            return _TEXTS


def spread(rows: int, rows_max: int) -> npt.NDArray[np.intp]:
    """Up to rows_max of `rows` rows, evenly spread."""
    return np.linspace(0, rows - 1, min(rows, rows_max)).astype(np.intp)


def _together(features: FeatureSet) -> Iterator[tuple[float | str, ...]]:
    """Every column at its first extreme, at its second, and so on; those with fewer begin again."""
    values = [extreme_values(feature) for feature in features.ordered]
    for place in range(max(len(each) for each in values)):
        yield tuple(each[place % len(each)] for each in values)


def _with(examples: Examples, features: FeatureSet, values: dict[int, float | str]) -> Examples:
    """The rows with those features, by their place in `features.ordered`, at one value each."""
    numbers = examples.numbers.copy()
    texts = None if examples.texts is None else examples.texts.copy()
    for index, value in values.items():
        if index < len(features.numbers):
            with np.errstate(over="ignore"):  # what float32 cannot hold arrives as infinity, as it would over the wire
                numbers[:, index] = value
        else:
            assert texts is not None, "a feature set with texts has examples with texts"
            texts[:, index - len(features.numbers)] = value
    return replace(examples, numbers=numbers, texts=texts)


def _tried(run: Run, judge: Judge, case: str, variants: list[Examples]) -> Extreme:
    not_finite = sum(_not_finite(run, judge, variant) for variant in variants)
    return Extreme(case, sum(len(variant) for variant in variants), not_finite)


def _not_finite(run: Run, judge: Judge, examples: Examples) -> int:
    try:
        return int((~np.isfinite(outcomes(run, examples, judge.task).values)).sum())
    except ArtifactError:  # the graph does not run on these: not one row has an answer
        return len(examples)
