"""The contenders of a side-by-side run: started, called once and checked, and then known by what to aim at and whom.

Used by `python -m benchmarks`. Always: each server and all of its processes are on the server's core, and the size of a
right answer was read from a right answer.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks.counted import counted_commands
from benchmarks.h2load import Aim
from benchmarks.h2load_body import HEADERS, MODEL_INFER_PATH, PREDICT_PATH, PREFIX_BYTES, framed
from benchmarks.machine import SERVER_CORE, pinned, program
from benchmarks.models import mlp_model
from benchmarks.servers import Served, plain_command, roost_command, roost_registry_command, served
from benchmarks.verifier import answer
from loadtests.served_model import of_registry
from loadtests.verified_pool import Case, verified_pool

METHODS = {"Predict": PREDICT_PATH, "ModelInfer": MODEL_INFER_PATH}
POOL_CASES = 64
SEED = 20240601
NGHTTPD_START_S_MAX = 10


@dataclass(frozen=True)
class Contender:
    """One row of the table. pid: its server's first process; pool: requests with right answers, empty without a model.

    limit, plain: names of the contenders with which it is compared.
    """

    name: str
    aim: Aim
    pid: int
    target: str
    path: str
    pool: Sequence[Case]
    limit: str
    plain: str


def nghttpd_name(method: str) -> str:
    return f"nghttpd, {method} body"


def plain_name(method: str) -> str:
    return f"plain grpc.aio, {method}"


def roost_name(method: str) -> str:
    return f"Roost, {method}"


@contextmanager
def mlp_contenders(folder: Path) -> Iterator[list[Contender]]:
    """All that serve the 32-64-64-2 perceptron, each of Roost's beside the nghttpd that it is compared with."""
    file = folder / "mlp.onnx"
    file.write_bytes(mlp_model())
    pool = verified_pool("mlp", mlp_model(), cases=POOL_CASES, rows_max=1, seed=SEED)
    commands = {
        "Roost": roost_command({"mlp": file}, "fast"),
        "Roost on grpcio": roost_command({"mlp": file}, "grpcio"),
        "plain grpc.aio": plain_command({"mlp": file}),
    }
    counted = counted_commands(folder)
    with ExitStack() as stack:
        servers = {name: stack.enter_context(_started(name, command, folder)) for name, command in commands.items()}
        found: dict[str, list[Contender]] = {name: [] for name in servers}
        limits = []
        for method in METHODS:
            for name, server in servers.items():
                found[name].append(contender(f"{name}, {method}", server, method, pool, folder))
            limits.append(stack.enter_context(_nghttpd(method, found["Roost"][-1], folder)))
        counting = [
            contender(name, stack.enter_context(_started(name, command, folder)), "Predict", pool, folder)
            for name, command in counted.items()
        ]
        pairs = [one for pair in zip(found["Roost"], limits, strict=True) for one in pair]
        yield [*pairs, *counting, *found["Roost on grpcio"], *found["plain grpc.aio"]]


@contextmanager
def employment_server(folder: Path, registry: str) -> Iterator[tuple[Served, bytes]]:
    """The employment model served from its registry, and the model's bytes."""
    command = roost_registry_command(registry, "employment@stable", "--state", str(folder / "state"))
    with _started("employment", command, folder) as server:
        yield server, of_registry(registry, "employment", "stable")


def contender(name: str, server: Served, method: str, pool: Sequence[Case], folder: Path) -> Contender:
    """A row of the table for one method of a server; h2load will repeat the pool's first request."""
    path = METHODS[method]
    with grpc.insecure_channel(server.target) as channel:
        reply = answer(channel, path, pool[0])
    body = folder / f"{name}.body".replace(" ", "-")
    message = pool[0].predict if path == PREDICT_PATH else pool[0].infer
    body.write_bytes(framed(message.SerializeToString()))
    aim = Aim(f"http://{server.target}{path}", body, HEADERS, PREFIX_BYTES + len(reply))
    return Contender(
        name, aim, server.process.pid, server.target, path, pool, limit=nghttpd_name(method), plain=plain_name(method)
    )


@contextmanager
def _started(name: str, command: Sequence[str], folder: Path) -> Iterator[Served]:
    own = folder / name.replace(" ", "-")
    own.mkdir()
    with served(pinned(SERVER_CORE, command), own) as server:
        yield server


@contextmanager
def _nghttpd(method: str, roost: Contender, folder: Path) -> Iterator[Contender]:
    """nghttpd, which takes Roost's POST body and answers with a file as long as Roost's answer: HTTP/2 and no more."""
    name = nghttpd_name(method)
    root = folder / f"nghttpd-{method}"
    root.mkdir()
    (root / method).write_bytes(bytes(roost.aim.reply_body_bytes))
    port = _free_port()
    command = [program("nghttpd"), "--no-tls", "--address=127.0.0.1", "-d", str(root), "-m", "256", str(port)]
    with (folder / f"nghttpd-{method}.log").open("wb") as log:
        process = subprocess.Popen(pinned(SERVER_CORE, command), stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_for(process, port)
        aim = Aim(f"http://127.0.0.1:{port}/{method}", roost.aim.body, HEADERS, roost.aim.reply_body_bytes)
        yield Contender(
            name, aim, process.pid, f"127.0.0.1:{port}", f"/{method}", (), limit=name, plain=plain_name(method)
        )
    finally:
        process.terminate()
        process.wait(NGHTTPD_START_S_MAX)


def _free_port() -> int:
    """A port that nothing listens on now. nghttpd can't be asked which one it took, so it has to be told."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + NGHTTPD_START_S_MAX
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nghttpd: expected it to listen on port {port}, got {error}.") from error
        time.sleep(0.02)

