"""One element of a tensor as float64, whatever its type. Addresses are checked by the caller."""

from __future__ import annotations

import math

import numpy as np
from numba import carray

from native.inner import inner
from native.pointers import pointer
from native.wire.datatypes import (
    BF16,
    BOOL,
    FP16,
    FP32,
    FP64,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
)
from native.wire.kernel import int64


@inner("float64(int64)")
def half_value(bits: int) -> float:
    """The number that 16 bits of IEEE 754 binary16 stand for."""
    sign = -1.0 if bits & 0x8000 else 1.0
    exponent = (bits >> 10) & 0x1F
    fraction = bits & 0x3FF
    if exponent == 0x1F:
        return sign * np.inf if fraction == 0 else np.nan
    if exponent == 0:
        return sign * math.ldexp(float(fraction), -24)
    return sign * math.ldexp(float(fraction + 1024), exponent - 25)


@inner("float64(int64)")
def bfloat_value(bits: int) -> float:
    """The number that 16 bits of bfloat16 stand for: the upper half of a float32."""
    sign = -1.0 if bits & 0x8000 else 1.0
    exponent = (bits >> 7) & 0xFF
    fraction = bits & 0x7F
    if exponent == 0xFF:
        return sign * np.inf if fraction == 0 else np.nan
    if exponent == 0:
        return sign * math.ldexp(float(fraction), -133)
    return sign * math.ldexp(float(fraction + 128), exponent - 134)


@inner("float64(int64, int64)")
def element_value(address: int, datatype: int) -> float:
    """The element at an address, of a type with numbers (all of `native.wire.datatypes` but BYTES); else NaN."""
    if datatype == FP32:
        return float(carray(pointer(address), (1,), np.float32)[0])
    if datatype == FP64:
        return float(carray(pointer(address), (1,), np.float64)[0])
    if datatype == INT64:
        return float(carray(pointer(address), (1,), np.int64)[0])
    if datatype == INT32:
        return float(carray(pointer(address), (1,), np.int32)[0])
    if datatype in (UINT8, BOOL):
        return float(carray(pointer(address), (1,), np.uint8)[0])
    if datatype == INT8:
        return float(carray(pointer(address), (1,), np.int8)[0])
    if datatype == INT16:
        return float(carray(pointer(address), (1,), np.int16)[0])
    if datatype == UINT16:
        return float(carray(pointer(address), (1,), np.uint16)[0])
    if datatype == UINT32:
        return float(carray(pointer(address), (1,), np.uint32)[0])
    if datatype == UINT64:
        return float(carray(pointer(address), (1,), np.uint64)[0])
    if datatype in (FP16, BF16):
        bits = int64(carray(pointer(address), (1,), np.uint16)[0])
        return half_value(bits) if datatype == FP16 else bfloat_value(bits)
    return np.nan


@inner("float64(int64, int64, int64, int64)")
def largest_place(address: int, datatype: int, elements: int, element_bytes: int) -> float:
    """Where the largest of a row's elements stands, the first of equals; NaN where one of them is NaN."""
    best = int64(0)
    largest = element_value(address, datatype)
    for place in range(elements):
        value = element_value(address + place * element_bytes, datatype)
        if value != value:
            return np.nan
        if value > largest:
            largest, best = value, place
    return float(best)
