"""What a call's headers and message say about who answers it, from the wire to the cell that counts it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from native.batch.finish import finish_arena
from native.batch.layout import NO_ARENA
from native.batch.memory import QueueBounds
from native.batch.seal import next_arena, take_arena
from native.http2 import answers
from native.lane import layout
from native.plane.counters import BATCHES_INLINE
from native.plane.evidence import Cell, EvidenceReader
from native.plane.layout import Plane
from native.plane.routes import Route, RouteTables, SeatRef
from native.plane.routing import SEEN_EPOCH
from native.route.layout import MAIN, TRIAL
from native.wire.directory import WireModel
from protos.inference import grpc_service_pb2 as inference
from protos.roost.v1 import predict_pb2
from tests.adversity.raw_peer import RST_STREAM, call_headers, frame, framed
from tests.behaviour.messages import MODEL_INFER, infer_request, predict_request
from tests.http2.bare_lane import BareLane
from tests.oracles.split import position

STABLE, CANARY = 0, 1
SALT = 20_261_124
HALF = 500_000
CANCEL = bytes(3) + b"\x08"


def key_of(variant: int, number: int = 0) -> str:
    """The number-th key that is the canary's, or not, at half the traffic."""
    keys = (f"user-{index}" for index in range(1000))
    return [key for key in keys if (position(key.encode(), SALT) < HALF) == (variant == CANARY)][number]


class RoutedLane(BareLane):
    """The bare lane's model as stable, and a canary that puts its version's number into every output."""

    def __init__(self, *, canary_ppm: int = HALF, pin_allowed: bool = False) -> None:
        super().__init__()
        self.plane = Plane.create(1)
        self.tables = RouteTables(self.plane)
        self.lane.attach_routes(self.plane.routing, self.plane.block(0).routing, 7)
        first = self.lane.directory.model(STABLE)
        canary = WireModel(
            "double", "2", "fedcba987654", "stable", first.inputs, first.outputs, first.max_rows, route=0
        )
        self.lane.set_model(CANARY, canary, QueueBounds(3, 12))
        for seat in (STABLE, CANARY):
            self.lane.set_ready(seat, 1)
        route = Route(1, SeatRef(0, 1), SeatRef(1, 1), None, None, canary_ppm, SALT, 1, pin_allowed)
        self.tables.publish([route])
        connection = self.connect()
        assert connection is not None
        self.connection = connection

    def ask(self, message: bytes, **headers: str) -> int:
        """Its stream."""
        return self.call(self.connection, framed(message), call_headers(**headers))

    def handed(self) -> int:
        """Calls that wait for a servicer."""
        return int(self.words[layout.LANE_HANDED_COUNT])

    def take_all(self) -> list[int]:
        """Seals and takes what waits on both sides; arenas."""
        taken = []
        for side in (MAIN, TRIAL):
            while (arena := int(next_arena(self.words, side))) != NO_ARENA:
                take_arena(self.words, arena, self.now_ns, 0, self.lane.refused)
                taken.append(arena)
        return taken

    def answer_all(self, arenas: Sequence[int], value: float = 1.0) -> None:
        for arena in arenas:
            _, (column,) = self.lane.arena_columns(arena)
            column[:] = value
            assert answers.answer_batch(self.words, arena, 0, self.now_ns) == answers.ALL
            finish_arena(self.words, arena, BATCHES_INLINE)
        self.flush()

    def run_all(self, value: float = 1.0) -> None:
        self.answer_all(self.take_all(), value)

    def reply(self, stream: int) -> predict_pb2.PredictReply:
        return predict_pb2.PredictReply.FromString(self.clients[self.connection].so_far(stream).message)

    def cells(self) -> dict[int, Cell]:
        return {cell.seat: cell for cell in EvidenceReader(self.plane).read()}


def message(routing_key: str = "", version: str = "") -> bytes:
    request = predict_request("double", {"x": np.ones((1, 1), np.float32)})
    request.routing_key, request.version = routing_key, version
    return request.SerializeToString()


@pytest.mark.parametrize("seat", [STABLE, CANARY])
def test_the_key_decides_wherever_it_stands_and_the_reply_names_who_answered(seat: int) -> None:
    lane = RoutedLane()
    keys = [key_of(seat, number) for number in range(4)]
    streams = [lane.ask(message(key)) for key in keys[:2]]
    streams += [lane.ask(message(), roost_routing_key=key) for key in keys[2:]]
    streams.append(lane.ask(message(keys[0]), roost_routing_key=key_of(1 - seat)))  # the field wins
    lane.run_all()
    said = {(reply.version, reply.variant, reply.digest_prefix) for reply in map(lane.reply, streams)}
    assert said == {("1", "stable", "0123456789ab") if seat == STABLE else ("2", "canary", "fedcba987654")}
    assert {place: cell.requests for place, cell in lane.cells().items()} == {seat: 5}


def test_the_key_decides_in_both_protocols() -> None:
    lane = RoutedLane()
    x = {"x": np.ones((1, 1), np.float32)}
    asked = infer_request("double", x).SerializeToString()
    streams = [lane.ask(asked, path=MODEL_INFER, roost_routing_key=key_of(seat)) for seat in (STABLE, CANARY)]
    lane.run_all()
    said = [lane.clients[lane.connection].so_far(stream).message for stream in streams]
    replies = [inference.ModelInferResponse.FromString(each) for each in said]
    assert [reply.model_version for reply in replies] == ["1", "2"]
    assert [reply.parameters["variant"].string_param for reply in replies] == ["stable", "canary"]


def test_an_empty_key_is_none() -> None:
    lane = RoutedLane()
    for _ in range(100):
        lane.ask(message(), roost_routing_key="")
        lane.run_all()
    assert [lane.cells()[seat].requests for seat in (STABLE, CANARY)] == [50, 50]


@pytest.mark.parametrize(("attempts", "evidence"), [(None, 1), ("0", 1), ("1", 0), ("00", 0), ("x", 0)])
def test_a_retry_is_answered_and_is_no_evidence(attempts: str | None, evidence: int) -> None:
    lane = RoutedLane()
    headers = {} if attempts is None else {"grpc_previous_rpc_attempts": attempts}
    stream = lane.ask(message(key_of(CANARY)), **headers)
    lane.run_all()
    assert lane.reply(stream).version == "2"
    assert (lane.cells()[CANARY].requests, lane.cells()[CANARY].answered) == (evidence, 1)


@pytest.mark.parametrize(
    ("version", "headers", "pinned", "unpinned"),
    [
        ("", {"roost_variant": "stable"}, "1", None),
        ("", {"roost_variant": "canary"}, "2", None),
        ("", {"roost_variant": "Canary"}, None, None),
        ("", {"roost_variant": ""}, None, None),
        ("1", {}, "1", "1"),
        ("2", {}, "2", None),
        ("3", {}, None, None),
        ("1", {"roost_variant": "canary"}, None, None),
        ("2", {"roost_variant": "canary"}, "2", None),
    ],
)
def test_a_caller_chooses_where_that_is_allowed_else_a_servicer_says_why_not(
    version: str, headers: dict[str, str], pinned: str | None, unpinned: str | None
) -> None:
    for allowed, expected in ((True, pinned), (False, unpinned)):
        lane = RoutedLane(pin_allowed=allowed)
        stream = lane.ask(message(key_of(STABLE), version), **headers)
        lane.run_all()
        assert lane.handed() == (expected is None)
        if expected is not None:
            assert lane.reply(stream).version == expected
            (cell,) = lane.cells().values()
            assert (cell.answered, cell.requests) == (1, 0)


def test_what_one_call_says_is_not_the_next_ones() -> None:
    lane = RoutedLane(pin_allowed=True)
    lane.ask(message(), roost_routing_key=key_of(CANARY), roost_variant="canary", grpc_previous_rpc_attempts="3")
    lane.run_all()
    for _ in range(100):
        lane.ask(message())
        lane.run_all()
    assert lane.cells()[STABLE].requests == lane.cells()[CANARY].requests == 50


def test_values_that_are_not_finite_are_counted_and_sent_as_they_are() -> None:
    lane = RoutedLane()
    stream = lane.ask(message(key_of(CANARY)))
    lane.run_all(float("nan"))
    assert np.isnan(np.frombuffer(lane.reply(stream).outputs[0].raw, np.float32)).all()
    assert (lane.cells()[CANARY].non_finite, lane.cells()[CANARY].failed) == (1, 0)


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_late_answer_is_counted_also_where_its_caller_gave_up(cancelled: bool) -> None:
    lane = RoutedLane()
    lane.words[layout.LANE_AGE_LIMIT_NS] = 1_000_000
    stream = lane.ask(message(key_of(CANARY)))
    taken = lane.take_all()
    lane.now_ns += 1_000_001
    if cancelled:
        lane.feed(lane.connection, frame(RST_STREAM, 0, stream, CANCEL))
    lane.answer_all(taken)
    cell = lane.cells()[CANARY]
    assert (cell.requests, cell.timeouts, cell.answered) == (1, 1, 1)
    assert not lane.held.get("SLOTS_IN_USE")


def test_a_call_that_was_given_up_before_its_batch_ran_is_no_evidence() -> None:
    lane = RoutedLane()
    stream = lane.ask(message(key_of(CANARY)))
    lane.feed(lane.connection, frame(RST_STREAM, 0, stream, CANCEL))
    lane.run_all()
    assert not lane.cells()


def test_a_socket_read_follows_the_table_that_was_published_before_it() -> None:
    lane = RoutedLane()
    waiting = lane.ask(message(key_of(CANARY)))
    lane.tables.publish([Route(2, SeatRef(0, 1), weight_epoch=2)])
    after = lane.ask(message(key_of(CANARY)))
    assert lane.plane.block(0).routing[SEEN_EPOCH] == 2
    lane.run_all()
    assert {lane.reply(stream).version for stream in (waiting, after)} == {"1"}
    assert {place: (cell.answered, cell.requests) for place, cell in lane.cells().items()} == {STABLE: (1, 1)}
