"""Arrays to tensors of the wire and back. Used by both clients; pure.

Always: what is sent is row-major and little-endian whatever the array's strides and byte order were, and what is
received is an array of the machine's byte order that the caller owns and may write to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from roost.errors import BadReply, InvalidInput
from roost.v1 import predict_pb2

Array = npt.NDArray[Any]

DATATYPES: dict[str, str] = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "bfloat16": "BF16",  # package ml_dtypes registers it with numpy
}
# BF16 has no dtype in numpy itself: replies hold its bits.
_DTYPES = {datatype: np.dtype(name) for name, datatype in DATATYPES.items() if name != "bfloat16"}
_DTYPES["BF16"] = np.dtype(np.uint16)

_TEXT_KINDS = "SUOT"  # bytes, str, object and numpy's variable-width strings


def tensor_of(name: str, values: npt.ArrayLike) -> predict_pb2.Tensor:
    """The tensor named `name` for an array, a scalar or nested lists; () is a scalar's shape.

    Numbers and bool go as raw bytes; bytes and str (as UTF-8), in an S, U or object array, go as BYTES.
    Raises InvalidInput, naming the input, where no datatype of the protocol fits.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise InvalidInput(
            f"inputs[{name!r}]: expected an array, got a masked array. Fill it first: array.filled(value)."
        )
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InvalidInput(f"inputs[{name!r}]: expected an array, got values that make none: {error}.") from error
    if array.dtype.kind in _TEXT_KINDS:
        elements = [_element_bytes(name, index, element) for index, element in enumerate(array.ravel().tolist())]
        return predict_pb2.Tensor(name=name, datatype="BYTES", shape=array.shape, bytes_values=elements)
    datatype = DATATYPES.get(array.dtype.name)
    if datatype is None:
        raise InvalidInput(
            f"inputs[{name!r}]: expected dtype {', '.join(DATATYPES)}, bytes or str, got {array.dtype}. "
            "Convert it with .astype(...); model_metadata() lists what the model takes."
        )
    if array.dtype.byteorder in "=<>":
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return predict_pb2.Tensor(name=name, datatype=datatype, shape=array.shape, raw=array.tobytes())


def array_of(tensor: predict_pb2.Tensor) -> Array:
    """The array that a reply's tensor stands for: BYTES as an object array of `bytes`, BF16 as uint16 bits.

    Raises BadReply, naming the output, where datatype, shape and contents disagree.
    """
    shape = tuple(tensor.shape)
    if any(size < 0 for size in shape):
        raise BadReply(f"outputs[{tensor.name!r}].shape: expected sizes of 0 or more, got {list(shape)}.")
    elements = math.prod(shape)  # exact: the product of hostile sizes may exceed 64 bits
    if tensor.datatype == "BYTES":
        _check_count(tensor.name, "bytes_values", elements, len(tensor.bytes_values))
        return _object_array(tensor.bytes_values, shape)
    dtype = _DTYPES.get(tensor.datatype)
    if dtype is None:
        raise BadReply(
            f"outputs[{tensor.name!r}].datatype: unknown datatype {tensor.datatype!r}. Is the client too old?"
        )
    if tensor.float_values and tensor.datatype == "FP32":
        _check_count(tensor.name, "float_values", elements, len(tensor.float_values))
        return np.array(tensor.float_values, dtype).reshape(shape)
    _check_count(tensor.name, "bytes of raw", elements * dtype.itemsize, len(tensor.raw))
    return np.frombuffer(tensor.raw, dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def _element_bytes(name: str, index: int, element: object) -> bytes:
    if isinstance(element, bytes):
        return element
    if isinstance(element, str):
        try:
            return element.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(f"inputs[{name!r}]: expected text that is valid UTF-8, got {element!r}.") from error
    raise InvalidInput(
        f"inputs[{name!r}]: expected bytes or str in an object array, got {type(element).__name__} at {index}. "
        "Give numbers a numeric dtype: .astype(np.float32)."
    )


def _object_array(elements: Sequence[bytes], shape: tuple[int, ...]) -> Array:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array.reshape(shape)


def _check_count(name: str, what: str, expected: int, got: int) -> None:
    if expected != got:
        raise BadReply(f"outputs[{name!r}]: expected {expected} {what} for its shape, got {got}.")
