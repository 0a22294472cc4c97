"""A tensor's elements as the numbers that are binned: float64, whatever the datatype.

Used by whoever builds a baseline and whoever counts recorded rows against one. The kernels read elements the same way.
Always: only tensors for which `has_columns` is true have features. Pure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from registry_client.tensors import Datatype, TensorSpec

Floats = npt.NDArray[np.float64]


def has_columns(spec: TensorSpec) -> bool:
    """True where the tensor is rows of a fixed number of numbers, each place of which can be a feature."""
    return spec.datatype is not Datatype.BYTES and spec.has_free_rows and spec.row_elements > 0


def numbers(datatype: Datatype, array: npt.NDArray[Any]) -> Floats:
    """float64 of the same shape. array: as `Datatype` says, BF16 as the uint16 that holds its bits."""
    with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN like any other
        if datatype is Datatype.BF16:
            # A bfloat16 is the upper half of a float32.
            return np.asarray((array.astype(np.uint32) << 16).view(np.float32), dtype=np.float64)
        return np.asarray(array, dtype=np.float64)


def places_of_largest(rows: Floats) -> Floats:
    """float64[n]: where the largest of each row of rows[n, width] stands, the first of equals; NaN where one is NaN."""
    places = np.asarray(rows.argmax(axis=1), dtype=np.float64)
    places[np.isnan(rows).any(axis=1)] = np.nan
    return places
