"""Request bodies for h2load: one gRPC message with its 5-byte prefix, as a file for `h2load -d`.

Used by side-by-side runs. The same input gives the same bytes, so that a reply's size is known beforehand: h2load
counts any closed stream as a success, so the caller compares received bytes with `expected_body_bytes`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from protos.inference import grpc_service_pb2 as oip
from protos.roost.v1 import predict_pb2 as v1

PREDICT_PATH = "/roost.v1.Prediction/Predict"
MODEL_INFER_PATH = "/inference.GRPCInferenceService/ModelInfer"
HEADERS = ("content-type: application/grpc", "te: trailers")
PREFIX_BYTES = 5

_DATATYPES = {
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
}


def framed(message: bytes) -> bytes:
    """`message` as an uncompressed gRPC length-prefixed message: flag 0, length as big-endian uint32, the bytes."""
    return struct.pack(">BI", 0, len(message)) + message


def predict_message(model: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """A serialised PredictRequest with raw tensors. inputs: any fixed-width dtype and shape."""
    tensors = [
        v1.Tensor(name=name, datatype=_datatype(name, array), shape=array.shape, raw=_raw(array))
        for name, array in inputs.items()
    ]
    return v1.PredictRequest(model=model, inputs=tensors).SerializeToString()


def infer_message(model: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """A serialised ModelInferRequest with raw contents. inputs: any fixed-width dtype and shape."""
    request = oip.ModelInferRequest(model_name=model)
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype=_datatype(name, array), shape=array.shape)
        request.raw_input_contents.append(_raw(array))
    return request.SerializeToString()


def write_bodies(folder: Path, model: str, inputs: Mapping[str, np.ndarray]) -> dict[str, Path]:
    """Writes one body for each predict method into `folder`; returns method path to file."""
    bodies = {PREDICT_PATH: predict_message(model, inputs), MODEL_INFER_PATH: infer_message(model, inputs)}
    files = {}
    for path, message in bodies.items():
        files[path] = folder / (path.rsplit("/", 1)[1] + ".body")
        files[path].write_bytes(framed(message))
    return files


def expected_body_bytes(reply_message_bytes: int, requests: int) -> int:
    """DATA bytes that h2load must report for `requests` full answers: fewer means that errors were counted in."""
    return (PREFIX_BYTES + reply_message_bytes) * requests


def _datatype(name: str, array: np.ndarray) -> str:
    datatype = _DATATYPES.get(array.dtype.name)
    if datatype is None:
        raise ValueError(f"inputs[{name!r}]: expected a dtype of {', '.join(_DATATYPES)}, got {array.dtype}.")
    return datatype


def _raw(array: np.ndarray) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
