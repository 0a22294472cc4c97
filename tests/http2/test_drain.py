"""SIGTERM with calls in flight: watchers are told, GOAWAY is sent twice, every call is answered, the exit code is 0."""

from __future__ import annotations

import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from native.plane.layout import WorkerState
from server.settings import Settings
from tests.adversity.raw_peer import GOAWAY, RawPeer, call_headers, framed
from tests.behaviour.messages import predict_request
from tests.behaviour.worker_process import WorkerProcess

WATCH = "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


def call(model: str, **inputs: np.ndarray) -> bytes:
    return framed(predict_request(model, inputs).SerializeToString())


def test_a_drain_answers_what_is_in_flight_and_says_goodbye_twice(lane_settings: Settings, tmp_path: Path) -> None:
    worker = WorkerProcess("fast", lane_settings, tmp_path / "log")
    with worker, RawPeer(worker.port) as peer:
        watching = peer.call(framed(b""), call_headers(WATCH))
        while framed(SERVING) != peer.so_far(watching).body:
            assert peer.receive()
        slow = [peer.call(call("slow", turns=np.array(1500, np.int64))) for _ in range(3)]
        assert peer.is_served()
        assert worker.process is not None
        worker.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 10
        while not peer.came(GOAWAY) and time.monotonic() < until:
            peer.receive(0.1)
        # A call that was on its way when the first GOAWAY came is answered.
        crossing = peer.call(call("mlp", features=np.zeros((1, 32), np.float32)))
        assert [peer.answer(stream).status for stream in [*slow, crossing]] == [0, 0, 0, 0]
        assert peer.is_closed()
        assert peer.so_far(watching).body == framed(SERVING) + framed(NOT_SERVING)
        first, second = peer.came(GOAWAY)
        assert struct.unpack(">II", first.payload[:8]) == (0x7FFFFFFF, 0)
        assert struct.unpack(">II", second.payload[:8]) == (crossing, 0)
        assert worker.process.wait(10) == 0


def test_a_connection_accepted_as_the_drain_begins_is_answered_and_told_to_go(
    scripted: Callable[..., WorkerProcess],
) -> None:
    worker = scripted("accepting_worker.py")
    assert worker.process is not None
    worker.process.send_signal(signal.SIGTERM)
    until = time.monotonic() + 10
    while worker.state is not WorkerState.DRAINING and time.monotonic() < until:
        time.sleep(0.001)
    with RawPeer(worker.port) as peer:
        assert peer.ask(call("mlp", features=np.zeros((1, 32), np.float32))).status == 0
        assert peer.is_closed()
        assert len(peer.came(GOAWAY)) == 2
    assert worker.process.wait(10) == 0
