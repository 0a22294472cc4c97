"""Requests and replies between numpy and both protocols' generated classes, and protobuf written by hand.

Shares no code with the server. BYTES arrays hold `bytes`, BF16 arrays the uint16 of the bits.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

from protos.inference import grpc_service_pb2 as inference
from protos.roost.v1 import predict_pb2

PREDICT = "/roost.v1.Prediction/Predict"
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"

DATATYPE_OF = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "int8": "INT8",
    "int16": "INT16", "int32": "INT32", "int64": "INT64", "float16": "FP16", "float32": "FP32", "float64": "FP64",
    "object": "BYTES",
}  # fmt: skip
DTYPE_OF = {datatype: dtype for dtype, datatype in DATATYPE_OF.items()} | {"BF16": "uint16"}
CONTENTS_OF = {
    "BOOL": "bool_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip

Inputs = Mapping[str, np.ndarray]


def datatype_of(array: np.ndarray, datatypes: Mapping[str, str], name: str) -> str:
    return datatypes.get(name, DATATYPE_OF[array.dtype.name])


def packed(array: np.ndarray) -> bytes:
    """Raw contents: little-endian elements; BYTES behind their lengths."""
    if array.dtype == object:
        return b"".join(struct.pack("<I", len(element)) + element for element in array.ravel())
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def unpacked(datatype: str, shape: Sequence[int], raw: bytes) -> np.ndarray:
    if datatype != "BYTES":
        return np.frombuffer(raw, np.dtype(DTYPE_OF[datatype]).newbyteorder("<")).reshape(shape)
    elements, position = [], 0
    while position < len(raw):
        (length,) = struct.unpack_from("<I", raw, position)
        elements.append(raw[position + 4 : position + 4 + length])
        position += 4 + length
    return _objects(elements, shape)


def _objects(elements: Sequence[object], shape: Sequence[int]) -> np.ndarray:
    array = np.empty(len(elements), dtype=object)
    array[:] = list(elements)
    return array.reshape(shape)


def predict_request(
    model: str,
    inputs: Inputs,
    *,
    datatypes: Mapping[str, str] | None = None,
    outputs: Sequence[str] = (),
    **fields: str,
) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest(model=model, outputs=outputs, **fields)
    for name, array in inputs.items():
        tensor = request.inputs.add(name=name, datatype=datatype_of(array, datatypes or {}, name), shape=array.shape)
        if array.dtype == object:
            tensor.bytes_values.extend(array.ravel().tolist())
        else:
            tensor.raw = packed(array)
    return request


def predict_outputs(reply: predict_pb2.PredictReply) -> dict[str, np.ndarray]:
    return {
        tensor.name: _objects(tensor.bytes_values, tensor.shape)
        if tensor.datatype == "BYTES"
        else unpacked(tensor.datatype, tensor.shape, tensor.raw)
        for tensor in reply.outputs
    }


def infer_request(
    model: str,
    inputs: Inputs,
    *,
    raw: bool = True,
    datatypes: Mapping[str, str] | None = None,
    outputs: Sequence[str] = (),
    **fields: str,
) -> inference.ModelInferRequest:
    request = inference.ModelInferRequest(model_name=model, **fields)
    for name in outputs:
        request.outputs.add(name=name)
    for name, array in inputs.items():
        datatype = datatype_of(array, datatypes or {}, name)
        tensor = request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        if raw:
            request.raw_input_contents.append(packed(array))
        else:
            getattr(tensor.contents, CONTENTS_OF[datatype]).extend(array.ravel().tolist())
    return request


def infer_outputs(reply: inference.ModelInferResponse) -> dict[str, np.ndarray]:
    arrays = {}
    for index, tensor in enumerate(reply.outputs):
        if reply.raw_output_contents:
            arrays[tensor.name] = unpacked(tensor.datatype, tensor.shape, reply.raw_output_contents[index])
        elif tensor.datatype == "BYTES":
            arrays[tensor.name] = _objects(tensor.contents.bytes_contents, tensor.shape)
        else:
            values = getattr(tensor.contents, CONTENTS_OF[tensor.datatype])
            arrays[tensor.name] = np.array(values, DTYPE_OF[tensor.datatype]).reshape(tensor.shape)
    return arrays


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def tag(field: int, wire_type: int) -> bytes:
    return varint(field << 3 | wire_type)


def delimited(field: int, payload: bytes | str) -> bytes:
    payload = payload.encode() if isinstance(payload, str) else payload
    return tag(field, 2) + varint(len(payload)) + payload


# One unknown field of every wire type: varint, 8 bytes, delimited, group with a field inside, 4 bytes.
UNKNOWN_FIELDS = (
    tag(1000, 0) + varint(2**64 - 1),
    tag(1001, 1) + bytes(8),
    delimited(1002, b"whatever"),
    tag(1003, 3) + tag(7, 0) + varint(1) + tag(1003, 4),
    tag(1004, 5) + bytes(4),
)
