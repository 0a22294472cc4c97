"""Tensor types as the Open Inference Protocol names them, and the signature of a model.

Used by everything that speaks of inputs and outputs: bundles, kernels' directories, servicers, clients of the registry.
Always: a datatype's `code` is stable, since compiled kernels and manifests hold it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np


class Datatype(Enum):
    """An element type: its code in kernels, its width in bytes (0 for BYTES) and its numpy dtype.

    FP16 is numpy's float16; BF16 has no numpy dtype and travels as the uint16 that holds its bits.
    BYTES elements are Python `bytes` in an object array.
    """

    BOOL = (1, 1, "bool")
    UINT8 = (2, 1, "uint8")
    UINT16 = (3, 2, "uint16")
    UINT32 = (4, 4, "uint32")
    UINT64 = (5, 8, "uint64")
    INT8 = (6, 1, "int8")
    INT16 = (7, 2, "int16")
    INT32 = (8, 4, "int32")
    INT64 = (9, 8, "int64")
    FP16 = (10, 2, "float16")
    FP32 = (11, 4, "float32")
    FP64 = (12, 8, "float64")
    BF16 = (13, 2, "uint16")
    BYTES = (14, 0, "object")

    def __init__(self, code: int, width_bytes: int, numpy_name: str) -> None:
        self.code = code
        self.width_bytes = width_bytes
        self.numpy_dtype: np.dtype[np.generic] = np.dtype(numpy_name)


FREE_DIMENSION = -1


@dataclass(frozen=True)
class TensorSpec:
    """A named input or output. shape: -1 stands for a dimension of any size; () is a scalar."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]

    @property
    def has_free_rows(self) -> bool:
        """True where the first dimension is free and all others are fixed: the shape that batches."""
        return bool(self.shape) and self.shape[0] == FREE_DIMENSION and FREE_DIMENSION not in self.shape[1:]

    @property
    def row_elements(self) -> int:
        """Elements in one row (all dimensions but the first). Only where `has_free_rows`."""
        return int(np.prod(self.shape[1:], dtype=np.int64))

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of a fixed-width type. Only where `has_free_rows`."""
        return self.row_elements * self.datatype.width_bytes


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives, in the order in which its graph declares them."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
