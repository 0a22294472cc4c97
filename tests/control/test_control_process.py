"""The control process itself, on real sockets."""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import h2.config
import h2.connection
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from native.plane.layout import PLANE_CONTROL_READY, Plane, WorkerState
from server.cli.children import CONTROL_COMMAND, Child
from server.cli.sockets import held_port, listening_socket, port_of
from server.control.http_connection import WAIT_S
from server.control.process import NICENESS
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


def started(spec: ControlSpec, descriptors: tuple[int, ...]) -> Child:
    """Like the parent's `start_child`, but for its code between fork and exec: grpc's threads, which this process has
    and the parent has not, can leave a forked child hanging there."""
    process = subprocess.Popen(CONTROL_COMMAND, stdin=subprocess.PIPE, pass_fds=descriptors)
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(spec.model_dump_json().encode())
    return process


@pytest.fixture
def running() -> Iterator[Running]:
    plane = Plane.create(1)
    web, admin = listening_socket("http", "127.0.0.1:0"), held_port("admin", "127.0.0.1:0")
    spec = ControlSpec(
        http_fd=web.fileno(),
        admin_host="127.0.0.1",
        admin_port=port_of(admin),
        listen="127.0.0.1:1",
        plane_fd=plane.fd,
        settings=Settings(),
    )
    process = started(spec, (web.fileno(), plane.fd))
    try:
        wait_until(lambda: plane.words[PLANE_CONTROL_READY] == process.pid)
        yield Running(plane, port_of(web), port_of(admin), process)
    finally:
        process.kill()
        process.wait()
        web.close()
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


def test_health_answers_beside_300_connections_that_say_nothing_and_all_of_them_are_closed(running: Running) -> None:
    with ExitStack() as stack:
        address = ("127.0.0.1", running.http)
        opened = time.monotonic()
        silent = [stack.enter_context(socket.create_connection(address, timeout=LIMIT_S)) for _ in range(300)]
        with urllib.request.urlopen(f"http://127.0.0.1:{running.http}/health/live", timeout=LIMIT_S) as answer:
            assert answer.status == 200
        assert is_closed(silent[0]), "the first gave way to those above CONNECTIONS_MAX"
        assert time.monotonic() - opened < WAIT_S
        assert all(is_closed(one) for one in silent)


def test_a_request_that_never_ends_is_closed_and_one_connection_may_ask_again_and_again(running: Running) -> None:
    address = ("127.0.0.1", running.http)
    with socket.create_connection(address, timeout=LIMIT_S) as half:
        half.sendall(b"GET /health/live HTTP/1.1\r\nhost: a\r\n")
        asking = http.client.HTTPConnection(*address, timeout=LIMIT_S)
        until = time.monotonic() + 2.2 * WAIT_S
        while time.monotonic() < until:
            asking.request("GET", "/health/live")
            assert asking.getresponse().read() == b'{"live":true}'
            assert asking.sock is not None, "the server closed it"
            time.sleep(WAIT_S / 4)
        asking.close()
        assert is_closed(half)


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_neither_scipy_nor_a_runtime_for_models_is_loaded(running: Running) -> None:
    libraries = Path(f"/proc/{running.process.pid}/maps").read_text()
    assert "numba" in libraries
    for library in ("/scipy/", "/onnxruntime/", "/pandas/"):
        assert library not in libraries


def test_it_gives_way_to_workers_with_all_its_threads(running: Running) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    tasks = Path(f"/proc/{running.process.pid}/task")
    wait_until(lambda: {nice_of(task) for task in tasks.iterdir()} == {min(own + NICENESS, 19)})
    assert len(list(tasks.iterdir())) > 3


def nice_of(task: Path) -> int:
    return os.getpriority(os.PRIO_PROCESS, int(task.name))


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
