"""An admin port whose answers a test sets: a real gRPC server of `roost.v1.Admin`, which keeps what it was asked;
and commands that are run against one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from click.testing import Result
from typer.testing import CliRunner

from protos.roost.v1 import admin_pb2, admin_pb2_grpc
from server.cli.application import app

STABLE = admin_pb2.Artifact(version="3", digest="a" * 64)
CANARY = admin_pb2.Artifact(version="4", digest="b" * 64)


def churn(**changes: Any) -> admin_pb2.ModelState:
    """A model with a canary in the second of its plan's two steps."""
    rollout = admin_pb2.Rollout(
        id="r-1",
        salt=(1 << 62) + 1,
        steps=[
            admin_pb2.PlanStep(weight_ppm=10_000, bake_s=60, minimum_requests=500),
            admin_pb2.PlanStep(weight_ppm=50_000, bake_s=300, minimum_requests=2_000),
        ],
        step=1,
        phase="canary",
        step_elapsed_s=41,
        requests=1_203,
        verdict="not_worse",
    )
    fields: dict[str, Any] = {
        "name": "churn",
        "revision": 7,
        "epoch": 12,
        "serving": True,
        "stable": STABLE,
        "canary": CANARY,
        "weight_ppm": 50_000,
        "rollout": rollout,
        "workers_ready": 2,
        "workers_following": 2,
    }
    return admin_pb2.ModelState(**{**fields, **changes})


class ScriptedAdmin(admin_pb2_grpc.AdminServicer):
    """answers: by method; a message, or (status code, text). asked: (method, request), in their order."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.events: list[admin_pb2.Event] = []
        self.stay_open = True
        self.asked: list[tuple[str, Any]] = []
        self.hold = threading.Event()
        self.hold.set()
        self.address = ""
        self.server: grpc.Server | None = None

    def answer(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        self.asked.append((method, request))
        self.hold.wait(20)
        found = self.answers.get(method)
        if isinstance(found, tuple):
            context.abort(*found)
        if found is None:
            replies = {"ListModels": admin_pb2.ListModelsReply, "DescribeModel": admin_pb2.DescribeModelReply}
            return replies.get(method, admin_pb2.OperationReply)()
        return found

    def WatchEvents(self, request: Any, context: grpc.ServicerContext) -> Iterator[admin_pb2.Event]:
        self.asked.append(("WatchEvents", request))
        yield from self.events
        over = threading.Event()
        context.add_callback(over.set)
        if self.stay_open:
            over.wait(20)


def _method(name: str) -> Any:
    return lambda self, request, context: self.answer(name, request, context)


for _name in [method.name for method in admin_pb2.DESCRIPTOR.services_by_name["Admin"].methods]:
    if _name != "WatchEvents":
        setattr(ScriptedAdmin, _name, _method(_name))


@contextmanager
def scripted_admin() -> Iterator[ScriptedAdmin]:
    scripted = ScriptedAdmin()
    server = scripted.server = grpc.server(futures.ThreadPoolExecutor(4))
    admin_pb2_grpc.add_AdminServicer_to_server(scripted, server)
    scripted.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield scripted
    finally:
        scripted.hold.set()
        server.stop(None).wait()


def run(address: str, *arguments: str, environment: dict[str, str] | None = None) -> Result:
    """A command against this address, as a user of no configuration runs it."""
    found = {"USER": "ada", "LOGNAME": "ada", "ROOST_OPERATOR": "", "COLUMNS": "200", **(environment or {})}
    return CliRunner().invoke(app, [*arguments, "--admin", address], env=found)
