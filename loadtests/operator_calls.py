"""The operator's side of a load profile: a few calls of `roost.v1.Admin`, each with a reason and an id of its own."""

from __future__ import annotations

import uuid

import grpc

from protos.roost.v1 import admin_pb2, admin_pb2_grpc

LOAD_S_MAX = 300.0
ANSWER_S_MAX = 10.0


class OperatorCalls:
    """One model's. Raises grpc.RpcError as the calls do."""

    def __init__(self, target: str, model: str, profile: str) -> None:
        self._channel = grpc.insecure_channel(target, [("grpc.enable_http_proxy", 0)])
        self._stub = admin_pb2_grpc.AdminStub(self._channel)
        self._model = model
        self._profile = profile

    def state(self) -> admin_pb2.ModelState:
        return self._stub.DescribeModel(
            admin_pb2.DescribeModelRequest(model=self._model), timeout=ANSWER_S_MAX, wait_for_ready=True
        ).model

    def deploy(self, version: str, weight_ppm: int) -> admin_pb2.ModelState:
        """Returns once the version has its share."""
        request = admin_pb2.DeployCanaryRequest(
            operation=self._operation(), model=self._model, version=version, weight_ppm=weight_ppm
        )
        return self._stub.DeployCanary(request, timeout=LOAD_S_MAX).models[0]

    def set_weight(self, canary_ppm: int) -> admin_pb2.ModelState:
        request = admin_pb2.SetTrafficWeightsRequest(
            operation=self._operation(), model=self._model, canary_ppm=canary_ppm
        )
        return self._stub.SetTrafficWeights(request, timeout=ANSWER_S_MAX).models[0]

    def rollback(self) -> None:
        request = admin_pb2.RollbackRequest(operation=self._operation(), model=self._model)
        self._stub.Rollback(request, timeout=ANSWER_S_MAX)

    def close(self) -> None:
        self._channel.close()

    def _operation(self) -> admin_pb2.Operation:
        return admin_pb2.Operation(operator=self._profile, reason="a load profile", request_id=str(uuid.uuid4()))
