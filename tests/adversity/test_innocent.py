"""What must not happen to who did nothing wrong: a prompt reader, a greedy call's neighbour, one who says goodbye."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from native.http2.refusals import REFUSALS, REPLY_OVER_LIMIT
from server.settings import BatchingSettings, ModelSettings, ServerSettings, Settings
from tests.adversity.attacked_worker import wide_model
from tests.adversity.raw_peer import (
    GOAWAY,
    INITIAL_WINDOW_SIZE,
    SETTINGS,
    WINDOW_UPDATE,
    RawPeer,
    call_headers,
    frame,
    framed,
    setting,
)
from tests.behaviour.messages import predict_request
from tests.behaviour.served_models import BUILDERS
from tests.behaviour.worker_process import WorkerProcess

WINDOW_BYTES = 1 << 30
ROWS_OF_A_MEBIBYTE = 64  # of 16 KiB each
WATCH = "/grpc.health.v1.Health/Watch"
RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED = 8, 4


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """A worker with the limits that everybody starts with."""
    folder = tmp_path_factory.mktemp("innocent")
    (folder / "wide.onnx").write_bytes(wide_model())
    (folder / "slow.onnx").write_bytes(BUILDERS["slow"]())
    models = tuple(ModelSettings(name=name, onnx=Path(folder / f"{name}.onnx")) for name in ("wide", "slow"))
    settings = Settings(
        server=ServerSettings(drain_timeout_s=2.0), batching=BatchingSettings(max_batch_size=1024), models=models
    )
    with WorkerProcess("fast", settings, folder / "log") as started:
        yield started


def wide_call(rows: int, **more: str) -> bytes:
    request = predict_request("wide", {"x": np.ones((rows, 1), np.float32)})
    for field, value in more.items():
        setattr(request, field, value)
    return framed(request.SerializeToString())


def slow_call(turns: int) -> bytes:
    return framed(predict_request("slow", {"turns": np.array(turns, np.int64)}).SerializeToString())


def open_windows(peer: RawPeer) -> None:
    window = WINDOW_BYTES.to_bytes(4, "big")
    peer.send(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, WINDOW_BYTES)), frame(WINDOW_UPDATE, 0, 0, window))


def test_a_prompt_reader_of_many_large_replies_gets_them_all(worker: WorkerProcess) -> None:
    """Twenty replies of a mebibyte in one batch are more than a connection may leave unread; nobody leaves them."""
    with RawPeer(worker.port) as peer:
        open_windows(peer)
        streams = [peer.call(wide_call(ROWS_OF_A_MEBIBYTE)) for _ in range(20)]
        answers = [peer.answer(stream) for stream in streams]
        assert [answer.status for answer in answers] == [0] * 20 or (
            not peer.closed and {answer.status for answer in answers} <= {0, RESOURCE_EXHAUSTED}
        )
        assert peer.is_served()


def test_a_goodbye_leaves_the_last_reply_whole(worker: WorkerProcess) -> None:
    """The peer says GOAWAY and still waits for a reply that is larger than a socket takes at once."""
    rows = 3 * ROWS_OF_A_MEBIBYTE
    with RawPeer(worker.port) as peer:
        open_windows(peer)
        stream = peer.call(wide_call(rows))
        peer.send(frame(GOAWAY, 0, 0, bytes(8)))
        time.sleep(0.3)
        answer = peer.answer(stream)
        assert answer.status == 0
        assert len(answer.body) > rows * 16 * 1024


def test_a_reply_over_the_limit_of_a_message_is_refused_alike_on_both_paths(worker: WorkerProcess) -> None:
    with RawPeer(worker.port) as peer:
        open_windows(peer)
        by_kernel = peer.ask(wide_call(5 * ROWS_OF_A_MEBIBYTE))
        by_servicer = peer.ask(wide_call(5 * ROWS_OF_A_MEBIBYTE, routing_key="na\u00efve"))
        for answer in (by_kernel, by_servicer):
            assert answer.status == RESOURCE_EXHAUSTED
            assert answer.text == REFUSALS[REPLY_OVER_LIMIT].message


def test_a_run_without_end_ends_with_its_callers_deadline(worker: WorkerProcess) -> None:
    with RawPeer(worker.port) as greedy, RawPeer(worker.port) as neighbour:
        endless = greedy.call(slow_call(1 << 40), call_headers(grpc_timeout="300m"))
        assert greedy.answer(endless).status == DEADLINE_EXCEEDED
        started = time.monotonic()
        assert neighbour.ask(slow_call(1), call_headers(grpc_timeout="5S")).status == 0
        assert time.monotonic() - started < 3


def test_watches_leave_slots_for_predictions(worker: WorkerProcess) -> None:
    peers = [RawPeer(worker.port) for _ in range(5)]
    try:
        for peer in peers:
            for _ in range(8):
                for _ in range(10):
                    peer.call(framed(b""), call_headers(WATCH))
                time.sleep(0.05)
        deadline = time.monotonic() + 10
        refused = 0
        while not refused and time.monotonic() < deadline:
            for peer in peers:
                peer.receive(0.05)
            refused = sum(answer.status == RESOURCE_EXHAUSTED for peer in peers for answer in peer.answers())
        assert refused
        with RawPeer(worker.port) as neighbour:
            assert neighbour.ask(wide_call(1)).status == 0
    finally:
        for peer in peers:
            peer.close()


def test_a_worker_with_a_run_without_end_stops_when_told_to(worker: WorkerProcess) -> None:
    """The last test of this worker: it is stopped here."""
    with RawPeer(worker.port) as greedy:
        greedy.call(slow_call(1 << 40))
        time.sleep(0.3)
        started = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - started < 8
