"""Peer: grpclib, whose HTTP/2 is hyper-h2's and not grpcio's; Predict and ModelInfer by callers in turn."""

import argparse
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpclib.client
import numpy as np
from concurrent_calls import INPUT, Answer, Call, arguments_of, run_peer

from protos.inference import grpc_service_pb2 as oip
from protos.roost.v1 import predict_pb2 as v1


@asynccontextmanager
async def connection(arguments: argparse.Namespace) -> AsyncIterator[Sequence[Call]]:
    host, port = arguments.target.rsplit(":", 1)
    async with grpclib.client.Channel(host, int(port)) as channel:
        predict_method = grpclib.client.UnaryUnaryMethod(
            channel, "/roost.v1.Prediction/Predict", v1.PredictRequest, v1.PredictReply
        )
        infer_method = grpclib.client.UnaryUnaryMethod(
            channel, "/inference.GRPCInferenceService/ModelInfer", oip.ModelInferRequest, oip.ModelInferResponse
        )

        async def predict(rows: np.ndarray) -> Answer:
            tensor = v1.Tensor(name=INPUT, datatype="FP32", shape=rows.shape, raw=rows.tobytes())
            reply = await predict_method(v1.PredictRequest(model=arguments.model, inputs=[tensor]))
            return {y.name: np.frombuffer(y.raw, np.float32).reshape(y.shape) for y in reply.outputs}

        async def infer(rows: np.ndarray) -> Answer:
            request = oip.ModelInferRequest(model_name=arguments.model, raw_input_contents=[rows.tobytes()])
            request.inputs.add(name=INPUT, datatype="FP32", shape=rows.shape)
            reply = await infer_method(request)
            contents = zip(reply.outputs, reply.raw_output_contents, strict=True)
            return {y.name: np.frombuffer(raw, np.float32).reshape(y.shape) for y, raw in contents}

        yield [predict, infer]


if __name__ == "__main__":
    run_peer(arguments_of(__doc__), connection)
