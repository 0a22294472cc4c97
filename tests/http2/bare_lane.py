"""A lane without sockets, loop or model: bytes go in, batches are run by hand, bytes come out.

The model doubles: y = 2 x, FP32 [rows, 1]. Each request's rows carry its own number, so that a reply names its request.
"""

from __future__ import annotations

import numpy as np

from native.batch.finish import collect_finished
from native.batch.layout import NO_ARENA
from native.batch.memory import QueueBounds, address_of
from native.batch.seal import free_arena, next_arena, take_arena
from native.http2 import answers, session
from native.http2.lane import Lane, LaneLimits
from native.http2.refusals import DEADLINE_PASSED
from native.lane import layout
from native.plane import counters
from native.route.layout import MAIN
from native.wire.datatypes import DATATYPES
from native.wire.directory import ModelDirectory, WireModel, WireTensor
from protos.roost.v1 import predict_pb2
from server.worker.servicers.methods import METHODS
from tests.adversity.raw_peer import (
    ACK,
    DATA,
    END_STREAM,
    PREFACE,
    SETTINGS,
    Conversation,
    Headers,
    call_headers,
    frame,
    framed,
)
from tests.behaviour.messages import predict_outputs, predict_request

FP32 = next(code for code, kind in DATATYPES.items() if kind.name == "FP32")
SECOND_NS = 10**9
HELD = ("CONNECTIONS", "SLOTS_IN_USE", "QUEUED_ROWS", "ASSEMBLING_BYTES", "REPLY_BYTES")
SERVER_LIVE = "/inference.GRPCInferenceService/ServerLive"


def request(number: float, rows: int = 1, *, fill_bytes: int = 0) -> bytes:
    """A framed call whose rows are all `number`. fill_bytes: of an unknown field, to make the message long."""
    message = predict_request("double", {"x": np.full((rows, 1), number, np.float32)}).SerializeToString()
    if fill_bytes:
        message += b"\xf2\x3f" + bytes([fill_bytes & 0x7F | 0x80, fill_bytes >> 7]) + bytes(fill_bytes)
    return framed(message)


def reply_values(message: bytes) -> np.ndarray:
    return predict_outputs(predict_pb2.PredictReply.FromString(message))["y"]


class BareLane:
    """A Lane and the client's side of each of its connections."""

    def __init__(self, *, max_rows: int = 4, arenas: int = 3, waiting_rows_max: int = 12, **limits: int) -> None:
        tensors = WireTensor("x", FP32, (-1, 1)), WireTensor("y", FP32, (-1, 1))
        model = WireModel("double", "1", "0123456789ab", "stable", tensors[:1], tensors[1:], max_rows)
        self.counters = np.zeros(counters.COUNTERS_LENGTH, np.int64)
        self.limits = LaneLimits(**({"connections_max": 4, "slots_max": 16} | limits))
        bounds = [QueueBounds(arenas, waiting_rows_max)]
        self.lane = Lane(ModelDirectory([model]), bounds, tuple(METHODS), self.counters, self.limits)
        self.words = self.lane.words
        self.clients: dict[int, Conversation] = {}
        self.closed: set[int] = set()
        self.now_ns = SECOND_NS

    def count(self, name: str) -> int:
        return int(self.counters[getattr(counters, name)])

    @property
    def held(self) -> dict[str, int]:
        return {name: self.count(name) for name in HELD if self.count(name)}

    def connect(self) -> int | None:
        """Opens a connection and exchanges SETTINGS: its index, None where there is none left."""
        index = self.lane.open(self.now_ns)
        if index is not None:
            self.clients[index] = Conversation()
            self.closed.discard(index)
            self.feed(index, PREFACE, frame(SETTINGS), frame(SETTINGS, ACK))
        return index

    def disconnect(self, connection: int) -> None:
        del self.clients[connection]
        self.lane.close(connection)

    def feed(self, connection: int, *frames: bytes) -> None:
        """Bytes as if a socket had read them."""
        received = np.frombuffer(b"".join(frames), np.uint8).copy()
        session.receive(self.words, connection, address_of(received), received.size, self.now_ns)

    def begin(self, connection: int, content: bytes, headers: Headers | None = None) -> int:
        """Opens a call and sends some of it; its stream."""
        stream, opening = self.clients[connection].open(headers)
        self.feed(connection, opening, frame(DATA, 0, stream, content))
        return stream

    def call(self, connection: int, content: bytes, headers: Headers | None = None) -> int:
        stream, opening = self.clients[connection].open(headers)
        self.feed(connection, opening, frame(DATA, END_STREAM, stream, content))
        return stream

    def predict(self, connection: int, number: float, rows: int = 1, timeout: str | None = None) -> int:
        """A whole call; its stream."""
        headers = call_headers(grpc_timeout=timeout) if timeout else None
        return self.call(connection, request(number, rows), headers)

    def take(self, cost_ns: int = 0) -> tuple[int, list[int]] | None:
        """Hands the next batch to a runner: its arena and the slots that expired, or None where nothing waits."""
        arena = int(next_arena(self.words, MAIN))
        if arena == NO_ARENA:
            return None
        count = take_arena(self.words, arena, self.now_ns, cost_ns, self.lane.refused)
        return arena, self.lane.refused[:count].tolist()

    def refuse_expired(self, expired: list[int]) -> None:
        answers.refuse_unrun(self.words, np.array(expired, np.int64), len(expired), DEADLINE_PASSED)

    def rows(self, arena: int) -> list[float]:
        """The rows that the runner sees."""
        (column,), _ = self.lane.arena_columns(arena)
        return column[: int(self.lane.arenas[arena]["rows"]), 0].tolist()

    def finish(self, arena: int) -> list[int]:
        """The batch has run: answers it, and gives the slots of Python callers, which are theirs to release."""
        (source,), (target,) = self.lane.arena_columns(arena)
        rows = int(self.lane.arenas[arena]["rows"])
        target[:rows] = 2 * source[:rows]
        request = 0
        while request != answers.ALL:
            request = answers.answer_batch(self.words, arena, request, self.now_ns)
        finished = self.lane.finished[: collect_finished(self.words, arena)].tolist()
        free_arena(self.words, arena)
        return finished

    def run(self) -> None:
        """Runs all that waits."""
        while (taken := self.take()) is not None:
            arena, expired = taken
            self.refuse_expired(expired)
            self.finish(arena)

    def flush(self) -> None:
        """What the lane sends reaches its clients; connections that it ends are closed."""
        more = session.MORE
        while more:
            more = session.flush_touched(self.words)
            for index, start, end, close in self.lane.segments[: int(self.words[layout.LANE_SEGMENT_COUNT])].tolist():
                if index in self.clients:
                    self.clients[index].take(self.lane.outbox[start:end].tobytes())
                if close:
                    self.closed.add(index)
        for index in self.closed & self.clients.keys():
            self.disconnect(index)

    def tick(self, seconds: float = 1.0) -> None:
        self.now_ns += round(seconds * SECOND_NS)
        session.tick(self.words, self.now_ns, 0)
