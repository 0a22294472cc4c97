"""Replies, slowly: built with google.protobuf's generated classes and framed by `struct`."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from native.wire.directory import WireModel
from protos.inference import grpc_service_pb2 as inference
from protos.roost.v1 import predict_pb2 as roost
from tests.oracles.messages import CONTENTS

Column = npt.NDArray[Any]


def framed(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


def predict_reply(model: WireModel, wanted: Sequence[int], columns: Sequence[Column], rows: slice) -> bytes:
    reply = roost.PredictReply(
        model=model.name, version=model.version, digest_prefix=model.digest_prefix, variant=model.variant
    )
    for index in wanted:
        output, array = model.outputs[index], columns[index][rows]
        reply.outputs.add(name=output.name, datatype=output.kind.name, shape=array.shape, raw=array.tobytes())
    return framed(reply.SerializeToString(deterministic=True))


def infer_reply(
    model: WireModel, wanted: Sequence[int], columns: Sequence[Column], rows: slice, request_id: bytes, typed: bool
) -> bytes:
    reply = inference.ModelInferResponse(model_name=model.name, model_version=model.version, id=request_id.decode())
    reply.parameters["variant"].string_param = model.variant
    reply.parameters["digest_prefix"].string_param = model.digest_prefix
    for index in wanted:
        output, array = model.outputs[index], np.ascontiguousarray(columns[index][rows])
        tensor = reply.outputs.add(name=output.name, datatype=output.kind.name, shape=array.shape)
        if typed:
            getattr(tensor.contents, CONTENTS[output.kind.name]).extend(array.ravel().tolist())
        else:
            reply.raw_output_contents.append(array.tobytes())
    return framed(reply.SerializeToString(deterministic=True))
