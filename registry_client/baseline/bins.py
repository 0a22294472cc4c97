"""Which bin a value falls into. The kernels that count traffic, the builder and the replay all follow these tables.

`bin = targets[sum(value > threshold)]`, with missing and non-finite values apart: a sum of comparisons vectorises where
a search does not. Pure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from registry_client.baseline.document import Feature, Kind

Floats = npt.NDArray[np.float64]


def thresholds(feature: Feature) -> tuple[Floats, npt.NDArray[np.int64]]:
    """float64[T], rising, and int64[T + 1]: the bin of a finite value above none, one, ... of them."""
    points = np.array(feature.points, dtype=np.float64)
    with np.errstate(over="ignore"):  # below the least of all floats there is an infinity, as it should be
        below = np.nextafter(points, -np.inf)
    if feature.kind is Kind.NUMBER:
        # A value equal to an edge belongs to the bin below it; the least one has none below it in the reference.
        return np.concatenate([below[:1], points[1:]]), np.arange(points.size + 1)
    # For each code a narrow interval that holds it alone. Neighbouring floats share a threshold.
    edges = np.unique(np.concatenate([below, points]))
    targets = np.full(edges.size + 1, points.size)
    targets[np.searchsorted(edges, points)] = np.arange(points.size)
    return edges, targets


def bins_of(feature: Feature, values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """int64[n]: the bins of values[n], of any numeric dtype. Integers beyond 2**53 are taken as the nearest float64."""
    numbers = values.astype(np.float64)
    edges, targets = thresholds(feature)
    found = targets[np.searchsorted(edges, numbers, side="left")]
    bins = len(feature.counts)
    found[np.isinf(numbers)] = bins - 1
    found[np.isnan(numbers)] = bins - 2
    return found
