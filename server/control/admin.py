"""The admin port: gRPC for operators, on loopback only. Today it answers `grpc.health.v1.Health` for the whole server.

Always: what health says here is what /health/ready says, at most HEALTH_PERIOD_S old.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from server.control.plane_reader import PlaneReader
from server.settings import join_address

HEALTH_PERIOD_S: Final = 0.1
STOP_GRACE_S: Final = 1.0


class Admin:
    """Call `start`, keep `follow` running, call `stop`."""

    def __init__(self, reader: PlaneReader, host: str, port: int) -> None:
        self._reader = reader
        self._address = join_address(host, port)
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs know only the threaded one
        self._server = aio.server(options=(("grpc.so_reuseport", 1),))  # the parent holds the port

    async def start(self) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._server.add_insecure_port(self._address)
        await self._tell()
        await self._server.start()

    async def follow(self) -> None:
        """Tells the health service what the plane says, for ever."""
        while True:
            await self._tell()
            await asyncio.sleep(HEALTH_PERIOD_S)

    async def stop(self) -> None:
        await self._health.enter_graceful_shutdown()
        await self._server.stop(STOP_GRACE_S)

    async def _tell(self) -> None:
        status = health_pb2.HealthCheckResponse
        ready = self._reader.readiness(time.monotonic_ns()).ready
        await self._health.set("", status.SERVING if ready else status.NOT_SERVING)
