"""What a request means, slowly: read by google.protobuf's generated classes, judged by plain comparisons.

`predict_meaning` and `infer_meaning` say what the readers must have found where they answer OK, and where they have
no choice but to answer OK. Shares no code with the kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from native.wire.datatypes import DATATYPES
from native.wire.directory import WireModel, WireTensor
from protos.inference import grpc_service_pb2 as inference
from protos.roost.v1 import predict_pb2 as roost

CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
ALL_CONTENTS = (*sorted(set(CONTENTS.values())), "bytes_contents")
ID_BYTES_MAX = 64
TENSORS_MAX = 16


@dataclass(frozen=True)
class Meaning:
    """What a request asks for. columns: the bytes of each input's rows, in declared order."""

    model: int
    rows: int
    typed: bool
    outputs: tuple[str, ...]
    id: bytes
    routing_key: bytes
    columns: tuple[bytes, ...]
    # The inputs' types, so that a NaN may change its payload on the way through a Python float.
    datatypes: tuple[str, ...] = field(compare=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Meaning):
            return NotImplemented
        plain = lambda it: (it.model, it.rows, it.typed, it.outputs, it.id, it.routing_key)  # noqa: E731
        return plain(self) == plain(other) and all(map(_same_column, self.columns, other.columns, self.datatypes))

    __hash__ = None  # type: ignore[assignment]


def _same_column(left: bytes, right: bytes, datatype: str) -> bool:
    if datatype in ("FP32", "FP64") and len(left) == len(right):
        dtype = "<f4" if datatype == "FP32" else "<f8"
        return np.array_equal(np.frombuffer(left, dtype), np.frombuffer(right, dtype), equal_nan=True)
    return left == right


@dataclass(frozen=True)
class Verdict:
    """meaning: None where a kernel has to hand over. certain: True where a kernel may not."""

    meaning: Meaning | None
    certain: bool


NOT_FOR_KERNELS = Verdict(None, False)


def batches(model: WireModel) -> bool:
    tensors = model.inputs + model.outputs
    return (
        model.batchable
        and 1 <= len(model.inputs) <= TENSORS_MAX
        and 1 <= len(model.outputs) <= TENSORS_MAX
        and all(
            len(tensor.shape) in range(1, 17)
            and tensor.shape[0] == -1
            and min(tensor.shape[1:], default=1) > 0
            and DATATYPES[tensor.datatype].name != "BYTES"
            for tensor in tensors
        )
    )


def _find_model(models: Sequence[WireModel], name: str, version: str) -> int | None:
    for index, model in enumerate(models):
        if model.name == name:
            return index if batches(model) and version in ("", model.version) else None
    return None


def _wanted(model: WireModel, names: Sequence[str]) -> tuple[str, ...] | None:
    declared = [tensor.name for tensor in model.outputs]
    if not names:
        return tuple(declared)
    if any(name not in declared for name in names) or len(names) > TENSORS_MAX:
        return None
    positions = [declared.index(name) for name in names]
    return tuple(names) if positions == sorted(set(positions)) else None


def _columns(
    model: WireModel, tensors: Sequence[Any], elements_of: Callable[[int, WireTensor], bytes | None]
) -> tuple[int, tuple[bytes, ...]] | None:
    """(rows, bytes of each input in declared order), or None where anything is not as declared."""
    if sorted(tensor.name for tensor in tensors) != sorted(tensor.name for tensor in model.inputs):
        return None
    position = {tensor.name: index for index, tensor in enumerate(tensors)}
    rows: set[int] = set()
    columns = []
    for declared in model.inputs:
        tensor = tensors[position[declared.name]]
        kind = DATATYPES[declared.datatype]
        if tensor.datatype != kind.name or len(tensor.shape) != len(declared.shape):
            return None
        if list(tensor.shape[1:]) != list(declared.shape[1:]) or not 1 <= tensor.shape[0] <= model.max_rows:
            return None
        content = elements_of(position[declared.name], declared)
        if content is None or len(content) != int(np.prod(tensor.shape, dtype=object)) * kind.width_bytes:
            return None
        if kind.name == "BOOL" and not set(content) <= {0, 1}:
            return None
        rows.add(tensor.shape[0])
        columns.append(content)
    return (rows.pop(), tuple(columns)) if len(rows) == 1 else None


def _packed(values: Sequence[Any], datatype: str) -> bytes | None:
    """Little-endian elements of a typed field's values; None where one does not fit."""
    dtype = np.dtype(DATATYPES[next(code for code, kind in DATATYPES.items() if kind.name == datatype)].numpy_name)
    if dtype.kind in "iu" and any(not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max for value in values):
        return None
    return np.array(values, dtype=dtype.newbyteorder("<")).tobytes()


def predict_meaning(message: bytes, models: Sequence[WireModel]) -> Verdict:
    try:
        request = roost.PredictRequest.FromString(message)
    except DecodeError:
        return NOT_FOR_KERNELS
    index = _find_model(models, request.model, request.version)
    if index is None:
        return NOT_FOR_KERNELS
    model = models[index]

    def elements_of(position: int, declared: WireTensor) -> bytes | None:
        tensor = request.inputs[position]
        if tensor.bytes_values or (tensor.raw and tensor.float_values):
            return None
        if tensor.float_values:
            return _packed(tensor.float_values, "FP32") if declared.kind.name == "FP32" else None
        return tensor.raw

    wanted = _wanted(model, request.outputs)
    found = _columns(model, request.inputs, elements_of)
    if wanted is None or found is None:
        return NOT_FOR_KERNELS
    key = request.routing_key.encode()
    meaning = Meaning(
        index, found[0], False, wanted, b"", key, found[1], tuple(tensor.kind.name for tensor in model.inputs)
    )
    request.DiscardUnknownFields()
    return Verdict(meaning, key.isascii() and request.SerializeToString(deterministic=True) == message)


def infer_meaning(message: bytes, models: Sequence[WireModel]) -> Verdict:
    try:
        request = inference.ModelInferRequest.FromString(message)
    except DecodeError:
        return NOT_FOR_KERNELS
    index = _find_model(models, request.model_name, request.model_version)
    if index is None or request.parameters or len(request.id.encode()) > ID_BYTES_MAX:
        return NOT_FOR_KERNELS
    if any(tensor.parameters for tensor in [*request.inputs, *request.outputs]):
        return NOT_FOR_KERNELS
    model = models[index]
    typed = not request.raw_input_contents
    if not typed and len(request.raw_input_contents) != len(request.inputs):
        return NOT_FOR_KERNELS
    if typed and any(tensor.kind.name not in CONTENTS for tensor in model.outputs):
        return NOT_FOR_KERNELS

    def elements_of(position: int, declared: WireTensor) -> bytes | None:
        contents = request.inputs[position].contents
        present = [name for name in ALL_CONTENTS if getattr(contents, name)]
        if not typed:
            return None if present else request.raw_input_contents[position]
        if present != [CONTENTS.get(declared.kind.name)]:
            return None
        return _packed(getattr(contents, present[0]), declared.kind.name)

    wanted = _wanted(model, [tensor.name for tensor in request.outputs])
    found = _columns(model, request.inputs, elements_of)
    if wanted is None or found is None:
        return NOT_FOR_KERNELS
    meaning = Meaning(
        index,
        found[0],
        typed,
        wanted,
        request.id.encode(),
        b"",
        found[1],
        tuple(tensor.kind.name for tensor in model.inputs),
    )
    # An empty `contents` beside raw ones means nothing, and no client sends one.
    plain = typed or not any(tensor.HasField("contents") for tensor in request.inputs)
    request.DiscardUnknownFields()
    canonical = request.SerializeToString(deterministic=True) == message
    return Verdict(meaning, plain and request.id.isascii() and canonical)
