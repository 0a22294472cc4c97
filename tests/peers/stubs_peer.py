"""Peer: grpcio's generated stubs, Predict and ModelInfer, raw and typed, by callers in turn."""

import argparse
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc.aio
import numpy as np
from concurrent_calls import INPUT, Answer, Call, arguments_of, run_peer

from protos.inference import grpc_service_pb2 as oip
from protos.inference import grpc_service_pb2_grpc as oip_grpc
from protos.roost.v1 import predict_pb2 as v1
from protos.roost.v1 import predict_pb2_grpc as v1_grpc

DTYPES = {"FP32": np.float32}


@asynccontextmanager
async def connection(arguments: argparse.Namespace) -> AsyncIterator[Sequence[Call]]:
    async with grpc.aio.insecure_channel(arguments.target) as channel:
        prediction, inference = v1_grpc.PredictionStub(channel), oip_grpc.GRPCInferenceServiceStub(channel)

        async def predict(rows: np.ndarray) -> Answer:
            tensor = v1.Tensor(name=INPUT, datatype="FP32", shape=rows.shape, raw=rows.tobytes())
            reply = await prediction.Predict(v1.PredictRequest(model=arguments.model, inputs=[tensor]))
            return {y.name: np.frombuffer(y.raw, DTYPES[y.datatype]).reshape(y.shape) for y in reply.outputs}

        async def infer(rows: np.ndarray) -> Answer:
            request = oip.ModelInferRequest(model_name=arguments.model, raw_input_contents=[rows.tobytes()])
            request.inputs.add(name=INPUT, datatype="FP32", shape=rows.shape)
            reply = await inference.ModelInfer(request)
            contents = zip(reply.outputs, reply.raw_output_contents, strict=True)
            return {y.name: np.frombuffer(raw, DTYPES[y.datatype]).reshape(y.shape) for y, raw in contents}

        async def infer_typed(rows: np.ndarray) -> Answer:
            request = oip.ModelInferRequest(model_name=arguments.model)
            tensor = request.inputs.add(name=INPUT, datatype="FP32", shape=rows.shape)
            tensor.contents.fp32_contents.extend(rows.ravel().tolist())
            reply = await inference.ModelInfer(request)
            if reply.raw_output_contents:
                contents = [np.frombuffer(raw, np.float32) for raw in reply.raw_output_contents]
            else:
                contents = [np.array(y.contents.fp32_contents, DTYPES[y.datatype]) for y in reply.outputs]
            return {y.name: flat.reshape(y.shape) for y, flat in zip(reply.outputs, contents, strict=True)}

        yield [predict, infer, infer_typed]


if __name__ == "__main__":
    run_peer(arguments_of(__doc__), connection)
