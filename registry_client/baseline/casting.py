"""A file's numbers as a model's tensor takes them: what a caller would send, so that both fall into the same bins.

Used by `rows.py`. Always: a number that the tensor cannot hold is refused by column, row and value, but for floats,
which are rounded to the tensor's precision and overflow to infinity, as they do for a caller. Pure.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from registry_client.baseline.parquet import Cells
from registry_client.errors import BadDocument
from registry_client.tensors import Datatype

_FLOATS: Final = frozenset({Datatype.FP16, Datatype.FP32, Datatype.FP64, Datatype.BF16})


def cast(cells: Cells, datatype: Datatype, what: str, first_row: int) -> npt.NDArray[Any]:
    """The cells' values in the datatype's dtype. what: names file and column. first_row: the batch's, for the refusal.

    Missing values become NaN; a type that has none refuses them.
    """
    if datatype is Datatype.BYTES:
        return cells.values
    if datatype in _FLOATS:
        return _to_floats(cells, datatype)
    values = cells.values
    strange = np.zeros(values.shape, dtype=np.bool_) if cells.present is None else ~cells.present
    if strange.any():
        raise _refusal(what, datatype, "none", first_row, strange)
    if values.dtype.kind == "f":
        strange = ~np.isfinite(values) | (values != np.floor(values))
        if strange.any():
            raise _refusal(what, datatype, f"{values[strange][0]}", first_row, strange)
    low, high = (0, 1) if datatype is Datatype.BOOL else _bounds(datatype)
    if values.dtype.kind != "b":
        # As Python's integers, and floats above them: 2**63 as a float is beyond an int64, and compares so.
        strange = (values < low) | (values >= high + 1 if values.dtype.kind == "f" else values > high)
        if strange.any():
            raise _refusal(what, datatype, f"{values[strange][0]}", first_row, strange)
    return values.astype(datatype.numpy_dtype)


def _to_floats(cells: Cells, datatype: Datatype) -> npt.NDArray[Any]:
    single = Datatype.FP32 if datatype is Datatype.BF16 else datatype
    with np.errstate(over="ignore"):
        floats = cells.values.astype(single.numpy_dtype)
    if cells.present is not None:
        floats[~cells.present] = np.nan
    return floats if datatype is not Datatype.BF16 else _bfloat16(floats)


def _bfloat16(floats: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """The upper halves of float32[...], rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(floats).view(np.uint32)
    rounded = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(floats), np.uint16(0x7FC0), rounded)


def _bounds(datatype: Datatype) -> tuple[int, int]:
    limits = np.iinfo(datatype.numpy_dtype.name)
    return int(limits.min), int(limits.max)


def _refusal(
    what: str, datatype: Datatype, got: str, first_row: int, strange: npt.NDArray[np.bool_]
) -> BadDocument:
    row = first_row + int(np.argwhere(strange)[0][0])
    expected = "true or false" if datatype is Datatype.BOOL else "whole numbers"
    return BadDocument(
        f"{what}, row {row}", expected=f"{expected} for a tensor of {datatype.name}", got=got,
        hint="Write the values that the model is fed.",
    )  # fmt: skip
