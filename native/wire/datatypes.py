"""Element types as kernels know them: code, name on the wire, width, numpy type, and where typed contents put them.

Used by the directory and by the readers and writers. The codes are those of the artifact's signature, restated here
because `native` imports nothing of ours; a test holds the two tables together.
Always: width_bytes is 0 for exactly the types whose elements have no fixed width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

BOOL: Final = 1
UINT8: Final = 2
UINT16: Final = 3
UINT32: Final = 4
UINT64: Final = 5
INT8: Final = 6
INT16: Final = 7
INT32: Final = 8
INT64: Final = 9
FP16: Final = 10
FP32: Final = 11
FP64: Final = 12
BF16: Final = 13
BYTES: Final = 14

# Field numbers of InferTensorContents. A type without one travels as raw bytes only.
NO_CONTENTS: Final = 0
BOOL_CONTENTS: Final = 1
INT_CONTENTS: Final = 2
INT64_CONTENTS: Final = 3
UINT_CONTENTS: Final = 4
UINT64_CONTENTS: Final = 5
FP32_CONTENTS: Final = 6
FP64_CONTENTS: Final = 7
BYTES_CONTENTS: Final = 8


@dataclass(frozen=True)
class WireDatatype:
    """One element type. contents_field: its field in InferTensorContents, NO_CONTENTS where there is none."""

    code: int
    name: str
    width_bytes: int
    numpy_name: str
    contents_field: int

    @property
    def numpy_dtype(self) -> np.dtype[np.generic]:
        return np.dtype(self.numpy_name)


DATATYPES: Final[dict[int, WireDatatype]] = {
    row.code: row
    for row in (
        WireDatatype(BOOL, "BOOL", 1, "bool", BOOL_CONTENTS),
        WireDatatype(UINT8, "UINT8", 1, "uint8", UINT_CONTENTS),
        WireDatatype(UINT16, "UINT16", 2, "uint16", UINT_CONTENTS),
        WireDatatype(UINT32, "UINT32", 4, "uint32", UINT_CONTENTS),
        WireDatatype(UINT64, "UINT64", 8, "uint64", UINT64_CONTENTS),
        WireDatatype(INT8, "INT8", 1, "int8", INT_CONTENTS),
        WireDatatype(INT16, "INT16", 2, "int16", INT_CONTENTS),
        WireDatatype(INT32, "INT32", 4, "int32", INT_CONTENTS),
        WireDatatype(INT64, "INT64", 8, "int64", INT64_CONTENTS),
        WireDatatype(FP16, "FP16", 2, "float16", NO_CONTENTS),
        WireDatatype(FP32, "FP32", 4, "float32", FP32_CONTENTS),
        WireDatatype(FP64, "FP64", 8, "float64", FP64_CONTENTS),
        WireDatatype(BF16, "BF16", 2, "uint16", NO_CONTENTS),
        WireDatatype(BYTES, "BYTES", 0, "object", BYTES_CONTENTS),
    )
}
