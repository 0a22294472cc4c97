"""The image's health probe against real gRPC health servers."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server() -> Iterator[tuple[str, health.HealthServicer]]:
    servicer = health.HealthServicer()
    running = grpc.server(ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, running)
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    yield f"127.0.0.1:{port}", servicer
    running.stop(None)


def probe(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "server.probe", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


def test_a_serving_server_is_healthy(server: tuple[str, health.HealthServicer]) -> None:
    target, servicer = server
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    assert probe(target) == (0, "")


def test_a_draining_server_is_not_healthy_although_it_answers(server: tuple[str, health.HealthServicer]) -> None:
    target, servicer = server
    servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    code, said = probe(target)
    assert code == 1
    assert "expected SERVING, got NOT_SERVING" in said


def test_an_unknown_service_is_not_healthy(server: tuple[str, health.HealthServicer]) -> None:
    code, said = probe(server[0], "no.such.Service")
    assert code == 1
    assert "NOT_FOUND" in said


def test_a_port_where_nobody_listens_is_not_healthy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        code, said = probe(f"127.0.0.1:{taken.getsockname()[1]}")
    assert code == 1
    assert "UNAVAILABLE" in said or "DEADLINE_EXCEEDED" in said


def test_a_call_without_a_target_says_how_to_call() -> None:
    code, said = probe()
    assert code == 2
    assert said.startswith("usage:")
