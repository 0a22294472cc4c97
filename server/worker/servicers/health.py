"""grpc.health.v1.Health: Check and Watch, over the worker's health board."""

from __future__ import annotations

from collections.abc import AsyncIterator

from grpc_health.v1 import health_pb2

from server.worker.servicers.call import Call, Serving, parsed, serialised
from server.worker.status import Code, NotFound, StatusError, listed, quoted

Status = health_pb2.HealthCheckResponse


async def check(serving: Serving, call: Call) -> bytes:
    request = parsed(health_pb2.HealthCheckRequest, call.message)
    state = serving.health.state(request.service)
    if state is None:
        hint = "Leave it empty to ask for the server as a whole."
        raise NotFound("service", f"one of {listed(serving.health.services)}", quoted(request.service), hint)
    return serialised(_response(state))


async def watch(serving: Serving, call: Call) -> AsyncIterator[bytes]:
    """The state now and at each change. A service that is not known is SERVICE_UNKNOWN, not an error."""
    request = parsed(health_pb2.HealthCheckRequest, call.message)
    async for state in serving.health.watch(request.service):
        yield serialised(_response(state))
    raise StatusError(Code.UNAVAILABLE, "The server drains. Watch again on a new connection.")


def _response(state: bool | None) -> health_pb2.HealthCheckResponse:
    if state is None:
        return Status(status=Status.SERVICE_UNKNOWN)
    return Status(status=Status.SERVING if state else Status.NOT_SERVING)
