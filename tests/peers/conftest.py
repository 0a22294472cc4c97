"""Servers of the perceptron, one for each listener, that all peers of a run share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.models import mlp_model
from benchmarks.servers import Served, plain_command, roost_command, served

LISTENERS = ("fast", "grpcio", "plain")


@pytest.fixture(scope="session")
def mlp_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("models") / "mlp.onnx"
    file.write_bytes(mlp_model())
    return file


@pytest.fixture(scope="session", params=LISTENERS)
def mlp_server(
    request: pytest.FixtureRequest, mlp_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A server of `mlp`: Roost by either listener, and the plain one, which shows that the peers judge any server."""
    files = {"mlp": mlp_file}
    command = plain_command(files) if request.param == "plain" else roost_command(files, request.param)
    with served(command, tmp_path_factory.mktemp(request.param)) as server:
        yield server
