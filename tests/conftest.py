"""What holds for every test: servers that it starts keep their state in a folder of the run's own."""

import os

import pytest

import registry_client  # noqa: F401  # before ONNX Runtime, whose telemetry it turns off


@pytest.fixture(scope="session", autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["ROOST_LIFECYCLE__STATE"] = str(tmp_path_factory.mktemp("state"))
