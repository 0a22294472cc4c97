"""Tensors as ONNX Runtime holds them: over memory of ours, or made by a run and copied out.

Used by `native.ort.session`. Always: a Value frees what ONNX Runtime holds when its last reference goes, and keeps the
array whose memory it names; what is copied out belongs to the caller.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from native.ort.api import INVALID_ARGUMENT, Api, OrtError

Array = npt.NDArray[Any]

# ONNXTensorElementDataType, and the numpy type of the same bits. BFLOAT16 has none of its own.
FLOAT, UINT8, INT8, UINT16, INT16, INT32, INT64, STRING = range(1, 9)
BOOL, FLOAT16, DOUBLE, UINT32, UINT64 = range(9, 14)
BFLOAT16: Final = 16
NUMPY_TYPES: Final[dict[int, np.dtype[Any]]] = {
    FLOAT: np.dtype(np.float32),
    UINT8: np.dtype(np.uint8),
    INT8: np.dtype(np.int8),
    UINT16: np.dtype(np.uint16),
    INT16: np.dtype(np.int16),
    INT32: np.dtype(np.int32),
    INT64: np.dtype(np.int64),
    BOOL: np.dtype(np.bool_),
    FLOAT16: np.dtype(np.float16),
    DOUBLE: np.dtype(np.float64),
    UINT32: np.dtype(np.uint32),
    UINT64: np.dtype(np.uint64),
    BFLOAT16: np.dtype(np.uint16),
}


class Value:
    """An OrtValue. address: of it; keeps: what must live as long."""

    __slots__ = ("_api", "_keeps", "address")

    def __init__(self, api: Api, address: int, keeps: object = None) -> None:
        self._api = api
        self.address = address
        self._keeps = keeps

    def __del__(self) -> None:
        self._api.release("ReleaseValue", self.address)

    def shape_and_type(self) -> tuple[tuple[int, ...], int]:
        """Of a tensor, as a run has made it."""
        api = self._api
        described = api.made("GetTensorTypeAndShape", self.address)
        try:
            element_type, count = ctypes.c_int(), ctypes.c_size_t()
            api.call("GetTensorElementType", described, ctypes.byref(element_type))
            api.call("GetDimensionsCount", described, ctypes.byref(count))
            shape = (ctypes.c_int64 * count.value)()
            api.call("GetDimensions", described, shape, count.value)
        finally:
            api.release("ReleaseTensorTypeAndShapeInfo", described)
        return tuple(shape), element_type.value

    def array(self) -> Array:
        """The elements, copied. Those of a STRING tensor are `bytes` in an object array."""
        shape, element_type = self.shape_and_type()
        count = math.prod(shape)
        if element_type == STRING:
            texts = np.empty(count, dtype=object)
            texts[:] = self._texts(count)
            return texts.reshape(shape)
        dtype = NUMPY_TYPES[element_type]
        copied = np.empty(shape, dtype)
        if count:
            ctypes.memmove(copied.ctypes.data, self._api.made("GetTensorMutableData", self.address), copied.nbytes)
        return copied

    def _texts(self, count: int) -> list[bytes]:
        if count == 0:
            return []
        length, starts = ctypes.c_size_t(), (ctypes.c_size_t * count)()
        self._api.call("GetStringTensorDataLength", self.address, ctypes.byref(length))
        content = ctypes.create_string_buffer(max(length.value, 1))
        self._api.call("GetStringTensorContent", self.address, content, length.value, starts, count)
        ends = [*starts[1:], length.value]
        whole = content.raw
        return [whole[start:end] for start, end in zip(starts, ends, strict=True)]


def over_memory(
    api: Api, address: int, length_bytes: int, shape: Sequence[int], element_type: int, keeps: object = None
) -> Value:
    """A tensor whose elements lie at `address`, in C order, for as long as `keeps` or the caller sees to it."""
    dimensions = (ctypes.c_int64 * len(shape))(*shape)
    made = api.made(
        "CreateTensorWithDataAsOrtValue", api.memory, address, length_bytes, dimensions, len(shape), element_type
    )
    return Value(api, made, keeps)


def over_array(api: Api, array: Array, element_type: int) -> Value:
    """A tensor that reads an array, copied only where it is not contiguous. Raises OrtError for one of another type."""
    if array.dtype != NUMPY_TYPES[element_type]:
        text = f"Unexpected input data type. Actual: {array.dtype}, expected: {NUMPY_TYPES[element_type]}"
        raise OrtError(INVALID_ARGUMENT, text)
    contiguous = np.ascontiguousarray(array)
    # The array's own shape: ascontiguousarray makes a scalar [1].
    return over_memory(api, contiguous.ctypes.data, contiguous.nbytes, array.shape, element_type, contiguous)


def of_texts(api: Api, texts: Sequence[bytes], shape: Sequence[int]) -> Value:
    """A STRING tensor with copies of `texts`, which may hold NUL bytes."""
    dimensions = (ctypes.c_int64 * len(shape))(*shape)
    value = Value(api, api.made("CreateTensorAsOrtValue", api.allocator, dimensions, len(shape), STRING))
    for index, text in enumerate(texts):
        place = api.made("GetResizedStringTensorElementBuffer", value.address, index, len(text))
        ctypes.memmove(place, text, len(text))
    return value
