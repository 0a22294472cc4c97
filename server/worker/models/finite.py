"""Which rows of an output hold a float that is no number: for runs whose outputs no kernel sees.

Used for calls that run by themselves, and for shadows. Always: like the kernel's `rows_finite`, over the same types.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from registry_client.tensors import Datatype, TensorSpec

Array = npt.NDArray[Any]

# A bfloat16 whose exponent is all ones is an infinity or no number. numpy has its bits only.
EXPONENT_BF16: Final = 0x7F80
FLOATS: Final = frozenset({Datatype.FP16, Datatype.FP32, Datatype.FP64})


def finite(spec: TensorSpec, array: Array) -> npt.NDArray[np.bool_]:
    """Of the array's shape: False where an element is infinite or no number."""
    if spec.datatype is Datatype.BF16:
        bits: npt.NDArray[np.bool_] = (array & EXPONENT_BF16) != EXPONENT_BF16
        return bits
    return np.isfinite(array) if spec.datatype in FLOATS else np.ones(array.shape, dtype=np.bool_)


def all_finite(spec: TensorSpec, array: Array) -> bool:
    return bool(finite(spec, array).all())


def rows_not_finite(specs: tuple[TensorSpec, ...], outputs: dict[str, Array], rows: int) -> int:
    """How many of the first `rows` rows have such an element in any output."""
    bad = np.zeros(rows, dtype=np.bool_)
    for spec in specs:
        if spec.datatype in FLOATS or spec.datatype is Datatype.BF16:
            bad |= ~finite(spec, outputs[spec.name][:rows]).reshape(rows, -1).all(axis=1)
    return int(bad.sum())
