"""`roost serve` as people start it, with real workers and a real model, through both listeners."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from benchmarks.models import mlp_model
from protos.inference import grpc_service_pb2 as inference
from protos.inference import grpc_service_pb2_grpc as inference_grpc

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240.0  # the first start after a change compiles all kernels
ANYWHERE = ("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0")

pytestmark = pytest.mark.timeout(300)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "server.cli", "serve", *ANYWHERE, *arguments]


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


class Caller:
    """Calls without a pause from a thread, over a connection anew for every tenth call; counts what came of it."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._call)
        self.answered = 0
        self.failed: list[str] = []

    def __enter__(self) -> "Caller":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def answers(self, count: int) -> None:
        """Waits until so many more calls were answered."""
        goal = self.answered + count
        wait_until(lambda: self.answered >= goal)

    def _call(self) -> None:
        request = one_row()
        while not self._stop.is_set():
            with grpc.insecure_channel(self._target, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
                stub = inference_grpc.GRPCInferenceServiceStub(channel)
                for _ in range(10):
                    try:
                        stub.ModelInfer(request, timeout=20)
                        self.answered += 1
                    except grpc.RpcError as failure:
                        self.failed.append(f"{failure.code().name}: {failure.details()}")  # type: ignore[attr-defined]


def one_row() -> inference.ModelInferRequest:
    request = inference.ModelInferRequest(model_name="mlp")
    request.inputs.add(name="features", datatype="FP32", shape=[1, 32])
    request.raw_input_contents.append(np.ones((1, 32), np.float32).tobytes())
    return request


def kept_port() -> socket.socket:
    """A port of our own: no server of another test is given it when ours has closed it, while callers still call."""
    keeper = socket.socket()
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):  # what a "fast" door, and a "grpcio" one, binds beside
        keeper.setsockopt(socket.SOL_SOCKET, option, True)
    keeper.bind(("127.0.0.1", 0))
    return keeper


class Serving:
    def __init__(self, folder: Path, listener: str, port: int) -> None:
        self.listener = listener
        model, self.ready_file = folder / "mlp.onnx", folder / "ready.json"
        model.write_bytes(mlp_model())
        flags = ("--onnx", f"mlp={model}", "--workers", "2", "--listener", listener, "--listen", f"127.0.0.1:{port}")
        self.process = subprocess.Popen(command(*flags, "--ready-file", str(self.ready_file)), cwd=ROOT)
        try:
            wait_until(lambda: self.ready_file.exists() or self.process.poll() is not None)
            assert self.process.poll() is None
        except BaseException:
            self.process.kill()
            raise
        self.ready: dict[str, Any] = json.loads(self.ready_file.read_text())

    def workers(self) -> list[dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"http://{self.ready['http']}/health/ready", timeout=30) as answer:
                found: list[dict[str, Any]] = json.load(answer)["workers"]
                return found
        except OSError:
            return []


@pytest.fixture(scope="module", params=["fast", "grpcio"])
def serving(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with kept_port() as keeper:
        server = Serving(tmp_path_factory.mktemp(request.param), request.param, keeper.getsockname()[1])
        yield server
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()


def test_killing_control_costs_no_call(serving: Serving) -> None:
    with Caller(serving.ready["listen"]) as caller:
        caller.answers(20)
        os.kill(serving.ready["control"], signal.SIGKILL)
        caller.answers(50)
        wait_until(serving.workers)
    assert caller.failed == []


def test_a_killed_worker_costs_at_most_its_own_calls_and_comes_back(serving: Serving) -> None:
    victim = serving.workers()[0]
    with Caller(serving.ready["listen"]) as caller:
        caller.answers(20)
        os.kill(victim["pid"], signal.SIGKILL)
        # Until the kernel has taken it apart, connections still reach its socket, and end with it.
        wait_until(lambda: not Path(f"/proc/{victim['pid']}").exists())
        failed_with_it = len(caller.failed)
        caller.answers(50)
        reborn = {"generation": victim["generation"] + 1, "state": "ready", "restarts": victim["restarts"] + 1}
        wait_until(lambda: any(reborn.items() <= worker.items() for worker in serving.workers()[:1]))
        caller.answers(20)
    assert len(caller.failed) - failed_with_it <= 10, "one connection's calls"
    assert {failure.partition(":")[0] for failure in caller.failed} <= {"UNAVAILABLE"}


def test_what_was_answered_is_counted_across_the_restart(serving: Serving) -> None:
    """Runs after the worker was killed: its counts are still there."""
    with Caller(serving.ready["listen"]) as caller:
        caller.answers(20)

    def counted() -> float:
        with urllib.request.urlopen(f"http://{serving.ready['http']}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        start = 'roost_requests_total{method="model_infer",status="OK"}'
        return float(next(line for line in lines if line.startswith(start)).rpartition(" ")[2])

    wait_until(lambda: counted() >= caller.answered + 50)


def test_sigterm_ends_it_with_exit_code_0_and_every_accepted_call_answered(serving: Serving) -> None:
    with Caller(serving.ready["listen"]) as caller:
        caller.answers(20)
        serving.process.send_signal(signal.SIGTERM)
        assert serving.process.wait(60) == 0
    # C-core cancels what reaches it between its shutdown and the client's reading of it, and once in thousands of
    # connections leaves it waiting (docs/reference/protocol.md).
    beyond_us = {"CANCELLED", "DEADLINE_EXCEEDED"} if serving.listener == "grpcio" else set()
    refusals = {"UNAVAILABLE"} | beyond_us
    others = {failure for failure in caller.failed if failure.partition(":")[0] not in refusals}
    assert not others, "refused, never lost"


def test_a_file_that_is_no_model_ends_the_start_with_its_reason(tmp_path: Path) -> None:
    model = tmp_path / "bad.onnx"
    model.write_bytes(b"not a model")
    done = subprocess.run(command("--onnx", f"bad={model}"), cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 78
    assert "model bad: " in done.stderr
    assert "the start is given up: a configuration or a model was refused" in done.stderr
