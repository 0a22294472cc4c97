"""The plain server that benchmarks compare with: grpc.aio, uvloop, generated stubs, one `session.run` for each request.

It is what a careful team writes in an afternoon: Predict and ModelInfer of ONNX files, no batching, no lifecycle.
Run it: `python -m benchmarks.plain_server --onnx mlp=mlp.onnx --port 0 --ready-file ready.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from pathlib import Path

import grpc
import numpy as np
import onnxruntime as ort
import uvloop

from protos.inference import grpc_service_pb2 as oip
from protos.inference import grpc_service_pb2_grpc as oip_grpc
from protos.roost.v1 import predict_pb2 as v1
from protos.roost.v1 import predict_pb2_grpc as v1_grpc

DTYPES = {"FP32": np.float32, "FP64": np.float64, "INT32": np.int32, "INT64": np.int64}
DATATYPES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


class PlainServicer(v1_grpc.PredictionServicer, oip_grpc.GRPCInferenceServiceServicer):
    """Both predict methods over one session for each model."""

    def __init__(self, files: dict[str, str]) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.sessions = {name: ort.InferenceSession(path, options) for name, path in files.items()}
        self.outputs = {name: [o.name for o in session.get_outputs()] for name, session in self.sessions.items()}

    async def _run(self, model: str, feed: dict, context) -> list:
        if model not in self.sessions:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"model: expected {list(self.sessions)}, got {model!r}.")
        return list(zip(self.outputs[model], self.sessions[model].run(None, feed), strict=True))

    async def Predict(self, request, context):
        feed = {t.name: np.frombuffer(t.raw, DTYPES[t.datatype]).reshape(t.shape) for t in request.inputs}
        found = await self._run(request.model, feed, context)
        tensors = [v1.Tensor(name=n, datatype=DATATYPES[y.dtype], shape=y.shape, raw=y.tobytes()) for n, y in found]
        return v1.PredictReply(model=request.model, version="1", variant="stable", outputs=tensors)

    async def ModelInfer(self, request, context):
        typed = [np.array(t.contents.fp32_contents, np.float32) for t in request.inputs]
        pairs = zip(request.inputs, request.raw_input_contents or typed, strict=True)
        feed = {t.name: np.frombuffer(raw, DTYPES[t.datatype]).reshape(t.shape) for t, raw in pairs}
        found = await self._run(request.model_name, feed, context)
        reply = oip.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
        for name, y in found:
            reply.outputs.add(name=name, datatype=DATATYPES[y.dtype], shape=y.shape)
            reply.raw_output_contents.append(y.tobytes())
        return reply


async def serve(files: dict[str, str], port: int, ready_file: Path | None) -> None:
    """Serves until SIGTERM or SIGINT. `ready_file` receives the real address as JSON once the port answers."""
    server = grpc.aio.server()
    servicer = PlainServicer(files)
    v1_grpc.add_PredictionServicer_to_server(servicer, server)
    oip_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    if ready_file is not None:
        scratch = ready_file.with_suffix(".partial")
        scratch.write_text(json.dumps({"listen": f"127.0.0.1:{bound}", "pid": os.getpid()}))
        scratch.replace(ready_file)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await server.stop(grace=1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve ONNX files over plain grpc.aio, to compare with.")
    parser.add_argument("--onnx", metavar="NAME=FILE", action="append", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ready-file", type=Path)
    arguments = parser.parse_args()
    uvloop.run(serve(dict(pair.split("=", 1) for pair in arguments.onnx), arguments.port, arguments.ready_file))


if __name__ == "__main__":
    main()
