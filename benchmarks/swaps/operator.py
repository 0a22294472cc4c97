"""A server with a registry of its own, and the operator who changes what it serves.

Used by `benchmarks.swaps` and by the tests of whole rollouts. Always: every call waits until the server has done it.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc

from benchmarks.machine import pinned
from benchmarks.servers import Served, served
from benchmarks.swaps.versions import NAME, Versions
from native.plane.layout import Plane
from protos.roost.v1 import admin_pb2 as admin
from protos.roost.v1 import admin_pb2_grpc

CALL_S_MAX = 180.0
WAIT_S = 30.0
PPM = 1_000_000


@contextmanager
def roost(
    versions: Versions, *, workers: int = 1, core: int | None = None, settings: Mapping[str, Mapping[str, Any]] = {}
) -> Iterator[Served]:
    """`roost serve` of the model's @stable. core: for all of its processes; settings: keys by section."""
    folder = versions.folder
    config = folder / "roost.toml"
    sections = {"registry": {"cache": str(folder / "cache")}} | {key: dict(value) for key, value in settings.items()}
    config.write_text(
        "".join(
            f"[{name}]\n" + "".join(f"{key} = {json.dumps(one)}\n" for key, one in content.items())
            for name, content in sections.items()
        )
    )
    anywhere = "127.0.0.1:0"
    command = [sys.executable, "-m", "server.cli", "serve", "--config", str(config), "--workers", str(workers)]
    command += ["--registry", versions.location, "--state", str(folder / "state"), "--model", f"{NAME}@stable"]
    command += ["--listener", "fast", "--listen", anywhere, "--http", anywhere, "--admin", anywhere]
    with served(command if core is None else pinned(core, command), folder) as server:
        yield server


def plane_of(pid: int) -> Plane:
    """The plane of a running parent, by its descriptor."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        if "roost-plane" in os.readlink(entry):
            return Plane.attach(os.open(entry, os.O_RDWR))
    raise AssertionError("the parent has no plane")


class Operator:
    """Calls the admin port. Use as a context manager."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        self._stub: Any = admin_pb2_grpc.AdminStub(self._channel)  # type: ignore[no-untyped-call]
        self._count = itertools.count()

    def __enter__(self) -> Operator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def _operation(self) -> admin.Operation:
        name = f"{os.getpid()}-{id(self)}-{next(self._count)}"
        return admin.Operation(operator="bench", reason="a measured change", request_id=name)

    def _call(self, method: str, request: Any) -> Any:
        return getattr(self._stub, method)(request, timeout=CALL_S_MAX, wait_for_ready=True)

    def deploy(
        self, version: int, weight: float | None = None, plan: Sequence[Mapping[str, float]] | None = None
    ) -> admin.ModelState:
        """Returns once the canary has its share, or raises grpc.RpcError. plan: steps, as plans write them."""
        request = admin.DeployCanaryRequest(operation=self._operation(), model=NAME, version=str(version))
        if weight is not None:
            request.weight_ppm = round(weight * PPM)
        if plan is not None:
            request.plan_json = json.dumps({"steps": list(plan)})
        return self._first(self._call("DeployCanary", request))

    def weight(self, weight: float) -> admin.ModelState:
        request = admin.SetTrafficWeightsRequest(operation=self._operation(), model=NAME)
        request.canary_ppm = round(weight * PPM)
        return self._first(self._call("SetTrafficWeights", request))

    def freeze(self) -> None:
        """From now on only operators change anything."""
        self._call("Freeze", admin.FreezeRequest(operation=self._operation()))

    def promote(self) -> admin.ModelState:
        return self._first(self._call("Promote", admin.PromoteRequest(operation=self._operation(), model=NAME)))

    def rollback(self) -> admin.ModelState:
        return self._first(self._call("Rollback", admin.RollbackRequest(operation=self._operation(), model=NAME)))

    def state(self) -> admin.ModelState:
        reply = self._call("DescribeModel", admin.DescribeModelRequest(model=NAME))
        model: admin.ModelState = reply.model
        return model

    def evidence(self) -> admin.GetEvidenceReply:
        reply: admin.GetEvidenceReply = self._call("GetEvidence", admin.GetEvidenceRequest(model=NAME))
        return reply

    def until(self, condition: Callable[[admin.ModelState], bool], seconds: float = WAIT_S) -> admin.ModelState:
        """The first state that meets it. Raises TimeoutError with the last one."""
        deadline = time.monotonic() + seconds
        while True:
            state = self.state()
            if condition(state):
                return state
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:g} s; the last state was: {state}")
            time.sleep(0.02)

    @staticmethod
    def _first(reply: Any) -> admin.ModelState:
        state: admin.ModelState = reply.models[0]
        return state
