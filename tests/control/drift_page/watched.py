"""A control process whose HTTP port is open, and a model whose rows are counted under a clock set by hand.

Used by the tests of this room. The driver, the plane, the watch over drift and the HTTP server are real; workers are
played by `driven_server`, rows are counted in the plane as they would, and UTC is stepped by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import uvicorn

from native.plane.drift import open_counts
from native.plane.layout import DRIFT_BUCKETS
from native.plane.routes import RouteTables
from native.route.layout import MAIN
from protos.roost.v1 import admin_pb2
from registry_client.baseline.bins import bins_of
from registry_client.baseline.document import Baseline, Feature, Kind
from registry_client.bundle import write_bundle
from registry_client.cache import BundleCache
from registry_client.folder import FolderRegistry
from registry_client.golden import make_golden
from registry_client.manifest import Lineage
from registry_client.onnx_model import read_onnx
from server.cli.sockets import listening_socket, port_of
from server.control.drift.readings import SLICE_NS
from server.control.drift_page.listeners import Listeners
from server.control.drift_page.routes import routes
from server.control.http import application
from server.control.http_connection import HttpConnection
from server.control.plane_reader import PlaneReader
from server.processes import ModelPin
from server.settings import Settings
from tests.control.drift.counted_seats import MONDAY, Clock
from tests.control.driven_server import NAME, DrivenServer, model_bytes, new_plane, push, serving, settings_of

MODEL: Final = "churn"
UNWATCHED: Final = NAME
"""A second model, whose bundle has no baseline."""
SLICES_A_MINUTE: Final = 16
REFERENCE_ROWS: Final = 40_000
DEVIATIONS: Final = (-2.2, -1.4, -0.9, -0.5, -0.15, 0.2, 0.55, 0.95, 1.5, 2.4)


@dataclass(frozen=True)
class Column:
    """A number is middle + spread * z of a normal z; a category has the shares given, its codes from 1 on."""

    name: str
    importance: float
    middle: float = 0.0
    spread: float = 1.0
    shares: tuple[float, ...] = ()
    missing: float = 0.0

    def drawn(self, random: np.random.Generator, rows: int, shift: float = 0.0) -> np.ndarray:
        """shift: in standard deviations; of a category the share that goes to a code which the reference has not."""
        if self.shares:
            values = random.choice(np.arange(1, len(self.shares) + 1), rows, p=self.shares).astype(np.float64)
            values[random.random(rows) < shift] = len(self.shares) + 1
        else:
            values = self.middle + self.spread * (random.normal(size=rows) + shift)
        values[random.random(rows) < self.missing] = np.nan
        return values

    @property
    def points(self) -> tuple[float, ...]:
        if self.shares:
            return tuple(float(code) for code in range(1, len(self.shares) + 1))
        return tuple(round(self.middle + self.spread * z, 2) for z in DEVIATIONS)


COLUMNS: Final = (
    Column("tenure_months", 0.21, 30, 12),
    Column("monthly_charge", 0.18, 65, 22),
    Column("contract", 0.14, shares=(0.55, 0.25, 0.2)),
    Column("support_calls", 0.11, 2.4, 1.2),
    Column("payment_method", 0.09, shares=(0.4, 0.3, 0.2, 0.1)),
    Column("data_usage_gb", 0.07, 24, 11, missing=0.02),
    Column("days_since_login", 0.06, 9, 5),
    Column("age", 0.05, 44, 15),
    Column("region", 0.03, shares=(0.3, 0.25, 0.2, 0.15, 0.1)),
    Column("discount", 0.03, 8, 3),
    Column("late_payments", 0.02, 1.5, 0.8),
    Column("devices", 0.01, 3, 1.1),
)
SCORE: Final = Column("churn_probability", 0.0, 0.3, 0.12)


def baseline_of(columns: tuple[Column, ...] = COLUMNS, rows: int = REFERENCE_ROWS) -> Baseline:
    random = np.random.default_rng(1)
    inputs = tuple(_feature(column, "x", place, random, rows) for place, column in enumerate(columns))
    return Baseline(rows, 0.0, inputs, (_feature(SCORE, "y", 0, random, rows),))


def _feature(column: Column, tensor: str, place: int, random: np.random.Generator, rows: int) -> Feature:
    kind = Kind.CATEGORY if column.shares else Kind.NUMBER
    bins = len(column.points) + 3
    empty = Feature(column.name, tensor, place, kind, column.points, (0,) * bins, column.importance)
    counts = np.bincount(bins_of(empty, column.drawn(random, rows)), minlength=bins).tolist()
    return Feature(column.name, tensor, place, kind, column.points, tuple(counts), column.importance)


@dataclass
class Watched:
    """server: the control process. address: of its HTTP port. shifts: by the name of a column, from now on."""

    server: DrivenServer
    clock: Clock
    listeners: Listeners
    address: str
    baseline: Baseline
    http: uvicorn.Server
    serving: asyncio.Task[None]
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(2))
    shifts: dict[str, float] = field(default_factory=dict)

    def count(self, rows: int) -> None:
        """So many rows of MODEL, as a worker counts them."""
        ref = RouteTables(self.server.driver._plane).current()[1][1].stable
        assert ref is not None
        features = (*self.baseline.inputs, *self.baseline.predictions)
        bins = sum(len(feature.counts) for feature in features)
        counts = open_counts(self.server.driver._plane.drift(0, ref.seat), ref.generation, bins)[MAIN]
        buckets = self.random.integers(0, DRIFT_BUCKETS, rows)
        first = 0
        for feature, column in zip(features, (*COLUMNS[: len(features) - 1], SCORE), strict=True):
            values = column.drawn(self.random, rows, self.shifts.get(column.name, 0.0))
            np.add.at(counts, (buckets, first + bins_of(feature, values)), 1)
            first += len(feature.counts)

    async def minutes(self, minutes: int, rows: int = 800) -> None:
        """rows: in each minute."""
        for _ in range(minutes * SLICES_A_MINUTE):
            self.count(rows // SLICES_A_MINUTE)
            self.clock.step(SLICE_NS)
            await self.server.drift.look()

    async def reply(self, **fields: str) -> Any:
        """GetDrift's."""
        return await self.server.stub.GetDrift(admin_pb2.GetDriftRequest(model=MODEL, **fields))

    async def get(self, path: str, **query: object) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.address) as client:
            return await client.get(path, params={name: str(value) for name, value in query.items()})

    async def heat_map(self, model: str = MODEL, **query: object) -> Any:
        return (await self.get("/drift/heat-map", model=model, **query)).json()

    async def feature(self, feature: str, **query: object) -> Any:
        return (await self.get("/drift/feature", model=MODEL, feature=feature, **query)).json()


def _settings(folder: Path, drift: Mapping[str, object]) -> Settings:
    section = {"season": "off", "days_without_false_alarm": 1.0, **drift}
    models = [{"name": UNWATCHED}, {"name": MODEL}]
    return Settings.model_validate({**settings_of(folder).model_dump(), "drift": section, "models": models})


def _push(folder: Path, baseline: Baseline) -> str:
    """The digest of MODEL, which is in the cache, as the worker that loads it leaves it."""
    content, width = model_bytes(len(COLUMNS)), len(COLUMNS)
    row = np.ones((1, width), np.float32)
    golden = make_golden(read_onnx(content).signature, [({"x": row}, {"y": row + row})])
    bundle = folder / "bundle"
    write_bundle(bundle, name=MODEL, model_bytes=content, golden=golden, lineage=Lineage(), baseline=baseline)
    registry = FolderRegistry(folder / "registry")
    pushed = registry.push(bundle, aliases=("stable",))
    registry.fetch(registry.resolve(MODEL, pushed.version), BundleCache(folder / "cache"))
    return pushed.digest


@asynccontextmanager
async def watched(
    folder: Path, *, baseline: Baseline | None = None, listeners: Listeners | None = None, **drift: object
) -> AsyncIterator[Watched]:
    """Two models are served, MODEL and UNWATCHED; nothing is counted yet. drift: settings of its section."""
    reference = baseline or baseline_of()
    digest = _push(folder, reference)
    other = push(folder / "registry", 1, aliases=("stable",))
    registry = FolderRegistry(folder / "registry")
    registry.fetch(registry.resolve(UNWATCHED, 1), BundleCache(folder / "cache"))
    clock = Clock(MONDAY + 9 * 3600 * 10**9)
    clocks = {"utc_ns": lambda: clock.at_utc_ns, "now_ns": lambda: clock.now_ns}
    listening = listeners or Listeners(poll_s=0.02)
    pin = ModelPin(name=MODEL, version="1", digest=digest)
    plane = new_plane(boot=clock.at_utc_ns)
    async with serving(_settings(folder, drift), plane, other, others=[pin], drift_clock=clocks) as server:
        await server.until(lambda: server.driver.state(MODEL).stable is not None)
        await server.drift.look()
        socket = listening_socket("server.http", "127.0.0.1:0")
        app = application(
            PlaneReader(plane), server.driver, "127.0.0.1:8001",
            drift_page=routes(server.drift, server.driver, listening),
        )  # fmt: skip
        configuration = uvicorn.Config(
            app, http=HttpConnection, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
        )
        http = uvicorn.Server(configuration)
        task = asyncio.create_task(http.serve(sockets=[socket]))
        await server.until(lambda: http.started)
        try:
            address = f"http://127.0.0.1:{port_of(socket)}"
            yield Watched(server, clock, listening, address, reference, http, task)
        finally:
            listening.close()
            http.should_exit = True
            await task
