"""The control process itself, on real sockets."""

import json
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import h2.config
import h2.connection
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from native.plane.layout import PLANE_CONTROL_READY, Plane, WorkerState
from server.cli.children import CONTROL_COMMAND, Child, start_child
from server.cli.sockets import held_port, listening_socket, port_of
from server.processes import ControlSpec
from server.settings import Settings

LIMIT_S = 30.0
Health = health_pb2.HealthCheckResponse


@dataclass
class Running:
    plane: Plane
    http: int
    admin: int
    process: Child


@pytest.fixture
def running() -> Iterator[Running]:
    plane = Plane.create(1)
    http, admin = listening_socket("http", "127.0.0.1:0"), held_port("admin", "127.0.0.1:0")
    spec = ControlSpec(
        http_fd=http.fileno(),
        admin_host="127.0.0.1",
        admin_port=port_of(admin),
        listen="127.0.0.1:1",
        plane_fd=plane.fd,
        settings=Settings(),
    )
    process = start_child(CONTROL_COMMAND, spec, (http.fileno(), plane.fd))
    try:
        wait_until(lambda: plane.words[PLANE_CONTROL_READY] == process.pid)
        yield Running(plane, port_of(http), port_of(admin), process)
    finally:
        process.kill()
        process.wait()
        http.close()
        admin.close()


def wait_until(condition) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def health_of(port: int) -> int:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=LIMIT_S, wait_for_ready=True).status)


def test_health_on_the_admin_port_follows_the_plane(running: Running) -> None:
    assert health_of(running.admin) == Health.NOT_SERVING
    running.plane.block(0).enter(WorkerState.READY)
    wait_until(lambda: health_of(running.admin) == Health.SERVING)
    running.plane.block(0).enter(WorkerState.DRAINING)
    wait_until(lambda: health_of(running.admin) == Health.NOT_SERVING)


def test_a_watcher_is_told_of_every_change(running: Running) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{running.admin}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=LIMIT_S)
        assert next(watch).status == Health.NOT_SERVING
        running.plane.block(0).enter(WorkerState.READY)
        assert next(watch).status == Health.SERVING


def test_http_answers_on_the_inherited_socket(running: Running) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{running.http}/health/live", timeout=LIMIT_S) as answer:
        assert json.load(answer) == {"live": True}


def test_it_ends_with_exit_code_0_on_sigterm(running: Running) -> None:
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(LIMIT_S) == 0


def test_a_path_that_is_not_utf8_does_not_silence_the_admin_port(running: Running) -> None:
    """grpc.aio's serving task ends at it, and control serves anew on the same port."""
    connection = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=True, header_encoding=None, validate_outbound_headers=False)
    )
    with socket.create_connection(("127.0.0.1", running.admin), timeout=LIMIT_S) as client:
        connection.initiate_connection()
        headers = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", b"/\xff\xfe/x"),
            (b":authority", b"a"),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
        ]
        connection.send_headers(1, headers, end_stream=True)
        client.sendall(connection.data_to_send())
        time.sleep(0.5)
    try:
        running.process.wait(0.5)
    except subprocess.TimeoutExpired:
        assert health_of(running.admin) == Health.NOT_SERVING  # it lives, so it must answer
    else:
        pytest.fail("it ended: the parent would have to start it again at a stranger's wish")
