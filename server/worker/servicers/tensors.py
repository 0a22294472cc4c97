"""Tensors between messages and arrays: what a request's tensors must be, and what a reply's are.

Used by both predict methods. Always: no array is made before its element count was compared with the bytes that came,
and every refusal names the field by its path in the request ("inputs[1].shape"). BYTES elements are `bytes`, BF16 are
the uint16 that hold their bits; multi-byte elements are little-endian on the wire.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from registry_client.tensors import FREE_DIMENSION, Datatype, Signature, TensorSpec
from server.worker.status import BadInput, listed, quoted

Array = npt.NDArray[np.generic]

DIMENSION_MAX = 2**31 - 1
# A dimension of 0 makes any other cost no bytes; without a bound [1000000000, 0] asks a model for a billion rows.
EMPTY_DIMENSIONS_PRODUCT_MAX = 2**20
SHOWN_DIMENSIONS_MAX = 16
BYTES_LENGTH_PREFIX = struct.Struct("<I")

SIGNATURE_HINT = "ModelMetadata lists the model's inputs and outputs."


def shown_shape(shape: Sequence[int]) -> str:
    """A declared or a received shape; -1 is shown as "rows" in front and "any" elsewhere."""
    names = [str(size) if size >= 0 else ("rows" if index == 0 else "any") for index, size in enumerate(shape)]
    return _bracketed(names)


def _bracketed(sizes: Sequence[str]) -> str:
    more = ["..."] if len(sizes) > SHOWN_DIMENSIONS_MAX else []
    return "[" + ", ".join([*sizes[:SHOWN_DIMENSIONS_MAX], *more]) + "]"


def spec_of(field: str, name: str, specs: Iterable[TensorSpec], seen: Iterable[str]) -> TensorSpec:
    """The declared tensor of that name, which must not have been named before."""
    declared = {spec.name: spec for spec in specs}
    if name not in declared:
        raise BadInput(f"{field}.name", f"one of {listed(declared)}", quoted(name), SIGNATURE_HINT)
    if name in seen:
        raise BadInput(f"{field}.name", "each name once", f"{quoted(name)} again", "Send one tensor for each name.")
    return declared[name]


def checked_shape(field: str, spec: TensorSpec, datatype: str, shape: Sequence[int]) -> tuple[int, ...]:
    """The request's shape, once datatype and shape are the declared ones and its product is safe to compute with."""
    if datatype != spec.datatype.name:
        raise BadInput(f"{field}.datatype", spec.datatype.name, quoted(datatype), SIGNATURE_HINT)
    fits = len(shape) == len(spec.shape) and all(
        0 <= size <= DIMENSION_MAX and declared in (FREE_DIMENSION, size)
        for size, declared in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        got = _bracketed([str(size) for size in shape])
        raise BadInput(f"{field}.shape", shown_shape(spec.shape), got, SIGNATURE_HINT)
    if 0 in shape and math.prod(size for size in shape if size) > EMPTY_DIMENSIONS_PRODUCT_MAX:
        expected = f"at most {EMPTY_DIMENSIONS_PRODUCT_MAX} for the product of all dimensions but 0"
        raise BadInput(f"{field}.shape", expected, shown_shape(shape), "Send smaller tensors.")
    return tuple(shape)


def check_all_present(signature: Signature, seen: Mapping[str, object]) -> None:
    missing = [spec.name for spec in signature.inputs if spec.name not in seen]
    if missing:
        expected = f"{listed(spec.name for spec in signature.inputs)}"
        raise BadInput("inputs", expected, f"none named {listed(missing)}", SIGNATURE_HINT)


def check_same_rows(field_of: Mapping[str, str], inputs: Mapping[str, Array]) -> None:
    """For models whose rows are independent: every input has as many rows as the first."""
    first, *others = field_of
    rows = inputs[first].shape[0]
    for name in others:
        if inputs[name].shape[0] != rows:
            raise BadInput(
                f"{field_of[name]}.shape",
                f"{rows} rows, as {field_of[first]} has",
                f"{inputs[name].shape[0]} rows",
                "All inputs of a call have the same number of rows.",
            )


def wanted_outputs(names: Sequence[str], signature: Signature, field_name: Callable[[int], str]) -> list[TensorSpec]:
    """The outputs to reply with, in the order asked for; all that are declared where none is named."""
    if not names:
        return list(signature.outputs)
    declared = {spec.name: spec for spec in signature.outputs}
    wanted: dict[str, TensorSpec] = {}
    for index, name in enumerate(names):
        if name not in declared:
            raise BadInput(field_name(index), f"one of {listed(declared)}", quoted(name), SIGNATURE_HINT)
        if name in wanted:
            raise BadInput(field_name(index), "each output once", f"{quoted(name)} again", "Ask for it once.")
        wanted[name] = declared[name]
    return list(wanted.values())


def from_raw(field: str, datatype: Datatype, shape: tuple[int, ...], raw: bytes) -> Array:
    """Elements of one tensor from their packed bytes. `shape` has passed `checked_shape`."""
    if datatype is Datatype.BYTES:
        return from_elements(field, datatype, shape, _prefixed_elements(field, raw))
    expected_bytes = math.prod(shape) * datatype.width_bytes
    if len(raw) != expected_bytes:
        raise BadInput(
            field,
            f"{expected_bytes} bytes ({datatype.name} {shown_shape(shape)})",
            f"{len(raw)} bytes",
            "Elements are little-endian, row-major and without padding.",
        )
    if datatype is Datatype.BOOL:
        # Any byte but 0 is true, as in C; numpy must not see a bool that is neither 0 nor 1.
        truth: Array = np.frombuffer(raw, np.uint8) != 0
        return truth.reshape(shape)
    array: Array = np.frombuffer(raw, datatype.numpy_dtype.newbyteorder("<"))
    return array.reshape(shape)


def _prefixed_elements(field: str, raw: bytes) -> list[bytes]:
    """BYTES elements, each behind its length in four bytes, little-endian."""
    elements: list[bytes] = []
    position, end = 0, len(raw)
    while position < end:
        if end - position < BYTES_LENGTH_PREFIX.size:
            raise BadInput(
                field, "a length of 4 bytes in front of each element", f"{end - position} bytes at the end",
                "Write each element's length as a little-endian uint32, then its bytes.",
            )  # fmt: skip
        (length,) = BYTES_LENGTH_PREFIX.unpack_from(raw, position)
        position += BYTES_LENGTH_PREFIX.size
        if length > end - position:
            raise BadInput(
                field, f"{length} bytes for element {len(elements)}", f"{end - position} bytes",
                "Write each element's length as a little-endian uint32, then its bytes.",
            )  # fmt: skip
        elements.append(raw[position : position + length])
        position += length
    return elements


def from_elements(field: str, datatype: Datatype, shape: tuple[int, ...], elements: Sequence[object]) -> Array:
    """Elements of one tensor from a repeated field of its message, counted and, where narrower, ranged."""
    count = math.prod(shape)
    if len(elements) != count:
        expected = f"{count} elements ({datatype.name} {shown_shape(shape)})"
        raise BadInput(field, expected, f"{len(elements)} elements", "One element for each place of the shape.")
    if datatype is Datatype.BYTES:
        return _text_array(field, shape, elements)
    if datatype in NARROW:
        return _narrowed(field, datatype, shape, elements)
    return np.array(elements, dtype=datatype.numpy_dtype).reshape(shape)


# Types that travel in a wider field of InferTensorContents.
NARROW = (Datatype.INT8, Datatype.INT16, Datatype.UINT8, Datatype.UINT16)


def _narrowed(field: str, datatype: Datatype, shape: tuple[int, ...], elements: Sequence[object]) -> Array:
    wide = np.array(elements, dtype=np.int64)
    bounds = np.iinfo(datatype.numpy_dtype.name)
    outside = np.flatnonzero((wide < bounds.min) | (wide > bounds.max))
    if outside.size:
        index = int(outside[0])
        expected = f"{bounds.min} to {bounds.max} ({datatype.name})"
        raise BadInput(f"{field}[{index}]", expected, str(wide[index]), "Send values of the declared datatype.")
    return wide.astype(datatype.numpy_dtype).reshape(shape)


def _text_array(field: str, shape: tuple[int, ...], elements: Sequence[object]) -> Array:
    array = np.empty(len(elements), dtype=object)
    for index, element in enumerate(elements):
        assert isinstance(element, bytes)
        try:
            element.decode()
        except UnicodeDecodeError as error:
            raise BadInput(
                f"{field}[{index}]", "UTF-8", f"byte 0x{element[error.start]:02x} at {error.start}",
                "Strings of ONNX models are text.",
            ) from None  # fmt: skip
        array[index] = element
    return array.reshape(shape)


def to_raw(datatype: Datatype, array: Array) -> bytes:
    """The inverse of `from_raw`."""
    if datatype is Datatype.BYTES:
        return b"".join(BYTES_LENGTH_PREFIX.pack(len(element)) + element for element in array.ravel().tolist())
    return array.astype(datatype.numpy_dtype.newbyteorder("<"), copy=False).tobytes()
