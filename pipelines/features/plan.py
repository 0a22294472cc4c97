"""Plan of an encoding: its constants as arrays, which `matrix.py` and `graph.py` carry out, each in its own way.

All columns are one array of float32[rows, all], numbers and then texts' indices, so that a step takes a single node
however many columns there are. Always: both sides use these very arrays, in float32, in the same order of operations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from pipelines.features.declaration import Code, Cycle, Feature, FeatureSet, Number, Text

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

CYCLE_STEPS: Final = 10_080
"""What a cycle is divided into: a minute of a week, 9 seconds of a day, 52 minutes of a year."""


@dataclass(frozen=True)
class Scale:
    """Of a number, learnt from training. missing: whether it has an indicator, since a learner sees rows without it."""

    mean: float
    scale: float
    missing: bool


@dataclass(frozen=True)
class OrdinalPlan:
    """low, high: float32[all], inclusive. whole: bool[all], where only whole numbers are known.

    gapped: int64[g], columns with gaps between codes, and gapped_codes: float32[g], a code of that column.
    """

    low: Floats
    high: Floats
    whole: npt.NDArray[np.bool_]
    gapped: Places
    gapped_codes: Floats


@dataclass(frozen=True)
class OneHotPlan:
    """low, high, whole: as for trees. What is unknown counts as `origin`: float32[all], and so as zero.

    numbers: int64[n], columns to multiply with scale: float32[n]. missing: int64[i], columns that have an indicator.
    cycles: int64[c], columns that give a row of `cycle_table` when multiplied with steps: float32[c]. owners: int64[w],
    columns that are compared with codes: float32[w], as they are when the origin, one below the least, is subtracted.
    """

    low: Floats
    high: Floats
    whole: npt.NDArray[np.bool_]
    origin: Floats
    numbers: Places
    scale: Floats
    missing: Places
    cycles: Places
    steps: Floats
    owners: Places
    codes: Floats


def bounds(feature: Feature) -> tuple[np.float32, np.float32]:
    """The least and the greatest known value, both inclusive."""
    match feature:
        case Number():
            return np.float32(feature.low), np.float32(feature.high)
        case Cycle():
            return np.float32(0), np.nextafter(np.float32(feature.period), np.float32(0))
        case _:
            points = points_of(feature)
            return np.float32(points[0]), np.float32(points[-1])


def points_of(feature: Code | Text) -> tuple[int, ...]:
    """Known codes, ascending; those of a text are its values' places."""
    return feature.points if isinstance(feature, Code) else tuple(range(len(feature.values)))


def ordinal_plan(features: FeatureSet) -> OrdinalPlan:
    """For trees: nothing in it is learnt."""
    limits = [bounds(feature) for feature in features.ordered]
    gapped = [
        (column, code)
        for column, feature in enumerate(features.ordered)
        if isinstance(feature, Code) and feature.points[-1] - feature.points[0] >= len(feature.points)
        for code in feature.points
    ]
    return OrdinalPlan(
        _floats([low for low, _ in limits]),
        _floats([high for _, high in limits]),
        _whole(features),
        _places([column for column, _ in gapped]),
        _floats([code for _, code in gapped]),
    )


def one_hot_plan(
    features: FeatureSet, scales: Mapping[str, Scale], seen: Mapping[str, tuple[int, ...]]
) -> OneHotPlan:
    """For networks. scales: by number. seen: by code and text, the known codes that training had."""
    columns = list(enumerate(features.ordered))
    limits = [bounds(feature) for feature in features.ordered]
    numbers = [(column, scales[feature.name]) for column, feature in columns if isinstance(feature, Number)]
    cycles = [(column, feature) for column, feature in columns if isinstance(feature, Cycle)]
    chosen = [
        (column, code - points_of(feature)[0] + 1)
        for column, feature in columns
        if isinstance(feature, Code | Text)
        for code in seen[feature.name]
    ]
    return OneHotPlan(
        low=_floats([low for low, _ in limits]),
        high=_floats([high for _, high in limits]),
        whole=_whole(features),
        origin=_floats([_origin(feature, scales) for feature in features.ordered]),
        numbers=_places([column for column, _ in numbers]),
        scale=_floats([scale.scale for _, scale in numbers]),
        missing=_places([column for column, scale in numbers if scale.missing]),
        cycles=_places([column for column, _ in cycles]),
        steps=_floats([CYCLE_STEPS / feature.period for _, feature in cycles]),
        owners=_places([column for column, _ in chosen]),
        codes=_floats([code for _, code in chosen]),
    )


def _whole(features: FeatureSet) -> npt.NDArray[np.bool_]:
    return np.array([isinstance(feature, Code | Text) for feature in features.ordered], dtype=np.bool_)


def _origin(feature: Feature, scales: Mapping[str, Scale]) -> float:
    match feature:
        case Number():
            return scales[feature.name].mean
        case Cycle():
            # A step for the row of missing ones, and half a one, so that dropping the fraction takes the nearest.
            return -1.5 * feature.period / CYCLE_STEPS
        case _:
            return points_of(feature)[0] - 1


@cache
def cycle_table() -> Floats:
    """Sine and cosine by step of a cycle, float32[CYCLE_STEPS + 2, 2]; the first row, of zeros, is for missing ones.

    Looked up and not computed: sines of numpy and of ONNX Runtime differ in the last bit. The last row is the second
    again, where a value just below the period ends. Seven decimals: the same with any C library.
    """
    angles = [2 * math.pi * (step % CYCLE_STEPS) / CYCLE_STEPS for step in range(CYCLE_STEPS + 1)]
    rows = [(round(math.sin(angle), 7), round(math.cos(angle), 7)) for angle in angles]
    table = _floats([(0.0, 0.0), *rows])
    table.flags.writeable = False  # it is one for all who ask
    return table


def vocabulary(texts: Sequence[Text]) -> tuple[str, ...]:
    """All words of all texts, each once, sorted."""
    return tuple(sorted({value for feature in texts for value in feature.values}))


def _floats(values: Sequence[float | np.float32 | tuple[float, float]]) -> Floats:
    return np.array(values, dtype=np.float32)


def _places(columns: Sequence[int]) -> Places:
    return np.array(columns, dtype=np.int64)
