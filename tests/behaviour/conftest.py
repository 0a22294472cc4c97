"""One worker for each listener, serving every model of `served_models`, for the whole session."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest

from protos.inference import grpc_service_pb2_grpc
from protos.roost.v1 import predict_pb2_grpc
from server.settings import BatchingSettings, LimitSettings, ModelSettings, ServerSettings, Settings
from tests.behaviour.served_models import bare, write_models
from tests.behaviour.worker_process import LISTENERS, WorkerProcess

MAX_BATCH_SIZE = 64
MESSAGE_BYTES_MAX = 256 * 1024


def settings_for(paths: dict[str, Path]) -> Settings:
    """Small limits, so that a test can go over them."""
    return Settings(
        server=ServerSettings(drain_timeout_s=5.0),
        batching=BatchingSettings(max_batch_size=MAX_BATCH_SIZE),
        limits=LimitSettings(message_bytes_max=MESSAGE_BYTES_MAX),
        models=tuple(ModelSettings(name=name, onnx=path) for name, path in paths.items()),
    )


@dataclass(frozen=True)
class Served:
    """A worker with its models and a channel to it."""

    worker: WorkerProcess
    paths: dict[str, Path]
    channel: grpc.Channel

    @property
    def predict(self) -> grpc.UnaryUnaryMultiCallable:
        return predict_pb2_grpc.PredictionStub(self.channel).Predict

    @property
    def inference(self) -> grpc_service_pb2_grpc.GRPCInferenceServiceStub:
        return grpc_service_pb2_grpc.GRPCInferenceServiceStub(self.channel)

    def call(self, path: str, message: bytes, **options: object) -> bytes:
        """A unary call in bytes."""
        return self.channel.unary_unary(path)(message, **{"timeout": 20.0, **options})

    def bare(self, model: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return bare(self.paths[model], inputs)


@pytest.fixture(scope="session")
def model_paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def workers(model_paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    """Started when first asked for, all stopped at the end; each must then exit with 0."""
    folder = tmp_path_factory.mktemp("workers")
    started: dict[str, Served] = _Started(model_paths, folder)
    try:
        yield started
    finally:
        for served in started.values():
            served.channel.close()
        for served in started.values():
            served.worker.__exit__()


class _Started(dict[str, Served]):
    def __init__(self, paths: dict[str, Path], folder: Path) -> None:
        super().__init__()
        self._paths = paths
        self._folder = folder

    def __missing__(self, listener: str) -> Served:
        worker = WorkerProcess(listener, settings_for(self._paths), self._folder / f"{listener}.log").__enter__()
        self[listener] = Served(worker, self._paths, worker.channel())
        return self[listener]


@pytest.fixture(params=LISTENERS)
def listener(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def served(workers: dict[str, Served], listener: str) -> Served:
    return workers[listener]
