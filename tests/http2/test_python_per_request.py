"""The one idea, counted: Python runs once per batch and once per socket read, never once per request."""

from __future__ import annotations

import selectors
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.adversity.raw_peer import (
    DATA,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    SETTINGS,
    WINDOW_UPDATE,
    RawPeer,
    call_headers,
    frame,
    framed,
    setting,
)
from tests.behaviour.messages import infer_request, predict_request
from tests.behaviour.worker_process import WorkerProcess

CONNECTIONS, STREAMS = 4, 64
REQUESTS = 20_000
CALLS_PER_REQUEST_MAX = 0.2
WINDOW_BYTES = 1 << 30
INFER = "/inference.GRPCInferenceService/ModelInfer"


class Loader(RawPeer):
    """Keeps STREAMS calls in flight, and counts the messages and ends that come back."""

    def __init__(self, port: int, message: bytes, headers: list[tuple[str, str]]) -> None:
        super().__init__(port)
        self._body, self._headers = framed(message), headers
        window = WINDOW_BYTES.to_bytes(4, "big")
        self.send(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, WINDOW_BYTES)), frame(WINDOW_UPDATE, 0, 0, window))
        self._seen = 0
        self.messages = self.ended = 0

    def refill(self, count: int) -> None:
        frames = []
        for _ in range(count):
            stream, opening = self.open(self._headers)
            frames += [opening, frame(DATA, END_STREAM, stream, self._body)]
        self.send(*frames)

    def take_answers(self) -> int:
        """How many calls ended with what came."""
        self.take(self.socket.recv(1 << 20))
        came, self.frames = self.frames, []
        ended = sum(one.kind == HEADERS and bool(one.flags & END_STREAM) for one in came)
        self.messages += sum(one.kind == DATA and len(one.payload) > len(self._body) // 4 for one in came)
        self.ended += ended
        return ended


def loaded(port: int, message: bytes, headers: list[tuple[str, str]], requests: int) -> None:
    """Sends `requests` calls, CONNECTIONS x STREAMS in flight, and checks that each was answered with a message."""
    peers = [Loader(port, message, headers) for _ in range(CONNECTIONS)]
    with selectors.DefaultSelector() as selector:
        for peer in peers:
            selector.register(peer.socket, selectors.EVENT_READ, peer)
            peer.refill(STREAMS)
        while sum(peer.ended for peer in peers) < requests:
            ready = selector.select(10)
            assert ready, "no answer in time"
            for key, _events in ready:
                key.data.refill(key.data.take_answers())
    assert sum(peer.messages for peer in peers) >= requests
    for peer in peers:
        peer.close()


def test_python_is_called_less_than_once_in_five_requests(
    scripted: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    counts = tmp_path / "calls"
    counts.write_bytes(bytes(8))
    worker = scripted("counted_worker.py", str(counts))
    features = {"features": np.zeros((1, 32), np.float32)}
    calls = {
        "Predict": (predict_request("mlp", features).SerializeToString(), call_headers()),
        "ModelInfer": (infer_request("mlp", features).SerializeToString(), call_headers(INFER)),
    }
    for method, (message, headers) in calls.items():
        loaded(worker.port, message, headers, 1000)  # first bindings, first connections
        before = int(np.fromfile(counts, np.int64)[0])
        loaded(worker.port, message, headers, REQUESTS)
        per_request = (int(np.fromfile(counts, np.int64)[0]) - before) / REQUESTS
        assert 0 < per_request < CALLS_PER_REQUEST_MAX, f"{method}: {per_request:.3f} Python calls per request"
        print(f"{method}: {per_request:.3f} Python function calls per request")
