"""The listener on grpc.aio: bytes in, bytes out, every method through the Python servicers.

Chosen by `listener = "grpcio"`, or where libnghttp2 is missing. Always: each call is counted once, under its method and
status; a serving task that dies is followed by another on the same port. What C-core decides without asking (the
content-type is not checked, a missing message leaves the caller waiting) is listed in docs/reference/protocol.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from native.http2.refusals import REFUSALS, SLOTS_FULL
from native.plane import counters
from native.plane.buckets import latency_bucket
from server.addresses import join_address
from server.settings import LimitSettings
from server.worker.listeners.guarded_server import GuardedServer, Options
from server.worker.routing import wish_of
from server.worker.servicers.answering import answer, answers
from server.worker.servicers.call import Call, Serving, StreamingMethod, UnaryMethod
from server.worker.servicers.methods import METHODS, MODEL_INFER, PREDICT, method_not_served
from server.worker.status import Code, StatusError

log = logging.getLogger("roost.worker")

Words = npt.NDArray[np.int64]
Context = Any  # grpc.aio.ServicerContext, whose stubs know no bytes

GRPC_CODES: Mapping[Code, grpc.StatusCode] = {Code(code.value[0]): code for code in grpc.StatusCode}
COUNTED_METHODS = {PREDICT: counters.METHOD_PREDICT, MODEL_INFER: counters.METHOD_MODEL_INFER}
CRASHED_SERVER_GRACE_S = 30.0
DEADLINE_S_MAX = 10 * 365 * 86_400.0


def server_options(limits: LimitSettings) -> Options:
    """grpc's channel arguments for our limits. What is not named here stays grpc's default."""
    options: list[tuple[str, int | str]] = [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", limits.message_bytes_max),
        ("grpc.max_send_message_length", limits.message_bytes_max),
        ("grpc.max_concurrent_streams", limits.streams_per_connection_max),
        ("grpc.max_metadata_size", limits.header_bytes_max),
        ("grpc.absolute_max_metadata_size", limits.header_bytes_max),
    ]
    if limits.connection_age_max_s:
        options.append(("grpc.max_connection_age_ms", round(limits.connection_age_max_s * 1000)))
    return options


class GrpcioListener:
    """Serves one port. `counts` is the worker's private vector of native.plane.counters.

    `failure` is done, with an exception, once the port cannot be served any more.
    """

    def __init__(self, serving: Serving, limits: LimitSettings, counts: Words, host: str, port: int) -> None:
        self._serving = serving
        self._limits = limits
        self._counts = counts
        self._host = host
        self.port = port
        self._handler = _Handler(self)
        self._server: GuardedServer | None = None
        self._endings: set[asyncio.Task[None]] = set()
        self._executing = 0
        self._draining = False
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Binds and listens. With port 0 the port that was given is in `port` afterwards."""
        server = GuardedServer(self._handler, server_options(self._limits), self._succeed)
        self.port = server.add_insecure_port(join_address(self._host, self.port))
        await server.start()
        self._server = server

    def begin_drain(self) -> None:
        """From now on a serving task that dies has no successor."""
        self._draining = True

    async def drain(self, grace_s: float) -> None:
        """GOAWAY, no new calls; returns once the calls in flight have ended, or were cancelled after `grace_s`."""
        self.begin_drain()
        if self._server is not None:
            self._end(self._server, grace_s)
            self._server = None
        if self._endings:
            await asyncio.wait(self._endings)

    def _succeed(self) -> None:
        """The serving task died: start another on the same port, then let the calls of the first one end."""
        crashed, self._server = self._server, None
        self._counts[counters.CUTOFF_PROTOCOL_ERROR] += 1
        log.warning("a call's :path was not UTF-8, which ends grpc's serving task; another takes over its port")
        task = asyncio.get_running_loop().create_task(self._take_over(crashed))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _take_over(self, crashed: GuardedServer | None) -> None:
        if not self._draining:
            try:
                await self.start()
            except (RuntimeError, OSError) as error:
                if not self.failure.done():
                    self.failure.set_exception(error)
        if crashed is not None:
            await crashed.finish(CRASHED_SERVER_GRACE_S)

    def _end(self, server: GuardedServer, grace_s: float) -> None:
        task = asyncio.get_running_loop().create_task(server.finish(grace_s))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def unary(self, path: str, method: UnaryMethod, message: bytes, context: Context) -> bytes:
        started_ns = time.monotonic_ns()
        code = Code.CANCELLED
        try:
            self._take_slot()
            reply = await answer(self._serving, path, method, _call(message, context))
            code = Code.OK
            return reply
        except StatusError as error:
            code = error.code
            await context.abort(GRPC_CODES[error.code], error.message)
            raise AssertionError("abort raises") from error
        finally:
            self._executing -= 1
            self._count(path, code, started_ns)

    async def streaming(
        self, path: str, method: StreamingMethod, message: bytes, context: Context
    ) -> AsyncIterator[bytes]:
        started_ns = time.monotonic_ns()
        code = Code.CANCELLED
        try:
            self._take_slot()
            async for reply in answers(self._serving, path, method, _call(message, context)):
                yield reply
            code = Code.OK
        except StatusError as error:
            code = error.code
            await context.abort(GRPC_CODES[error.code], error.message)
        finally:
            self._executing -= 1
            self._count(path, code, started_ns)

    async def refuse(self, path: str, context: Context) -> None:
        """The answer to an unknown method, whatever its kind: no message is read."""
        error = method_not_served(path)
        self._count(path, error.code, time.monotonic_ns())
        await context.abort(GRPC_CODES[error.code], error.message)

    def _take_slot(self) -> None:
        """Counts a call in, always; refuses it where it is one too many."""
        self._executing += 1
        if self._executing > self._limits.slots_max:
            self._counts[counters.REFUSAL_SLOTS_FULL] += 1
            raise StatusError(REFUSALS[SLOTS_FULL].status, REFUSALS[SLOTS_FULL].message)
        self._counts[counters.HANDOFFS] += 1

    def _count(self, path: str, code: Code, started_ns: int) -> None:
        counts = self._counts
        method = COUNTED_METHODS.get(path, counters.METHOD_OTHER)
        counts[counters.REQUESTS + method * counters.STATUS_COUNT + code] += 1
        latency_ns = time.monotonic_ns() - started_ns
        counts[counters.LATENCY + latency_bucket(latency_ns)] += 1
        counts[counters.LATENCY_SUM_NS] += latency_ns
        counts[counters.SLOTS_IN_USE] = self._executing
        if code is Code.CANCELLED:
            counts[counters.CANCELLED] += 1


class _Handler(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """METHODS as grpc wants them; serialisers are left out, so that messages stay bytes."""

    def __init__(self, listener: GrpcioListener) -> None:
        self._listener = listener
        self._known = {path: self._of(path, method) for path, method in METHODS.items()}

    def _of(self, path: str, method: UnaryMethod | StreamingMethod) -> grpc.RpcMethodHandler[bytes, bytes]:
        if isinstance(method, UnaryMethod):
            unary_method = method

            async def unary(message: bytes, context: Context) -> bytes:
                return await self._listener.unary(path, unary_method, message, context)

            return grpc.unary_unary_rpc_method_handler(unary)
        streaming_method = method

        async def streaming(message: bytes, context: Context) -> AsyncIterator[bytes]:
            async for reply in self._listener.streaming(path, streaming_method, message, context):
                yield reply

        return grpc.unary_stream_rpc_method_handler(streaming)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        path = handler_call_details.method
        known = self._known.get(path)
        if known is not None:
            return known

        async def refuse(_messages: AsyncIterator[bytes], context: Context) -> None:
            await self._listener.refuse(path, context)

        return grpc.stream_stream_rpc_method_handler(refuse)


def _call(message: bytes, context: Context) -> Call:
    remaining_s = context.time_remaining()
    deadline_ns = None
    if remaining_s is not None:
        # 99999999H is allowed and is more nanoseconds than 64 bits hold.
        deadline_ns = time.monotonic_ns() + round(min(remaining_s, DEADLINE_S_MAX) * 1e9)
    return Call(message, deadline_ns, wish_of(context.invocation_metadata() or ()))
