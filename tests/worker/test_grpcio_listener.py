"""The grpc.aio listener: paths that are not UTF-8, bounds, counting, and the end."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc import aio

from native.plane import counters
from native.route.layout import MAIN
from protos.roost.v1 import predict_pb2
from server.settings import LimitSettings, ModelSettings, Settings
from server.worker.listeners.grpcio import GrpcioListener
from server.worker.models.loading import load_model
from server.worker.models.table import ModelTable
from server.worker.servicers.call import Serving
from server.worker.servicers.health_board import HealthBoard
from server.worker.servicers.methods import PREDICT, SERVICES
from server.worker.status import Code
from tests.worker.onnx_graphs import doubled, written

LIMITS = LimitSettings(slots_max=3)


class GatedRunner:
    """Runs work on the loop, once the gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()

    async def run(self, work, size, end):
        await self.gate.wait()
        return work(MAIN)


class Running:
    """A listener with one model behind a gate."""

    def __init__(self, model_path: Path, message_bytes_max: int = LIMITS.message_bytes_max) -> None:
        wanted = ModelSettings(name="model", onnx=model_path)
        model = load_model(wanted, Settings(models=(wanted,)))
        self.runner = model.runner = GatedRunner()
        health = HealthBoard(SERVICES)
        health.serve()
        serving = Serving(ModelTable([model]), health, "roost", "0", message_bytes_max)
        self.counts = np.zeros(counters.COUNTERS_LENGTH, np.int64)
        self.listener = GrpcioListener(serving, LIMITS, self.counts, "127.0.0.1", 0)

    def channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(
            f"127.0.0.1:{self.listener.port}", options=[("grpc.use_local_subchannel_pool", 1)]
        )

    def counted(self, code: Code, method: int = counters.METHOD_PREDICT) -> int:
        return int(self.counts[counters.REQUESTS + method * counters.STATUS_COUNT + code])


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    running = Running(written(tmp_path, doubled()))
    await running.listener.start()
    yield running
    running.runner.gate.set()
    await running.listener.drain(5)


def request(rows: int = 1) -> bytes:
    message = predict_pb2.PredictRequest(model="model")
    message.inputs.add(name="x", datatype="FP32", shape=[rows, 4], raw=bytes(16 * rows))
    return message.SerializeToString()


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header field in HPACK, neither indexed nor compressed."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


async def call_a_path_that_is_not_utf8(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    fields = [
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/\xff\xfe/x"), (b":authority", b"x"),
        (b"te", b"trailers"), (b"content-type", b"application/grpc"),
    ]  # fmt: skip
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
    writer.write(frame(1, 4, 1, b"".join(literal(*field) for field in fields)) + frame(0, 1, 1, bytes(5)))
    await writer.drain()
    await asyncio.wait_for(reader.read(100), 30)
    writer.close()


async def answer_of_a_server_that_listens(channel: aio.Channel) -> bytes:
    """A call that comes to the server whose task has just died is cancelled with it; the next is the successor's."""
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    while True:
        try:
            reply: bytes = await check(b"", timeout=20, wait_for_ready=True)
        except aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.CANCELLED:
                raise
        else:
            return reply


async def test_a_path_that_is_not_utf8_ends_neither_the_port_nor_calls_in_flight(running: Running) -> None:
    async with running.channel() as channel, running.channel() as later:
        running.runner.gate.clear()
        in_flight = channel.unary_unary(PREDICT)(request(2), timeout=20)
        while not running.counts[counters.HANDOFFS]:
            await asyncio.sleep(0.01)
        for crash in range(1, 4):
            await call_a_path_that_is_not_utf8(running.listener.port)
            while running.counts[counters.CUTOFF_PROTOCOL_ERROR] < crash:
                await asyncio.sleep(0.01)
            assert await answer_of_a_server_that_listens(later) == b"\x08\x01"
        running.runner.gate.set()
        assert predict_pb2.PredictReply.FromString(await in_flight).outputs[0].shape == [2, 4]
    assert not running.listener.failure.done()


async def test_a_call_beyond_the_slots_is_refused_at_once_and_the_slots_come_back(running: Running) -> None:
    async with running.channel() as channel:
        predict = channel.unary_unary(PREDICT)
        running.runner.gate.clear()
        held = [predict(request(), timeout=20) for _ in range(LIMITS.slots_max)]
        while running.counts[counters.HANDOFFS] < LIMITS.slots_max:
            await asyncio.sleep(0.01)
        with pytest.raises(grpc.RpcError) as caught:
            await predict(request(), timeout=20)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "call: all slots of this server are taken (limits.slots_max)" in caught.value.details()
        assert running.counts[counters.REFUSAL_SLOTS_FULL] == 1
        running.runner.gate.set()
        for call in held:
            await call
        await predict(request(), timeout=20)
    assert running.counted(Code.OK) == LIMITS.slots_max + 1
    assert running.counted(Code.RESOURCE_EXHAUSTED) == 1


async def test_a_cancelled_call_gives_its_slot_back_and_is_counted(running: Running) -> None:
    async with running.channel() as channel:
        predict = channel.unary_unary(PREDICT)
        for turn in range(2 * LIMITS.slots_max):
            running.runner.gate.clear()
            call = predict(request(), timeout=20)
            while running.counts[counters.HANDOFFS] <= turn:
                await asyncio.sleep(0.01)
            call.cancel()
            while running.counted(Code.CANCELLED) <= turn:
                await asyncio.sleep(0.01)
        assert running.counts[counters.SLOTS_IN_USE] == 0


async def test_a_reply_over_the_limit_is_refused_with_the_remedy(tmp_path: Path) -> None:
    running = Running(written(tmp_path, doubled()), message_bytes_max=200)
    await running.listener.start()
    try:
        async with running.channel() as channel:
            predict = channel.unary_unary(PREDICT)
            await predict(request(1), timeout=20)
            with pytest.raises(grpc.RpcError) as caught:
                await predict(request(20), timeout=20)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "reply: longer than limits.message_bytes_max" in caught.value.details()
    finally:
        await running.listener.drain(5)


async def test_an_error_of_our_own_is_internal_and_tells_no_particulars(running: Running) -> None:
    async def broken(*work: object) -> None:
        raise ZeroDivisionError("a secret of the house")

    running.runner.run = broken
    async with running.channel() as channel:
        with pytest.raises(grpc.RpcError) as caught:
            await channel.unary_unary(PREDICT)(request(), timeout=20)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in caught.value.details()
    async with asyncio.timeout(30):  # counted once the answer is on its way
        while running.counted(Code.INTERNAL) != 1:
            await asyncio.sleep(0.01)


def status_of_a_stream(port: int) -> grpc.StatusCode:
    """The status of a call that streams its request, from the client that takes it even while it is still sending.

    grpc.aio's reports INTERNAL, an error of its own, where the answer comes before its first message has left.
    """
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.stream_unary("/x/y")(iter([b"a", b"b"]), timeout=20)
        return caught.value.code()


async def test_an_unknown_method_is_counted_as_other(running: Running) -> None:
    async with running.channel() as channel:
        with pytest.raises(grpc.RpcError) as caught:
            await channel.unary_unary("/x/y")(b"", timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert await asyncio.to_thread(status_of_a_stream, running.listener.port) is grpc.StatusCode.UNIMPLEMENTED
    assert running.counted(Code.UNIMPLEMENTED, counters.METHOD_OTHER) == 2


async def test_every_latency_falls_into_one_bucket(running: Running) -> None:
    async with running.channel() as channel:
        for _ in range(5):
            await channel.unary_unary(PREDICT)(request(), timeout=20)
    buckets = running.counts[counters.LATENCY : counters.LATENCY + counters.LATENCY_BUCKETS]
    assert buckets.sum() == 5
    assert running.counts[counters.LATENCY_SUM_NS] > 0


async def test_a_drain_closes_the_port_after_the_last_call(running: Running) -> None:
    async with running.channel() as channel:
        running.runner.gate.clear()
        held = channel.unary_unary(PREDICT)(request(), timeout=20)
        while not running.counts[counters.HANDOFFS]:
            await asyncio.sleep(0.01)
        draining = asyncio.ensure_future(running.listener.drain(20))
        await asyncio.sleep(0.05)
        assert not draining.done()
        running.runner.gate.set()
        assert await held
        await asyncio.wait_for(draining, 10)
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection("127.0.0.1", running.listener.port)


async def test_a_drain_cuts_off_what_does_not_end_in_time(running: Running) -> None:
    async with running.channel() as channel:
        running.runner.gate.clear()
        held = channel.unary_unary(PREDICT)(request(), timeout=20)
        while not running.counts[counters.HANDOFFS]:
            await asyncio.sleep(0.01)
        await asyncio.wait_for(running.listener.drain(0.1), 10)
        with pytest.raises((grpc.RpcError, asyncio.CancelledError)):
            await held


def test_limits_reach_grpc_under_its_own_names() -> None:
    from server.worker.listeners.grpcio import server_options

    options = dict(server_options(LimitSettings(message_bytes_max=5000, streams_per_connection_max=7)))
    assert options["grpc.max_receive_message_length"] == options["grpc.max_send_message_length"] == 5000
    assert options["grpc.max_concurrent_streams"] == 7
    assert "grpc.max_connection_age_ms" not in options
    aged = dict(server_options(LimitSettings(connection_age_max_s=1.5)))
    assert aged["grpc.max_connection_age_ms"] == 1500
