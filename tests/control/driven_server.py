"""A driver on a real plane and a real folder registry, with workers that are played by their words in the plane.

Used by the tests of this room. The played workers do what real ones say of themselves: load what seats name, follow
the epoch, count what became of requests. Trials are decided by the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from grpc import aio
from onnx import TensorProto, helper

from native.plane.evidence import open_cell, private_cells, publish_cell
from native.plane.layout import PLANE_STARTED_UTC_NS, Plane, Words, WorkerState
from native.plane.routes import Route, RouteTables
from native.plane.routing import (
    CELL_ERRORS,
    CELL_ERRORS_ALL,
    CELL_REQUESTS,
    CELL_UNITS,
    EPOCH,
    SEAT_STATE_EMPTY,
    SEAT_STATE_READY,
    SEEN_EPOCH,
)
from native.plane.seats import SeatTable, WorkerSeats
from protos.roost.v1 import admin_pb2, admin_pb2_grpc
from registry_client.baseline.document import Baseline
from registry_client.bundle import write_bundle
from registry_client.folder import FolderRegistry
from registry_client.golden import make_golden
from registry_client.manifest import Lineage
from registry_client.onnx_model import read_onnx
from registry_client.registry import Registry
from server.control.artifact_source import ArtifactSource
from server.control.drift.watching import DriftWatch
from server.control.driver import Driver
from server.control.loading import TrialOutcome, TrialTask
from server.control.looks import Looks
from server.control.operations.servicer import AdminServicer
from server.processes import ModelPin
from server.settings import Settings

NAME = "doubling"
WAIT_S = 60.0


@functools.cache
def model_bytes(width: int = 3) -> bytes:
    """y = x + x, float32 [rows, width]."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", width])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString(deterministic=True))


def push(
    root: Path,
    number: int,
    *,
    width: int = 3,
    aliases: tuple[str, ...] = (),
    registry: Registry | None = None,
    baseline: Baseline | None = None,
) -> str:
    """One more version, its digest. registry: in place of a folder registry at `root`."""
    content = model_bytes(width)
    row = np.ones((1, width), np.float32)
    golden = make_golden(read_onnx(content).signature, [({"x": row}, {"y": row + row})])
    folder = root.parent / f"bundle-{number}-{width}"
    lineage = Lineage(parameters={"number": number})
    write_bundle(folder, name=NAME, model_bytes=content, golden=golden, lineage=lineage, baseline=baseline)
    return (registry or FolderRegistry(root)).push(folder, aliases=aliases).digest


@dataclass
class Workers:
    """refuses: digests that they can't load, and why. errors: digests whose every request fails."""

    plane: Plane
    refuses: dict[str, str] = field(default_factory=dict)
    loads: bool = True
    _cells: list[Words] = field(default_factory=list)

    def __post_init__(self) -> None:
        for index in range(self.plane.workers):
            self.plane.block(index).enter(WorkerState.READY)
            self._cells.append(private_cells(self.plane.block(index).routing))

    async def run(self) -> None:
        while True:
            self.turn()
            await asyncio.sleep(0.003)

    def turn(self) -> None:
        _, routes = RouteTables(self.plane).current()
        routed = {ref.seat for route in routes for ref in route.seats}
        table = SeatTable(self.plane)
        for index in range(self.plane.workers):
            block = self.plane.block(index)
            block.routing[SEEN_EPOCH] = self.plane.routing[EPOCH]
            seats = WorkerSeats(block)
            for seat in table.read():
                if seat.wanted and self.loads and not table.banned(seat):
                    if seat.digest in self.refuses:
                        seats.fail(seat.index, seat.generation, self.refuses[seat.digest])
                    else:
                        seats.set_state(seat.index, seat.generation, SEAT_STATE_READY)
                elif not seat.wanted and seat.index not in routed:
                    seats.set_state(seat.index, seat.generation, SEAT_STATE_EMPTY)

    def answer(self, route: Route, requests: int, *, canary_errors: int = 0, worker: int = 0) -> None:
        """So many requests without keys under a route, split by its weight."""
        cells, block = self._cells[worker], self.plane.block(worker)
        on_canary = requests * route.canary_ppm // 1_000_000
        for ref, count, errors in ((route.stable, requests - on_canary, 0), (route.canary, on_canary, canary_errors)):
            if ref is not None:
                at = open_cell(cells, ref.seat, ref.generation, route.weight_epoch)
                for words, counted in (((CELL_REQUESTS, CELL_UNITS), count), ((CELL_ERRORS, CELL_ERRORS_ALL), errors)):
                    for word in words:
                        cells[at + word] += counted
                publish_cell(cells, block.routing, at)


def started_driver(plane: Plane, settings: Settings | None = None, pins: Sequence[ModelPin] = ()) -> Driver:
    """A driver for tests that only read what it says."""

    async def trial(task: TrialTask) -> TrialOutcome:
        raise AssertionError(task)

    settings = settings or Settings()
    driver = Driver(plane, settings, pins, ArtifactSource(settings.registry), trial)
    asyncio.run(driver.start())
    driver._lock.release()
    return driver


@dataclass
class DrivenServer:
    """One life of a control process."""

    driver: Driver
    looks: Looks
    workers: Workers
    stub: Any
    refused: dict[str, str]
    _tasks: list[asyncio.Task[Any]]
    drift: DriftWatch
    servicer: AdminServicer

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                await asyncio.sleep(0.002)

    @property
    def route(self) -> Route:
        return RouteTables(self.driver._plane).current()[1][0]

    def digest(self, variant: str) -> str | None:
        """Of what the plane's route names."""
        ref = getattr(self.route, variant)
        if ref is None:
            return None
        return SeatTable(self.driver._plane).read()[ref.seat].digest


def settings_of(folder: Path, *, mlflow: str | None = None, **judgement: Any) -> Settings:
    """A registry, a cache and a state folder in one folder. mlflow: a tracking URI, in place of a folder registry."""
    place = {"path": str(folder / "registry")} if mlflow is None else {"mlflow": mlflow}
    return Settings.model_validate({
        "registry": {**place, "cache": str(folder / "cache"), "poll_s": 0.1},
        "lifecycle": {"state": str(folder / "state")},
        "judgement": {"look_ms": 20, **judgement},
        "models": [{"name": NAME}],
    })  # fmt: skip


def new_plane(workers: int = 2, boot: int = 1) -> Plane:
    plane = Plane.create(workers)
    plane.words[PLANE_STARTED_UTC_NS] = boot
    return plane


@contextlib.asynccontextmanager
async def serving(
    settings: Settings,
    plane: Plane,
    pin_digest: str,
    version: str = "1",
    *,
    workers: Workers | None = None,
    others: Sequence[ModelPin] = (),
    drift_clock: Mapping[str, Callable[[], int]] | None = None,
) -> AsyncIterator[DrivenServer]:
    """A control process's life; ends as a kill would end it, without `stop`. others: pins of the other models.

    drift_clock: `utc_ns` and `now_ns` of the watch over drift, which looks only when a test tells it to.
    """
    played = workers or Workers(plane)
    refused: dict[str, str] = {}

    async def trial(task: TrialTask) -> TrialOutcome:
        await asyncio.sleep(0)
        reason = refused.get(task.artifact.digest)
        return TrialOutcome(reason is None, reason or "", 1 << 20)

    driver = Driver(
        plane,
        settings,
        [ModelPin(name=NAME, version=version, digest=pin_digest), *others],
        ArtifactSource(settings.registry),
        trial,
    )
    await driver.start()
    looks = Looks(driver)
    drift = DriftWatch(driver, plane, **(drift_clock or {}))
    await drift.start()
    server = aio.server()
    servicer = AdminServicer(driver, drift)
    admin_pb2_grpc.add_AdminServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    tasks = [asyncio.create_task(one) for one in (driver.run(), looks.run(), played.run())]
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = admin_pb2_grpc.AdminStub(channel)
        running = DrivenServer(driver, looks, played, stub, refused, tasks, drift, servicer)
        try:
            yield running
        finally:
            driver.loads.cancel_all()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.stop(None)
            driver._lock.release()
            # As the kernel lets go of a dead process's files: the next life would wait for this one's. In the thread
            # that appends, behind what it was told to: that opens the file again where it is closed.
            if driver.journal is not None:
                await driver.keeper.box._calls.call(driver.journal.close)
            await asyncio.to_thread(drift._store.close, 1.0)


_count = iter(range(10**9))


def operation(request_id: str | None = None, **fields: Any) -> admin_pb2.Operation:
    return admin_pb2.Operation(
        operator="ada", reason="a test", request_id=request_id or f"request-{next(_count)}", **fields
    )


def code_of(error: grpc.RpcError) -> str:
    return str(error.code().name)  # type: ignore[attr-defined]
