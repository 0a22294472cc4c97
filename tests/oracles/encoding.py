"""What a learner sees of one row, slowly: a value at a time, by the words of the features' declaration."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pipelines.features.declaration import Code, Cycle, Feature, FeatureSet, Number, Text


def known(feature: Feature, value: float | str) -> bool:
    """Whether the declaration knows the value. Bounds are what float32 makes of them, since a caller sends float32."""
    match feature:
        case Number():
            return float(np.float32(feature.low)) <= value <= float(np.float32(feature.high))
        case Cycle():
            return 0 <= value < float(np.float32(feature.period))
        case Code():
            return not math.isinf(value) and value in feature.codes
        case Text():
            return value in feature.values


def ordinal(features: FeatureSet, numbers: Sequence[float], texts: Sequence[str]) -> list[float]:
    """A column a feature; NaN where missing or unknown; a text's place among its values."""
    values: list[float] = [
        value if known(feature, value) else math.nan for feature, value in zip(features.numbers, numbers, strict=True)
    ]
    for feature, word in zip(features.texts, texts, strict=True):
        values.append(feature.values.index(word) if known(feature, word) else math.nan)
    return values


def chosen(features: FeatureSet, numbers: Sequence[float], texts: Sequence[str]) -> set[str]:
    """Names of the columns that are 1 for codes and words, had training seen all of them."""
    names = set()
    for feature, value in zip(features.ordered, [*numbers, *texts], strict=True):
        if isinstance(feature, Code) and known(feature, value):
            names.add(f"{feature.name}={int(value)}")
        if isinstance(feature, Text) and known(feature, value):
            names.add(f"{feature.name}={value}")
    return names
