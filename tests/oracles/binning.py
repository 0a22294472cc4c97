"""Counting rows by bin, slowly: one value at a time, by the words of the baseline's document."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from registry_client.baseline.document import ARGMAX, Feature, Kind


def bin_of(feature: Feature, value: float) -> int:
    """The bin of one value."""
    bins = len(feature.counts)
    if math.isnan(value):
        return bins - 2
    if math.isinf(value):
        return bins - 1
    if feature.kind is Kind.CATEGORY:
        return feature.points.index(value) if value in feature.points else len(feature.points)
    if value < feature.points[0]:
        return 0
    if value > feature.points[-1]:
        return len(feature.points)
    # Each edge belongs to the bin below it, the least one to the first.
    return next(index for index, edge in enumerate(feature.points[1:], start=1) if value <= edge)


def value_of(feature: Feature, row: np.ndarray) -> float:
    """A row's value of a feature: its column, or the place of the largest element."""
    elements = [float(element) for element in row.ravel()]
    if feature.column != ARGMAX:
        return elements[feature.column]
    if any(math.isnan(element) for element in elements):
        return math.nan
    return float(elements.index(max(elements)))


def counts_of(features: Sequence[Feature], tensors: dict[str, np.ndarray], buckets: np.ndarray) -> np.ndarray:
    """int64[16, bins of all features]: each row of each feature, in the row's bucket."""
    counts = np.zeros((16, sum(len(feature.counts) for feature in features)), dtype=np.int64)
    start = 0
    for feature in features:
        for row, bucket in zip(tensors[feature.tensor], buckets, strict=True):
            counts[bucket, start + bin_of(feature, value_of(feature, row))] += 1
        start += len(feature.counts)
    return counts
