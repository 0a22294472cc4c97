"""The client as other teams get it: its own generated modules, few dependencies, nothing of the server's."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from benchmarks.servers import REPOSITORY
from protos.inference import grpc_service_pb2 as server_inference
from protos.roost.v1 import predict_pb2 as server_predict
from roost.v1 import predict_pb2

CLIENT = REPOSITORY / "clients" / "python"
MODULES = sorted((CLIENT / "roost").glob("**/*.py"))


def _run(program: str) -> str:
    """Output of a program in a process that sees the client and installed packages, not the repository."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=CLIENT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


@pytest.mark.parametrize("name", ["predict_pb2.py", "predict_pb2.pyi", "predict_pb2_grpc.py"])
def test_the_generated_modules_are_the_servers_own_but_for_where_they_lie(name: str):
    ours = (CLIENT / "roost" / "v1" / name).read_text()
    servers = (REPOSITORY / "protos" / "roost" / "v1" / name).read_text()
    assert ours == re.sub(r"^from protos\.roost", "from roost", servers, flags=re.MULTILINE)


def test_the_described_inference_protocol_is_the_servers():
    described = descriptor_pb2.FileDescriptorSet.FromString((CLIENT / "roost" / "inference.binpb").read_bytes())
    servers = descriptor_pb2.FileDescriptorProto()
    server_inference.DESCRIPTOR.CopyToProto(servers)
    # Only protoc's own output spells out JSON names; they follow from the fields' names.
    without_json = descriptor_pb2.FileDescriptorSet(file=[servers])
    for described_set in (described, without_json):
        for message in described_set.file[0].message_type:
            _forget_json_names(message)
    assert described == without_json


def _forget_json_names(message: descriptor_pb2.DescriptorProto) -> None:
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        _forget_json_names(nested)


def test_client_and_server_modules_share_one_message_class_in_a_process():
    assert predict_pb2.PredictRequest is server_predict.PredictRequest


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_a_module_imports_nothing_but_the_three_dependencies(module: Path):
    imported = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    assert imported - sys.stdlib_module_names <= {"roost", "grpc", "google", "numpy"}


@pytest.mark.parametrize("order", [("roost", "tritonclient.grpc"), ("tritonclient.grpc", "roost")])
def test_the_client_and_tritonclient_fit_into_one_process(order: tuple[str, str]):
    imports = "\n".join(f"import {module}" for module in order)
    program = f"""
{imports}
from roost import metadata
from tritonclient.grpc import service_pb2
ours = metadata.message_class("ModelMetadataRequest")(name="mlp", version="1")
theirs = service_pb2.ModelMetadataRequest(name="mlp", version="1")
assert type(ours) is not type(theirs)
print(ours.SerializeToString() == theirs.SerializeToString())
"""
    assert _run(program) == "True\n"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_a_module_parses_as_the_oldest_python_that_is_promised(module: Path):
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.10"
    ast.parse(module.read_text(), feature_version=(3, 10))


def test_the_wheel_holds_the_package_and_asks_for_three_distributions(tmp_path: Path):
    source = tmp_path / "source"
    shutil.copytree(CLIENT, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "-w", str(tmp_path), str(source)], check=True, timeout=100)
    (wheel,) = tmp_path.glob("roost_grpc-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata_name,) = (name for name in names if name.endswith("/METADATA"))
        metadata = archive.read(metadata_name).decode()
    expected = {str(module.relative_to(CLIENT)) for module in MODULES}
    expected |= {"roost/py.typed", "roost/inference.binpb", "roost/v1/predict_pb2.pyi"}
    assert {name for name in names if name.startswith("roost/")} == expected
    required = re.findall(r"^Requires-Dist: ([a-z]+)", metadata, re.MULTILINE)
    assert sorted(required) == ["grpcio", "numpy", "protobuf"]


def test_the_package_type_checks_as_its_users_would_check_it(tmp_path: Path):
    program = tmp_path / "uses_roost.py"
    program.write_text(
        "import numpy as np\nimport roost\n\n"
        "with roost.Client('127.0.0.1:1', timeout_s=1.0) as client:\n"
        "    prediction: roost.Prediction = client.predict('m', {'x': np.zeros(3)}, outputs=['y'])\n"
        "    shape: tuple[int, ...] = client.model_metadata('m').inputs[0].shape\n"
        "    client.predict('m', inputs=3)\n"
    )
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=", "--no-incremental", "--strict", str(program)],
        cwd=CLIENT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "uses_roost.py:7: error" in checked.stdout, checked.stdout + checked.stderr
    errors = [line for line in checked.stdout.splitlines() if ": error:" in line and "/v1/predict_pb2" not in line]
    assert len(errors) == 1, checked.stdout
