"""A grpc.aio server that outlives a `:path` which is not UTF-8.

grpc.aio decodes every path in its serving task; bytes that are not UTF-8 end the task, and its crash handler then
cancels all calls in flight and closes the port. Here a crash is reported instead, so that the listener can start a
successor on the same port and let this server's calls finish. Reaches into grpc's private classes, which
tests/worker/test_grpcio_listener.py would show as a failure if they changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import grpc
from grpc import aio
from grpc._cython import cygrpc
from grpc.aio import _server

Options = Sequence[tuple[str, int | str]]


class _ReportingServer(cygrpc.AioServer):  # type: ignore[misc]
    on_crash: Callable[[], None] | None = None

    def _serving_task_crash_handler(self, task: asyncio.Task[None]) -> None:
        # Asking for the exception marks it as seen; a task that was cancelled or ended well did not crash.
        if not task.cancelled() and task.exception() is not None and self.on_crash is not None and self.is_running():
            self.on_crash()


class GuardedServer(_server.Server):
    """One life of the server. `on_crash` is called once, on the loop, if its serving task ends by an error."""

    def __init__(
        self, handler: grpc.GenericRpcHandler[bytes, bytes], options: Options, on_crash: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = _ReportingServer(self._loop, None, (handler,), None, tuple(options), None)
        self._server.on_crash = on_crash

    async def finish(self, grace_s: float) -> None:
        """Closes the port, lets calls in flight end within the grace, cancels the rest. Also after a crash."""
        try:
            await self._server.shutdown(grace_s)
        except UnicodeDecodeError:
            # The crashed task's own error, met while it is awaited: the port is closed by now, the calls are not.
            await self._server.shutdown(grace_s)


assert issubclass(GuardedServer, aio.Server)
