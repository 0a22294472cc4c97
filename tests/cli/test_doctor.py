"""`roost doctor`: every lack has a remedy, and something that serving needs makes exit code 1."""

import asyncio
import json
import resource
from pathlib import Path

import pytest
import uvicorn
from grpc import aio
from typer.testing import CliRunner

from native.plane.layout import Plane
from protos.inference import grpc_service_pb2, grpc_service_pb2_grpc
from protos.roost.v1 import admin_pb2_grpc
from server.cli import doctor
from server.cli.application import app
from server.cli.doctor import Finding, Verdict
from server.cli.sockets import listening_socket, port_of
from server.control.drift.watching import DriftWatch
from server.control.http import application
from server.control.operations.servicer import AdminServicer
from server.control.plane_reader import PlaneReader
from server.settings import LimitSettings, ServerSettings, Settings
from server.version import VERSION
from tests.control.driven_server import started_driver

FREE_PORTS = dict.fromkeys(("ROOST_SERVER__LISTEN", "ROOST_SERVER__HTTP", "ROOST_SERVER__ADMIN"), "127.0.0.1:0")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROOST_KERNEL_CACHE", str(tmp_path / "kernels"))


def test_on_this_machine_nothing_is_missing() -> None:
    result = CliRunner().invoke(app, ["doctor"], env=FREE_PORTS)
    assert result.exit_code == 0, result.stdout
    assert "missing" not in result.stdout


def test_json_says_the_same_and_names_every_finding() -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"], env=FREE_PORTS)
    document = json.loads(result.stdout)
    assert document["ok"] is True
    names = [finding["name"] for finding in document["findings"]]
    assert {"Python", "libnghttp2", "onnxruntime", "kernel cache", "open files", "server.listen"} <= set(names)
    assert len(names) == len(set(names))


def test_a_port_that_is_taken_is_exit_code_1_with_the_key_and_a_remedy() -> None:
    with listening_socket("x", "127.0.0.1:0") as other:
        address = f"127.0.0.1:{port_of(other)}"
        result = CliRunner().invoke(app, ["doctor"], env=FREE_PORTS | {"ROOST_SERVER__HTTP": address})
    assert result.exit_code == 1
    assert f"missing  server.http        {address}" in result.stdout
    assert "Choose another, or 0 for any that is free." in result.stdout


def test_a_wrong_setting_is_exit_code_2() -> None:
    result = CliRunner().invoke(app, ["doctor"], env={"ROOST_SERVER__WORKERS": "0"})
    assert result.exit_code == 2
    assert "server.workers: expected 1 to 64" in result.stderr


def test_without_libnghttp2_it_warns_and_with_the_fast_listener_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_library", lambda: None)
    assert doctor.libnghttp2(Settings()).verdict is Verdict.WARNING
    assert doctor.libnghttp2(Settings(server=ServerSettings(listener="fast"))).verdict is Verdict.MISSING


def test_a_kernel_cache_that_cannot_be_written_is_named_with_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    finding = doctor.kernel_cache(tmp_path / "file" / "kernels")
    assert finding.verdict is Verdict.MISSING
    assert "Not a directory" in finding.found
    assert "ROOST_KERNEL_CACHE" in finding.remedy


def test_a_probed_kernel_cache_is_left_empty(tmp_path: Path) -> None:
    assert doctor.kernel_cache(tmp_path / "kernels").verdict is Verdict.OK
    assert list((tmp_path / "kernels").iterdir()) == []


def test_too_few_descriptors_are_a_warning_with_both_ways_out() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    finding = doctor.descriptors(Settings(limits=LimitSettings(connections_max=min(soft + 1, 65_536))))
    if soft < 65_536:
        assert finding.verdict is Verdict.WARNING
        assert "ulimit -n" in finding.remedy
        assert "limits.connections_max" in finding.remedy


def test_a_library_that_does_not_load_is_missing_with_its_error() -> None:
    def load(name: str) -> object:
        raise ImportError(f"{name}: wrong architecture")

    finding = doctor.library("onnxruntime", load)
    assert finding == Finding("onnxruntime", Verdict.MISSING, "onnxruntime: wrong architecture", finding.remedy)
    assert "pip install" in finding.remedy


async def test_the_ports_of_a_server_that_runs_here_are_not_missing_and_those_of_others_are() -> None:
    plane = Plane.create(1)
    driver, reader = await asyncio.to_thread(started_driver, plane), PlaneReader(plane)
    admin = aio.server()
    admin_pb2_grpc.add_AdminServicer_to_server(AdminServicer(driver, DriftWatch(driver, plane)), admin)
    admin_port = admin.add_insecure_port("127.0.0.1:0")
    await admin.start()
    http_socket = listening_socket("server.http", "127.0.0.1:0")
    http = uvicorn.Server(uvicorn.Config(application(reader, driver, "h:1"), log_config=None, lifespan="off"))
    serving = asyncio.create_task(http.serve(sockets=[http_socket]))
    try:
        own = {"server.http": f"127.0.0.1:{port_of(http_socket)}", "server.admin": f"127.0.0.1:{admin_port}"}
        for key, address in own.items():
            finding = await asyncio.to_thread(doctor.port, key, address)
            assert finding.verdict is Verdict.OK, (key, finding)
            assert "a Roost server answers" in finding.found
            for other in {"server.listen", *own} - {key}:
                assert (await asyncio.to_thread(doctor.port, other, address)).verdict is Verdict.MISSING, (key, other)
    finally:
        http.should_exit = True
        await serving
        await admin.stop(None)


@pytest.mark.parametrize(("name", "verdict"), [("roost", Verdict.OK), ("triton", Verdict.MISSING)])
async def test_a_port_of_predictions_is_known_by_the_servers_name(name: str, verdict: Verdict) -> None:
    class Predicting(grpc_service_pb2_grpc.GRPCInferenceServiceServicer):
        async def ServerMetadata(self, request: object, context: object) -> object:
            return grpc_service_pb2.ServerMetadataResponse(name=name)

    server = aio.server()
    grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Predicting(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        assert (await asyncio.to_thread(doctor.port, "server.listen", f"127.0.0.1:{port}")).verdict is verdict
    finally:
        await server.stop(None)


def test_the_version_is_told_as_a_command_and_as_an_option() -> None:
    for arguments in (["--version"], ["version"]):
        result = CliRunner().invoke(app, arguments)
        assert (result.exit_code, result.stdout) == (0, f"{VERSION}\n")
