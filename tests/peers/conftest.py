"""Servers of the perceptron, one for each listener, that all peers of a run share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.models import mlp_model
from benchmarks.servers import Served, roost_command, served

LISTENERS = ("fast", "grpcio")


@pytest.fixture(scope="session")
def mlp_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("models") / "mlp.onnx"
    file.write_bytes(mlp_model())
    return file


@pytest.fixture(scope="session", params=LISTENERS)
def mlp_server(
    request: pytest.FixtureRequest, mlp_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    with served(roost_command({"mlp": mlp_file}, request.param), tmp_path_factory.mktemp(request.param)) as server:
        yield server
