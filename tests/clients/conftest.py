"""Servers that client tests call: Roost by either listener, and a scripted one for what Roost rarely says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from onnx import TensorProto

from benchmarks.models import echo_model, mlp_model
from benchmarks.servers import Served, roost_command, served
from roost.v1 import predict_pb2, predict_pb2_grpc

Handler = Callable[[predict_pb2.PredictRequest, grpc.ServicerContext], predict_pb2.PredictReply]

ECHO_KINDS = {
    "bool": TensorProto.BOOL,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "text": TensorProto.STRING,
}


def echo_reply(request: predict_pb2.PredictRequest, _: grpc.ServicerContext) -> predict_pb2.PredictReply:
    """Hands the inputs back as outputs."""
    return predict_pb2.PredictReply(
        model=request.model,
        version="7",
        digest_prefix="0123456789ab",
        variant="stable",
        prediction_id="p1",
        outputs=request.inputs,
    )


@dataclass
class Scripted(predict_pb2_grpc.PredictionServicer):
    """A servicer that answers as the test's `handler` says and keeps what came."""

    target: str = ""
    handler: Handler = echo_reply
    requests: list[predict_pb2.PredictRequest] = field(default_factory=list)
    peers: list[str] = field(default_factory=list)

    def Predict(self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext) -> predict_pb2.PredictReply:
        self.requests.append(request)
        self.peers.append(context.peer())
        return self.handler(request, context)


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    servicer = Scripted()
    predict_pb2_grpc.add_PredictionServicer_to_server(servicer, server)
    servicer.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield servicer
    server.stop(grace=0).wait()


@pytest.fixture(scope="session", params=("fast", "grpcio"))
def roost_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Roost with the perceptron as `mlp`, and `echo`, which gives every type back under the name `<input>_echo`."""
    folder: Path = tmp_path_factory.mktemp(f"roost-{request.param}")
    files = {"mlp": folder / "mlp.onnx", "echo": folder / "echo.onnx", "scalar": folder / "scalar.onnx"}
    files["mlp"].write_bytes(mlp_model())
    files["echo"].write_bytes(echo_model({name: (kind, ["rows", 2]) for name, kind in ECHO_KINDS.items()}))
    files["scalar"].write_bytes(echo_model({"x": (TensorProto.FLOAT, [])}))
    with served(roost_command(files, request.param), folder) as server:
        yield server
