"""The control process itself: a rollback reaches a receiver, and goes on after the process was killed."""

import asyncio
import contextlib
import json
import signal
import socket
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpc import aio

from native.plane.layout import PLANE_CONTROL_READY, Plane
from protos.roost.v1 import admin_pb2, admin_pb2_grpc
from server.cli.children import Child
from server.cli.sockets import held_port, listening_socket, port_of
from server.processes import ControlSpec, ModelPin
from server.settings import Settings
from tests.control.driven_server import NAME, Workers, operation
from tests.control.driven_world import World
from tests.control.test_control_process import started
from tests.control.webhooks.page import verified
from tests.control.webhooks.receivers import SECRET, Reply, raw_server, receiving

LIMIT_S = 60.0


@dataclass
class Control:
    plane: Plane
    spec: ControlSpec
    web: socket.socket
    process: Child

    async def starts(self) -> None:
        """Another one, as the parent would start it."""
        self.process = started(self.spec, (self.web.fileno(), self.plane.fd))
        await until(lambda: self.plane.words[PLANE_CONTROL_READY] == self.process.pid)

    def read(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port_of(self.web)}{path}", timeout=LIMIT_S) as answer:
            return str(answer.read().decode())


async def until(condition: Any) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def controlled(folder: Path, url: str) -> AsyncIterator[Control]:
    """A control process over a registry of three versions, with played workers and one webhook."""
    world = World(folder)
    (folder / "secret").write_text(SECRET)
    webhook = {"name": "ops", "url": url, "events": ["rollback"], "secret_file": str(folder / "secret")}
    settings = Settings.model_validate({**world.settings.model_dump(), "webhooks": [webhook]})
    web, admin = listening_socket("http", "127.0.0.1:0"), held_port("admin", "127.0.0.1:0")
    spec = ControlSpec(
        http_fd=web.fileno(),
        admin_host="127.0.0.1",
        admin_port=port_of(admin),
        listen="127.0.0.1:1",
        plane_fd=world.plane.fd,
        settings=settings,
        pins=(ModelPin(name=NAME, version="1", digest=world.digests[0]),),
    )
    workers = asyncio.create_task(Workers(world.plane).run())
    control = Control(world.plane, spec, web, started(spec, (web.fileno(), world.plane.fd)))
    try:
        await until(lambda: world.plane.words[PLANE_CONTROL_READY] == control.process.pid)
        yield control
    finally:
        control.process.kill()
        control.process.wait()
        workers.cancel()
        web.close()
        admin.close()


async def rolls_back(control: Control) -> None:
    """A canary is deployed, and taken back."""
    async with aio.insecure_channel(f"127.0.0.1:{control.spec.admin_port}") as channel:
        stub: Any = admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]
        deploy = admin_pb2.DeployCanaryRequest(operation=operation(), model=NAME, version="2", weight_ppm=100_000)
        await stub.DeployCanary(deploy, timeout=LIMIT_S, wait_for_ready=True)
        await stub.Rollback(admin_pb2.RollbackRequest(operation=operation(), model=NAME), timeout=LIMIT_S)


async def test_a_rollback_reaches_a_receiver_signed_and_is_counted_and_a_410_shows_on_the_health_page(
    tmp_path: Path,
) -> None:
    with receiving() as receiver:
        async with controlled(tmp_path, receiver.url) as control:
            await rolls_back(control)
            await until(lambda: receiver.received)
            (got,) = receiver.received
            assert verified(SECRET, dict(got.headers), got.body)
            sent = json.loads(got.body)
            assert (sent["kind"], sent["model"], sent["detail"]["kind"]) == ("rollback", NAME, "rolled_back")
            metrics = await asyncio.to_thread(control.read, "/metrics")
            assert 'roost_webhook_delivered_total{webhook="ops"} 1.0' in metrics
            receiver.answer = lambda _: Reply(410)
            await rolls_back(control)
            await until(lambda: len(receiver.received) == 2)
            await until(lambda: 'roost_webhook_on{webhook="ops"} 0.0' in control.read("/metrics"))
            (alert,) = json.loads(control.read("/health/ready"))["alerts"]
            assert alert.startswith("webhook ops: its receiver answered 410 Gone")


async def test_a_rollback_that_could_not_be_told_is_told_by_the_next_control_process(tmp_path: Path) -> None:
    with receiving() as receiver:
        receiver.answer = lambda _: Reply(503)
        async with controlled(tmp_path, receiver.url) as control:
            await rolls_back(control)
            kept = tmp_path / "state/webhooks.json"
            await until(lambda: kept.exists() and '"attempts": 1' in kept.read_text())
            control.process.kill()
            control.process.wait()
            receiver.answer = lambda _: Reply()
            before = len(receiver.received)
            await control.starts()
            await until(lambda: len(receiver.received) > before)
            await until(lambda: json.loads(kept.read_text())["webhooks"] == {})
    assert len(set(receiver.ids)) == 1
    assert len(receiver.received) == before + 1


async def test_it_ends_in_time_on_sigterm_while_a_receiver_keeps_silent(tmp_path: Path) -> None:
    held = asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await held.wait()

    async with raw_server(never) as url, controlled(tmp_path, url) as control:
        await rolls_back(control)
        control.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(control.process.wait, LIMIT_S) == 0
        kept = json.loads((tmp_path / "state/webhooks.json").read_text())
        assert [one["kind"] for one in kept["webhooks"]["ops"]] == ["rollback"]
        held.set()
