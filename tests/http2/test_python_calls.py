"""Python runs once per batch and once per socket read: counted, function by function, under load."""

from __future__ import annotations

import mmap
import selectors
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np

from native.plane.counters import METHOD_PREDICT, REQUESTS, SOCKET_READS, STATUS_COUNT
from tests.adversity.raw_peer import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    SETTINGS,
    WINDOW_UPDATE,
    Conversation,
    call_headers,
    frame,
    framed,
)
from tests.behaviour.messages import predict_request
from tests.behaviour.worker_process import WorkerProcess

CONNECTIONS = 4
IN_FLIGHT_EACH = 64
CALLS = 20_000
CALLS_PER_REQUEST_MAX = 0.2
CALL = framed(predict_request("mlp", {"features": np.ones((1, 32), np.float32)}).SerializeToString())
WINDOW = frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big"))


class Loader:
    """One connection that keeps its calls in flight: for each answer that came it sends another call."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        first = Conversation()
        # The first block fills the table of headers, all later ones are references to it.
        _, opening = first.open()
        self._block = first.block(call_headers())
        self._stream = 3
        self._rest = b""
        self.sent = 1
        ask = opening + frame(DATA, END_STREAM, 1, CALL)
        self.socket.sendall(PREFACE + frame(SETTINGS) + frame(SETTINGS, ACK) + WINDOW + ask)

    def send(self, count: int) -> None:
        calls = []
        for _ in range(count):
            calls.append(frame(HEADERS, END_HEADERS, self._stream, self._block))
            calls.append(frame(DATA, END_STREAM, self._stream, CALL))
            self._stream += 2
        self.sent += count
        self.socket.sendall(b"".join(calls))

    def receive(self) -> int:
        """How many calls were answered by what came."""
        piece = self.socket.recv(1 << 18)
        assert piece, "the server hung up"
        content, at, over = self._rest + piece, 0, 0
        while len(content) - at >= 9:
            end = at + 9 + int.from_bytes(content[at : at + 3], "big")
            if end > len(content):
                break
            over += content[at + 3] == HEADERS and bool(content[at + 4] & END_STREAM)
            at = end
        self._rest = content[at:]
        return over


def load(port: int, calls: int) -> None:
    """So many calls, 256 in flight over 4 connections."""
    loaders = [Loader(port) for _ in range(CONNECTIONS)]
    with selectors.DefaultSelector() as selector:
        for loader in loaders:
            selector.register(loader.socket, selectors.EVENT_READ, loader)
            loader.send(IN_FLIGHT_EACH - 1)
        answered = 0
        while answered < calls:
            for key, _ in selector.select(20):
                loader = key.data
                over = loader.receive()
                answered += over
                left = calls - sum(each.sent for each in loaders)
                loader.send(min(over, max(left, 0)))
    for loader in loaders:
        loader.socket.close()


def test_a_request_costs_less_than_a_fifth_of_a_python_call(
    scripted: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    path = tmp_path / "calls"
    path.write_bytes(bytes(8))
    worker = scripted("counted_worker.py", str(path))
    with path.open("rb") as file:
        calls = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)).cast("q")
    counts = worker.plane.block(0).counters
    answered_ok = REQUESTS + METHOD_PREDICT * STATUS_COUNT
    load(worker.port, 1000)  # bindings are made, costs learned
    calls_before, reads_before, answered_before = calls[0], int(counts[SOCKET_READS]), int(counts[answered_ok])
    load(worker.port, CALLS)
    requests, made = int(counts[answered_ok]) - answered_before, calls[0] - calls_before
    assert requests >= CALLS * 0.99, "errors cost nothing, and would be counted as answers"
    assert made > int(counts[SOCKET_READS]) - reads_before, "nothing is counted at all"
    assert made / requests < CALLS_PER_REQUEST_MAX, f"{made} calls for {requests} requests"
