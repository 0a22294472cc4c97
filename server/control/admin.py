"""The admin port: gRPC for operators, on loopback only: `roost.v1.Admin`, and health of the whole server.

Always: what health says here is what /health/ready says, at most HEALTH_PERIOD_S old; and a server that falls silent
is replaced within PROBE_PERIOD_S + PROBE_TIMEOUT_S. That happens: grpc.aio's serving task ends at a `:path` that is
not UTF-8, and nothing in its public interface tells. So this one asks itself, as any client would.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from grpc import RpcError, aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from protos.roost.v1 import admin_pb2_grpc
from server.addresses import join_address
from server.control.drift.watching import DriftWatch
from server.control.driver import Driver
from server.control.operations.servicer import AdminServicer
from server.control.plane_reader import PlaneReader

log = logging.getLogger("roost.control")

HEALTH_PERIOD_S: Final = 0.1
PROBE_PERIOD_S: Final = 1.0
PROBE_TIMEOUT_S: Final = 2.0
STOP_GRACE_S: Final = 1.0
# The parent holds the port, bound and not listening. What comes here is small; a bigger message is a mistake.
OPTIONS: Final = (("grpc.so_reuseport", 1), ("grpc.max_receive_message_length", 1 << 20))
OPTIONS_TO_ITSELF: Final = (("grpc.enable_http_proxy", 0),)  # whatever proxy the environment names


class Admin:
    """Call `start`, keep `follow` running, call `stop`."""

    def __init__(self, reader: PlaneReader, driver: Driver, drift: DriftWatch, host: str, port: int) -> None:
        """driver: started already."""
        self._reader = reader
        self._driver = driver
        self._operations = AdminServicer(driver, drift)
        self._address = join_address(host, port)
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs know only the threaded one
        self._server = aio.server(options=OPTIONS)
        self._channel: aio.Channel | None = None  # to itself

    async def start(self) -> None:
        await self._tell()
        await self._serve()

    async def follow(self) -> None:
        """Tells the health service what the plane says, and sees to it that somebody answers; for ever."""
        probe_due_s = time.monotonic() + PROBE_PERIOD_S
        while True:
            await self._tell()
            if time.monotonic() >= probe_due_s:
                await self._keep_answering()
                probe_due_s = time.monotonic() + PROBE_PERIOD_S
            await asyncio.sleep(HEALTH_PERIOD_S)

    async def stop(self) -> None:
        await self._health.enter_graceful_shutdown()
        await self._hang_up()
        await self._server.stop(STOP_GRACE_S)

    async def _serve(self) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        admin_pb2_grpc.add_AdminServicer_to_server(self._operations, self._server)  # type: ignore[no-untyped-call]
        self._server.add_insecure_port(self._address)
        await self._server.start()

    async def _tell(self) -> None:
        status = health_pb2.HealthCheckResponse
        ready = self._reader.readiness(time.monotonic_ns()).ready and not self._driver.not_serving()
        await self._health.set("", status.SERVING if ready else status.NOT_SERVING)

    async def _hang_up(self) -> None:
        if self._channel is not None:
            await self._channel.close(None)
            self._channel = None

    async def _keep_answering(self) -> None:
        if self._channel is None:
            self._channel = aio.insecure_channel(self._address, OPTIONS_TO_ITSELF)
        try:
            stub = health_pb2_grpc.HealthStub(self._channel)
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=PROBE_TIMEOUT_S)
        except RpcError as error:
            reason = error.code().name if isinstance(error, aio.AioRpcError) else str(error)
            log.warning("the admin port fell silent: serving it anew", extra={"fields": {"reason": reason}})
            await self._hang_up()
            await self._server.stop(None)
            self._server = aio.server(options=OPTIONS)
            await self._serve()
