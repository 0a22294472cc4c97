"""Every method that is served, by its exact path. Listeners look up here and nowhere else."""

from __future__ import annotations

from types import MappingProxyType

from server.worker.servicers import health, open_inference, prediction
from server.worker.servicers.call import Method, StreamingMethod, UnaryMethod
from server.worker.status import StatusError, unknown_method

PREDICT = "/roost.v1.Prediction/Predict"
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"

METHODS: MappingProxyType[str, Method] = MappingProxyType(
    {
        PREDICT: UnaryMethod(prediction.predict),
        MODEL_INFER: UnaryMethod(open_inference.model_infer),
        "/inference.GRPCInferenceService/ServerLive": UnaryMethod(open_inference.server_live),
        "/inference.GRPCInferenceService/ServerReady": UnaryMethod(open_inference.server_ready),
        "/inference.GRPCInferenceService/ModelReady": UnaryMethod(open_inference.model_ready),
        "/inference.GRPCInferenceService/ServerMetadata": UnaryMethod(open_inference.server_metadata),
        "/inference.GRPCInferenceService/ModelMetadata": UnaryMethod(open_inference.model_metadata),
        "/grpc.health.v1.Health/Check": UnaryMethod(health.check),
        "/grpc.health.v1.Health/Watch": StreamingMethod(health.watch),
    }
)

SERVICES: tuple[str, ...] = tuple(dict.fromkeys(path.split("/")[1] for path in METHODS))


def method_not_served(path: str) -> StatusError:
    """The failure of a call whose path is not in METHODS."""
    return unknown_method(path, METHODS)
