"""A real worker for tests: `python -m server.worker`, started and stopped as the parent does it."""

from __future__ import annotations

import functools
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc

from native.cache import are_kernels_compiled
from native.plane.layout import Plane, WorkerState
from server.cli.pinning import pin_models
from server.processes import WorkerSpec
from server.settings import Settings
from tests.behaviour.first_routes import publish_first_routes

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
STOP_S = 20.0

LISTENERS = ["grpcio"]
if importlib.util.find_spec("server.worker.listeners.fast_lane") is not None:
    LISTENERS.append("fast")


@functools.cache
def warm_kernels() -> None:
    """Compiles kernels once, as the parent does before its first worker: a start is then a matter of seconds."""
    if are_kernels_compiled(fast_lane=True):
        return
    command = (sys.executable, "-P", "-m", "server.cli.warm")
    subprocess.run(command, check=True, timeout=110, env=os.environ | {"PYTHONPATH": str(ROOT)})


class WorkerProcess:
    """Use as a context manager: READY inside, told to stop at the end.

    beside: the worker 0 whose plane and socket this one shares, under the given index.
    """

    workers = 1
    generation = 1
    program: tuple[str, ...] = ("-m", "server.worker")

    def __init__(
        self, listener: str, settings: Settings, log: Path, *, beside: WorkerProcess | None = None, index: int = 0
    ) -> None:
        self.listener = listener
        self.settings = settings
        self.log = log
        self.index = index
        self.process: subprocess.Popen[bytes] | None = None
        if beside is not None:
            self.plane, self.socket, self.port, self.target = beside.plane, beside.socket, beside.port, beside.target
            return
        self.plane = Plane.create(self.workers)
        # As control does it for a server that starts.
        publish_first_routes(self.plane, settings, pin_models(settings))
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if listener == "grpcio":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.socket.bind(("127.0.0.1", 0))
        if listener == "fast":
            self.socket.listen(1024)
        self.port: int = self.socket.getsockname()[1]
        self.target = f"127.0.0.1:{self.port}"

    @property
    def state(self) -> WorkerState:
        return self.plane.block(self.index).state

    def start(self) -> WorkerProcess:
        """Starts the process without waiting."""
        warm_kernels()
        is_fast = self.listener == "fast"
        spec = WorkerSpec(
            index=self.index,
            generation=self.generation,
            listener="fast" if is_fast else "grpcio",
            listen_fd=self.socket.fileno() if is_fast else None,
            listen_host="127.0.0.1",
            listen_port=self.port,
            plane_fd=self.plane.fd,
            settings=self.settings,
        )
        descriptors = (self.plane.fd, self.socket.fileno()) if is_fast else (self.plane.fd,)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                (sys.executable, "-P", *self.program),
                stdin=subprocess.PIPE,
                stderr=log,
                pass_fds=descriptors,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
        assert self.process.stdin is not None
        with self.process.stdin as pipe:
            pipe.write(spec.model_dump_json().encode())
        return self

    def __enter__(self) -> WorkerProcess:
        self.start()
        self.wait_for(WorkerState.READY)
        return self

    def __exit__(self, *_exception: object) -> None:
        code = self.stop()
        self.close()
        assert code == 0, f"the worker ended with {code}:\n{self.log.read_text()}"

    def wait_for(self, state: WorkerState) -> None:
        assert self.process is not None
        until = time.monotonic() + START_S
        while self.state is not state:
            code = self.process.poll()
            assert code is None, f"the worker ended with {code}:\n{self.log.read_text()}"
            assert time.monotonic() < until, f"the worker is {self.state.name} still:\n{self.log.read_text()}"
            time.sleep(0.01)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def close(self) -> None:
        self.socket.close()
        self.plane.close()

    def channel(self) -> grpc.Channel:
        """A channel with a connection of its own."""
        return grpc.insecure_channel(self.target, options=[("grpc.use_local_subchannel_pool", 1)])
